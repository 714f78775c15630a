package payutest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

func TestSuccess(t *testing.T) {
	s := begin(t, payutest.Config{})
	got := s.ask(form("read_payment_links create_payment_links read_payment_links"))

	token := got.token(t)
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(token) {
		t.Errorf("access_token %q is not 64 hex digits", token)
	}
	want := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":7200,`+
		`"scope":"read_payment_links create_payment_links","created_at":1763036368}`, token)
	if got.status != http.StatusOK || got.text != want {
		t.Errorf("got %d %s\nwant 200 %s", got.status, got.text, want)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store", "Pragma": "no-cache",
		"WWW-Authenticate": "",
	} {
		if got.header.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
		}
	}
}

func TestScopeIsAbsentWhereNoneApplied(t *testing.T) {
	s := begin(t, payutest.Config{})
	for _, scope := range []string{"-", "", " "} {
		got := s.ask(form("", "scope", scope))
		if _, ok := got.members(t)["scope"]; ok || got.status != http.StatusOK {
			t.Errorf("scope %q: %d %s", scope, got.status, got.text)
		}
	}
}

func TestRefusals(t *testing.T) {
	const (
		clientText = "Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method."
		scopeText  = "The requested scope is invalid, unknown, or malformed."
		grantText  = "The authorization grant type is not supported by the authorization server."
	)
	tests := []struct {
		reason      string
		scope       string
		change      []string
		status      int
		code, descr string
	}{
		{"no grant_type", "bad", []string{"grant_type", "-", "client_id", "-"}, 400, "invalid_request", "Missing required parameter: grant_type."},
		{"an empty grant_type", "", []string{"grant_type", ""}, 400, "invalid_request", "Missing required parameter: grant_type."},
		{"the grant type comes before the client", "bad", []string{"grant_type", "password", "client_secret", "x"}, 400, "unsupported_grant_type", grantText},
		{"the client comes before the scope", "bad", []string{"client_secret", "x"}, 401, "invalid_client", clientText},
		{"an unknown client", "", []string{"client_id", "nobody"}, 401, "invalid_client", clientText},
		{"an unknown client without a secret", "", []string{"client_id", "nobody", "client_secret", "-"}, 401, "invalid_client", clientText},
		{"no credentials", "", []string{"client_id", "-", "client_secret", "-"}, 401, "invalid_client", clientText},
		{"a trailing newline", "", []string{"client_secret", shop.Secret + "\n"}, 401, "invalid_client", clientText},
		{"a disabled client", "", []string{"client_id", "disabled"}, 401, "invalid_client", clientText},
		{"a client that may not use the grant, before the scope", "bad", []string{"client_id", "unauthorized"}, 401, "unauthorized_client",
			"The client is not authorized to perform this request using this method."},
		{"a scope the client may not have", "refer_child_merchant", nil, 400, "invalid_scope", scopeText},
		{"an unknown scope", "rule_the_world", nil, 400, "invalid_scope", scopeText},
		{"one bad among good", "create_payment_links rule_the_world", nil, 400, "invalid_scope", scopeText},
		{"a comma-separated list", "create_payment_links,read_payment_links", nil, 400, "invalid_scope", scopeText},
	}
	s := begin(t, payutest.Config{Clients: []payutest.Client{
		{ID: "disabled", Secret: shop.Secret, Disabled: true}, {ID: "unauthorized", Secret: shop.Secret, Unauthorized: true},
	}})
	for _, test := range tests {
		got := s.ask(form(test.scope, test.change...))
		want := fmt.Sprintf(`{"error":%q,"error_description":%q}`, test.code, test.descr)
		if got.status != test.status || got.text != want {
			t.Errorf("%s: got %d %s\nwant %d %s", test.reason, got.status, got.text, test.status, want)
		}
		challenge := fmt.Sprintf(`Bearer realm="Doorkeeper", error=%q, error_description=%q`, test.code, test.descr)
		if h := got.header.Get("WWW-Authenticate"); h != challenge {
			t.Errorf("%s: WWW-Authenticate %s, want %s", test.reason, h, challenge)
		}
		if h := got.header.Get("Content-Type"); h != "application/json; charset=utf-8" {
			t.Errorf("%s: Content-Type %s", test.reason, h)
		}
	}
	if issued := s.Issued(); len(issued) != 0 {
		t.Errorf("a refused request made a token: %+v", issued)
	}
}

