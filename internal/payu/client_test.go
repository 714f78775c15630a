package payu_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// recorder writes down the requests on their way to a handler.
type recorder struct {
	next http.Handler
	mu   sync.Mutex
	seen []recorded
}

type recorded struct {
	line   string // method and URI
	header http.Header
	body   string
	tls    bool
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	r.seen = append(r.seen, recorded{
		line: request.Method + " " + request.RequestURI, header: request.Header, body: string(body), tls: request.TLS != nil,
	})
	r.mu.Unlock()
	request.Body = io.NopCloser(strings.NewReader(string(body)))
	r.next.ServeHTTP(w, request)
}

func (r *recorder) requests() []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]recorded{}, r.seen...)
}

func TestRequestIsAsDocumented(t *testing.T) {
	tests := map[string]struct{ base, secret, path string }{
		"with the plain base URL":                  {base: "", secret: shop.Secret, path: "/oauth/token"},
		"with a slash at the base URL's end":       {base: "/", secret: shop.Secret, path: "/oauth/token"},
		"with a path in the base URL":              {base: "/pay/v1/", secret: shop.Secret, path: "/pay/v1/oauth/token"},
		"with a secret that looks encoded already": {base: "", secret: "%2B+%20&client_secret=x&scope=all", path: "/oauth/token"},
		"with a secret of spaces":                  {base: "", secret: "  ", path: "/oauth/token"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := payutest.Client{ID: shop.ID, Secret: test.secret}
			server := payutest.New(payutest.Config{Clients: []payutest.Client{client}})
			r := &recorder{next: server}
			if test.base == "/pay/v1/" {
				r.next = http.StripPrefix("/pay/v1", server)
			}
			base := serve(t, r, nil) + test.base
			source := shopSource()
			source.Credentials.ClientSecret = test.secret

			token, err := newClient(t, base, authority().PEM(), long, time.Now).Token(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			if issued := server.Issued(); len(issued) != 1 || issued[0].Token != token.AccessToken {
				t.Errorf("the token is not the server's")
			}
			checkRequest(t, r.requests(), "POST "+test.path, test.secret)
		})
	}
}

func checkRequest(t *testing.T, requests []recorded, line, secret string) {
	t.Helper()
	if len(requests) != 1 {
		t.Fatalf("%d requests, want 1", len(requests))
	}
	got := requests[0]
	if got.line != line || !got.tls {
		t.Errorf("request line %q, want %q", got.line, line)
	}
	form, err := url.ParseQuery(got.body)
	want := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {shop.ID}, "client_secret": {secret}, "scope": {strings.Join(asked, " ")},
	}
	if err != nil || !reflect.DeepEqual(form, want) {
		t.Errorf("form %v (%v), want %v", form, err, want)
	}
	wantHeader := http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Content-Length": {fmt.Sprint(len(got.body))},
		"Accept": {"application/json"}, "Accept-Encoding": {"gzip"}, "User-Agent": {"payu-token-operator/test"},
	}
	if !reflect.DeepEqual(got.header, wantHeader) {
		t.Errorf("header %v, want %v", got.header, wantHeader)
	}
}