func TestAClientWithoutScopesMayHaveTheKnownOnes(t *testing.T) {
	s := begin(t, payutest.Config{})
	for _, scope := range payutest.KnownScopes {
		if got := s.ask(form(scope, "client_id", "other", "client_secret", "o")); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", scope, got.status, got.text)
		}
	}
}

func TestBasicAuthIsNotFormDecoded(t *testing.T) {
	s := begin(t, payutest.Config{})
	tests := []struct {
		reason, secret string
		status         int
	}{
		{"as it is", shop.Secret, http.StatusOK},
		{"form-encoded as RFC 6749 section 2.3.1 says", "s3cret%2B%26%25%3D+%C3%BC", http.StatusUnauthorized},
	}
	for _, test := range tests {
		body := form("", "client_id", "-", "client_secret", "-").Encode()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/oauth/token", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(shop.ID, test.secret)
		got, err := s.do(r)
		if err != nil || got.status != test.status {
			t.Errorf("%s: %v %d, want %d", test.reason, err, got.status, test.status)
		}
	}
}

func TestOnlyAFormBodyCounts(t *testing.T) {
	s := begin(t, payutest.Config{})
	const urlencoded = "application/x-www-form-urlencoded"
	tests := map[string]struct{ query, contentType, body, code string }{
		"parameters in the URI":  {"?" + form("").Encode(), urlencoded, "", "invalid_request"},
		"credentials in the URI": {"?" + form("").Encode(), urlencoded, "grant_type=client_credentials", "invalid_client"},
		"a JSON body":            {"", "application/json", `{"grant_type":"client_credentials"}`, "invalid_request"},
		"a malformed form":       {"", urlencoded, form("").Encode() + "&scope=%zz", "invalid_request"},
		"a huge form":            {"", urlencoded, form(strings.Repeat("x", 1<<17)).Encode(), "invalid_request"},
	}
	for reason, test := range tests {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/oauth/token"+test.query, strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.contentType)
		got, err := s.do(r)
		if err != nil || got.members(t)["error"] != test.code {
			t.Errorf("%s: %v %d %s", reason, err, got.status, got.text)
		}
	}
}

func TestWholeSecondsMayCostAFreshTokenOne(t *testing.T) {
	s := begin(t, payutest.Config{WholeSeconds: true})
	s.step(600 * time.Millisecond)
	if got := s.ask(form("")).members(t)["expires_in"]; got != 7199.0 {
		t.Errorf("expires_in %v, want 7199", got)
	}
}

func TestAReplacedClient(t *testing.T) {
	s := begin(t, payutest.Config{})
	old := s.ask(form("")).token(t)

	s.PutClient(payutest.Client{ID: shop.ID, Secret: "new"})
	if got := s.ask(form("")); got.status != http.StatusUnauthorized {
		t.Errorf("the old secret still works: %d", got.status)
	}
	if got := s.ask(form("refer_child_merchant", "client_secret", "new")); got.status != http.StatusOK {
		t.Errorf("the new secret, or scope, does not work: %d %s", got.status, got.text)
	}
	if !s.live(old)[0] {
		t.Error("a token died with the secret")
	}

	s.RemoveClient(shop.ID)
	if got := s.ask(form("", "client_secret", "new")); got.status != http.StatusUnauthorized || s.live(old)[0] {
		t.Errorf("a removed client, or its token, still works: %d", got.status)
	}
	if clients := s.Clients(); len(clients) != 1 || clients[0].ID != "other" || clients[0].Secret != "" {
		t.Errorf("clients %+v", clients)
	}
}