func TestHTTPWorksOnLoopback(t *testing.T) {
	server := payutest.New(payutest.Config{Clients: []payutest.Client{shop}})
	base := listen(t, server, nil)
	for _, base := range []string{base, named(base, "localhost")} {
		if _, err := newClient(t, base, nil, long, time.Now).Token(t.Context(), shopSource()); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
}

// TestFaults has the server, or something between, do what it should not. Each time one call is one request (trap 13),
// the error has the reason wanted, gives nothing away, and is the same when it happens again.
func TestFaults(t *testing.T) {
	type fault = payutest.Fault
	html := "<html>" + sentinel + "</html>"
	token := func(name string, value any) fault { return fault{Set: members(name, payutest.JSON(value))} }
	tests := map[string]struct {
		fault  fault
		want   payu.Reason
		detail string
		after  time.Duration
	}{
		"an OAuth error with a text": {
			fault: fault{Error: "invalid_client", Description: sentinel}, want: payu.InvalidClient, detail: "PayU answered invalid_client"},
		"an OAuth error whose status is 200": {
			fault: fault{Error: "invalid_scope", Status: 200}, want: payu.InvalidScope, detail: "PayU answered invalid_scope"},
		"an OAuth error whose status is that of a redirect": {
			fault: fault{Error: "server_error", Status: 307}, want: payu.ServerError, detail: "PayU answered server_error"},
		"a rate limit with the hint in the body": {
			fault: fault{Error: "rate_limit_exceeded"}, want: payu.RateLimited, detail: "PayU answered rate_limit_exceeded", after: time.Minute},
		"a rate limit with a longer hint in the header": {
			fault: fault{Error: "rate_limit_exceeded", Header: map[string]string{"Retry-After": "90"}},
			want:  payu.RateLimited, detail: "PayU answered rate_limit_exceeded", after: 90 * time.Second},
		"a 429 without a code": {
			fault: fault{Status: 429, Body: html, Header: map[string]string{"Retry-After": "7"}},
			want:  payu.RateLimited, detail: "PayU answered HTTP 429 without an error code", after: 7 * time.Second},
		"a 500 without a code": {
			fault: fault{Status: 500, Body: html}, want: payu.ServerError, detail: "PayU answered HTTP 500 without an error code"},
		"a proxy's 502 page": {
			fault: fault{Status: 502, Body: html}, want: payu.ServerError, detail: "PayU answered HTTP 502 without an error code"},
		"a captive portal's 200 page": {
			fault: fault{Body: html}, want: payu.InvalidResponse, detail: "PayU's response is not a JSON object of the expected form"},
		"a 200 that is no JSON": {
			fault: fault{Body: sentinel}, want: payu.InvalidResponse, detail: "PayU's response is not a JSON object of the expected form"},
		"a 200 that is empty": {
			fault: fault{Status: 200}, want: payu.InvalidResponse, detail: "PayU's response is not a JSON object of the expected form"},
		"a 204": {
			fault: fault{Status: 204}, want: payu.InvalidResponse, detail: "PayU's response is not a JSON object of the expected form"},
		"a 404 page": {
			fault: fault{Status: 404, Body: html}, want: payu.InvalidResponse, detail: "PayU answered HTTP 404 without an error code"},
		"a success with an error code of unknown form": {
			fault: token("error", "The "+sentinel), want: payu.OAuthError, detail: "PayU answered (of unknown form)"},
		"a success without a token": {
			fault: fault{Omit: []string{"access_token"}}, want: payu.InvalidResponse, detail: "access_token is missing"},
		"a token with a line break": {
			fault: token("access_token", sentinel+"\r\nX: y"), want: payu.InvalidResponse, detail: "access_token holds characters that no bearer token has"},
		"a token of another type": {
			fault: token("token_type", sentinel), want: payu.InvalidResponse, detail: "token_type is not Bearer"},
		"a token without a life that can be read": {
			fault: token("expires_in", sentinel), want: payu.InvalidResponse, detail: "expires_in is not a positive number of seconds"},
		"a scope with a line break": {
			fault: token("scope", sentinel+"\n"+strings.Join(asked, " ")), want: payu.InvalidResponse, detail: "scope holds characters that no scope has"},
		"less than was asked for": {
			fault: fault{Grant: asked[:1]}, want: payu.ScopeReduced, detail: `PayU did not grant the scope "read_payment_links"`},
		"a connection that is reset": {
			fault: fault{Break: payutest.BreakReset}, want: payu.Unreachable, detail: "no answer from HOST: connection reset by peer"},
		"a connection that is reset once the token was made": {
			fault: fault{Break: payutest.BreakReset, AfterIssue: true}, want: payu.Unreachable, detail: "no answer from HOST: connection reset by peer"},
		"a connection that is closed": {
			fault: fault{Break: payutest.BreakClose}, want: payu.Unreachable, detail: "no answer from HOST: the connection was closed before an answer"},
		"an answer that ends early": {
			fault: fault{Break: payutest.BreakTruncate}, want: payu.InvalidResponse, detail: "the answer ended early"},
		"an answer without end": {
			fault: fault{Break: payutest.BreakEndless}, want: payu.InvalidResponse, detail: "PayU's response is larger than 64 KiB"},
		"a redirect to itself": {
			fault: fault{Status: 307, Body: html, Header: map[string]string{"Location": "/oauth/token"}},
			want:  payu.InvalidResponse, detail: "PayU answered with a redirect (HTTP 307), which is not followed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := payutest.Run(t, payutest.Config{Clients: []payutest.Client{shop}})
			client := newClient(t, server.URL, server.CA.PEM(), long, time.Now)
			if _, err := client.Token(t.Context(), shopSource()); err != nil {
				t.Fatal(err) // from here on the client has a connection, which it might try twice
			}
			server.Inject(test.fault)
			detail := strings.Replace(test.detail, "HOST", strings.TrimPrefix(server.URL, "https://"), 1)
			for n := range 3 {
				e := refusal(t, client, shopSource())
				if e.Reason != test.want || e.Detail != detail || e.RetryAfter != test.after {
					t.Errorf("got %s: %s (%s)\nwant %s: %s (%s)", e.Reason, e.Detail, e.RetryAfter, test.want, detail, test.after)
				}
				if total := server.Counters().Total(); total != n+2 {
					t.Errorf("%d requests for call %d, want one each", total-1, n+1)
				}
				for _, issued := range server.Issued() {
					checkQuiet(t, e, issued.Token)
				}
			}
		})
	}
}

func members(name string, value []byte) map[string]json.RawMessage {
	return map[string]json.RawMessage{name: value}
}

// TestRedirectsAreNotFollowed is trap 14: a 307 or 308 would send the client secret to another host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			elsewhere := &recorder{next: unreached}
			location := serve(t, elsewhere, nil) + "/oauth/token"
			here := &recorder{next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, location, status)
			})}
			e := refusal(t, newClient(t, serve(t, here, nil), authority().PEM(), long, time.Now), shopSource())
			want := fmt.Sprintf("PayU answered with a redirect (HTTP %d), which is not followed", status)
			if e.Reason != payu.InvalidResponse || e.Detail != want {
				t.Errorf("got %v, want %s", e, want)
			}
			if len(here.requests()) != 1 || len(elsewhere.requests()) != 0 {
				t.Errorf("%d requests here, want 1; %d elsewhere, want none", len(here.requests()), len(elsewhere.requests()))
			}
		})
	}
}

// TestBodyIsBounded is trap 15: 64 KiB are read and not a byte more, of what a compressed answer unpacks to as well.
func TestBodyIsBounded(t *testing.T) {
	const most = 64 << 10
	good := fmt.Sprintf(`{"access_token":"%s","token_type":"Bearer","expires_in":7200}`, strings.Repeat("t", 16<<10))
	padded := func(size int) string { return good + strings.Repeat(" ", size-len(good)) }
	tests := map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"64 KiB are accepted": {answer: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, padded(most))
		}},
		"a byte more is too much, whatever it is": {answer: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, padded(most+1))
		}, want: "InvalidResponse: PayU's response is larger than 64 KiB"},
		"a bomb is not unpacked": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			unpacked := gzip.NewWriter(w)
			io.WriteString(unpacked, padded(2<<20))
			unpacked.Close()
		}, want: "InvalidResponse: PayU's response is larger than 64 KiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, serve(t, test.answer, nil), authority().PEM(), long, time.Now)
			_, err := client.Token(t.Context(), shopSource())
			if got := fmt.Sprint(err); err != nil && got != test.want || err == nil && test.want != "" {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestEndlessBodyIsCutOff sees that the connection is closed, so that the server's bytes do not keep coming.
func TestEndlessBodyIsCutOff(t *testing.T) {
	cut := make(chan struct{})
	base := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(cut)
		for chunk := make([]byte, 32<<10); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}), nil)
	refusal(t, newClient(t, base, authority().PEM(), long, time.Now), shopSource())
	select {
	case <-cut:
	case <-time.After(long):
		t.Error("the server is still sending")
	}
}