func TestHealthzAndOtherPaths(t *testing.T) {
	s := begin(t, payutest.Config{})
	for request, status := range map[string]int{
		"GET /healthz": 200, "GET /oauth/token": 405, "GET /": 404, "GET /admin/issued": 404,
	} {
		method, path, _ := strings.Cut(request, " ")
		r, _ := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
		if got, err := s.do(r); err != nil || got.status != status {
			t.Errorf("%s: %v %d, want %d", request, err, got.status, status)
		}
	}
}

func TestIssuedIsWhatWasGiven(t *testing.T) {
	s := begin(t, payutest.Config{})
	a := s.ask(form("read_payment_links create_payment_links")).token(t)
	s.step(time.Minute)
	b := s.ask(form("", "client_id", "other", "client_secret", "o")).token(t)

	now := s.Now().UTC()
	want := []payutest.Issued{
		{Token: a, ClientID: "shop", Scopes: []string{"read_payment_links", "create_payment_links"},
			IssuedAt: now.Add(-time.Minute), ExpiresAt: now.Add(119 * time.Minute)},
		{Token: b, ClientID: "other", IssuedAt: now, ExpiresAt: now.Add(2 * time.Hour)},
	}
	if got := s.Issued(); !reflect.DeepEqual(got, want) {
		t.Errorf("issued %+v\nwant %+v", got, want)
	}
	if got, ok := s.TokenInfo(b); !ok || !reflect.DeepEqual(got, want[1]) || !got.LiveAt(now) {
		t.Errorf("token info %+v, %v", got, ok)
	}
	if _, ok := s.TokenInfo("made up"); ok {
		t.Error("token info of a token that was never made")
	}
}

func TestScopeSet(t *testing.T) {
	if got := payutest.ScopeSet([]string{"b", "a", "b"}); got != "a b" {
		t.Errorf("got %q", got)
	}
}

// TestLongRunsForgetOnlyTheDead is about Config.Keep.
func TestLongRunsForgetOnlyTheDead(t *testing.T) {
	s := begin(t, payutest.Config{Keep: 3, TokenTTL: 2500 * time.Millisecond})
	var live []string
	for range 40 {
		live = append(live, s.ask(form("")).token(t))
		s.step(time.Second)
	}
	if got := s.live(live[38:]...); !slices.Equal(got, []bool{true, true}) {
		t.Errorf("live tokens were forgotten: %v", got)
	}
	if n := len(s.Issued()); n > 6 {
		t.Errorf("%d tokens remembered", n)
	}
	if n := len(s.Requests()); n > 6 {
		t.Errorf("%d requests remembered", n)
	}
	if n := s.Counters().Total(); n != 40 {
		t.Errorf("%d requests counted", n)
	}
	s.SetMode(payutest.Reuse)
	if got := s.ask(form("")).token(t); got != live[39] {
		t.Error("the latest token was not given again")
	}
}

func TestReset(t *testing.T) {
	s := begin(t, payutest.Config{})
	token := s.ask(form("")).token(t)
	s.Inject(payutest.Fault{Status: 503})
	s.Reset()
	if s.live(token)[0] || len(s.Issued())+len(s.Requests())+len(s.Faults())+s.Counters().Total() != 0 {
		t.Error("something is left")
	}
	if got := s.ask(form("")); got.status != http.StatusOK {
		t.Errorf("the clients are gone: %d", got.status)
	}
}

func TestIssuedAsJSON(t *testing.T) {
	b, err := json.Marshal(payutest.Issued{Token: "t", Scopes: []string{"a"}})
	if err != nil || strings.Contains(string(b), "revoked_at") {
		t.Errorf("%s, %v", b, err)
	}
}