// TestLifeCountsFromBeforeTheRequest is trap 1: the answer's way back, and created_at, do not lengthen or shorten it.
func TestLifeCountsFromBeforeTheRequest(t *testing.T) {
	c := newClock()
	base := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c.step(8 * time.Second)
		io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":7011,"scope":"a b","created_at":1763036368}`)
	}), nil)
	source := shopSource()
	source.Scopes = []string{"b", "a"}
	began := c.Now()
	got, err := newClient(t, base, authority().PEM(), long, c.Now).Token(t.Context(), source)
	sent := time.Date(2026, 3, 1, 6, 30, 0, 0, time.UTC)
	want := payu.Token{
		AccessToken: "t", Type: "Bearer", Scope: "a b", FetchedAt: sent, ExpiresAt: sent.Add(7011 * time.Second),
		EndsAfter: began.Add(7011 * time.Second),
	}
	if err != nil || got != want {
		t.Errorf("got %s %s to %s (%s), %v\nwant %s to %s (%s)",
			got.Scope, got.FetchedAt, got.ExpiresAt, got.EndsAfter, err, want.FetchedAt, want.ExpiresAt, want.EndsAfter)
	}
}

func TestNewClientRefuses(t *testing.T) {
	tests := map[string]struct{ base, ca, want string }{
		"http, since it would show the secret": {base: "http://accounts.payu.in",
			want: `base URL of environment Test: "http://accounts.payu.in" would send the client secret unencrypted: use https (http only to a loopback address)`},
		"http to a name that begins like a loopback address": {base: "http://127.0.0.1.example",
			want: `base URL of environment Test: "http://127.0.0.1.example" would send the client secret unencrypted: use https (http only to a loopback address)`},
		"another scheme": {base: "ftp://accounts.payu.in",
			want: `base URL of environment Test: "ftp://accounts.payu.in" would send the client secret unencrypted: use https (http only to a loopback address)`},
		"a host alone": {base: "accounts.payu.in",
			want: `base URL of environment Test: "accounts.payu.in" is no URL: write it like https://uat-accounts.payu.in`},
		"nothing": {base: "",
			want: `base URL of environment Test: "" is no URL: write it like https://uat-accounts.payu.in`},
		"what cannot be parsed": {base: "https://accounts payu in",
			want: `base URL of environment Test: "https://accounts payu in" is no URL: write it like https://uat-accounts.payu.in`},
		"a password, without repeating it": {base: "https://u:hunter2@payu.in",
			want: "base URL of environment Test: https://u:xxxxx@payu.in: leave out user, query and fragment"},
		"a query": {base: "https://payu.in?a=b",
			want: "base URL of environment Test: https://payu.in?a=b: leave out user, query and fragment"},
		"a fragment": {base: "https://payu.in#a",
			want: "base URL of environment Test: https://payu.in#a: leave out user, query and fragment"},
		"CAs without a certificate": {base: payu.TestBaseURL, ca: "none",
			want: "no PEM certificate in it"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := payu.NewClient(payu.Config{BaseURLs: map[string]string{"Test": test.base}, CAs: []byte(test.ca)})
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestNewClientAccepts(t *testing.T) {
	for _, base := range []string{
		payu.TestBaseURL, payu.ProductionBaseURL, "HTTPS://PAYU.in:8443/", "http://localhost:1", "http://127.8.0.1", "http://[::1]:1",
	} {
		if _, err := payu.NewClient(payu.Config{BaseURLs: map[string]string{"Test": base}}); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
}
