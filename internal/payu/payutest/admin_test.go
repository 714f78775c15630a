package payutest_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// administered is a story with an admin API.
func administered(t *testing.T) (*story, payutest.Admin) {
	t.Helper()
	s := begin(t, payutest.Config{})
	endpoint, err := payutest.Listen("127.0.0.1:0", s.AdminHandler(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endpoint.Close() })
	return s, payutest.Admin{BaseURL: endpoint.URL}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func value[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func TestAdminChangesSettings(t *testing.T) {
	s, admin := administered(t)
	ctx := t.Context()
	must(t,
		admin.SetMode(ctx, payutest.Reuse), admin.SetTokenTTL(ctx, 90*time.Second),
		admin.SetReuseLimit(ctx, 50), admin.SetLatency(ctx, time.Millisecond))

	want := payutest.Settings{Mode: payutest.Reuse, TokenTTL: 90 * time.Second, ReuseLimitPercent: 50, Latency: time.Millisecond}
	if got := s.Settings(); got != want {
		t.Errorf("settings %+v", got)
	}
	if got := value(admin.Settings(ctx))(t); got != want {
		t.Errorf("settings over HTTP %+v", got)
	}
	for _, err := range []error{admin.SetMode(ctx, "x"), admin.SetTokenTTL(ctx, 0), admin.SetReuseLimit(ctx, 101)} {
		if err == nil || !strings.Contains(err.Error(), "PATCH /admin/settings: 400 Bad Request: ") {
			t.Errorf("got %v", err)
		}
	}
	if s.Settings() != want {
		t.Error("a refused change changed something")
	}
}

func TestAdminChangesClients(t *testing.T) {
	s, admin := administered(t)
	ctx := t.Context()
	odd := payutest.Client{ID: "a/b ?c&d", Secret: "x", Scopes: []string{"send_sign_in_otp"}}
	must(t, admin.PutClient(ctx, odd))
	if got := s.ask(form("send_sign_in_otp", "client_id", odd.ID, "client_secret", "x")); got.status != http.StatusOK {
		t.Errorf("the new client is refused: %s", got.text)
	}
	clients := value(admin.Clients(ctx))(t)
	if len(clients) != 3 || clients[0].ID != odd.ID || clients[0].Secret != "" {
		t.Errorf("clients %+v", clients)
	}
	must(t, admin.RemoveClient(ctx, odd.ID))
	if got := s.ask(form("", "client_id", odd.ID, "client_secret", "x")); got.status != http.StatusUnauthorized {
		t.Errorf("the removed client is known: %d", got.status)
	}
	if admin.PutClient(ctx, payutest.Client{}) == nil {
		t.Error("a client without an ID was accepted")
	}
}

func TestAdminInjectsFaults(t *testing.T) {
	s, admin := administered(t)
	ctx := t.Context()
	everyones := fault{Error: "rate_limit_exceeded", Latency: time.Millisecond, Set: set("retry_after", "1.50")}
	own := fault{ClientID: "shop", Times: 3, Hang: true, Grant: []string{}}
	must(t, admin.Inject(ctx, everyones), admin.Inject(ctx, own))
	if got := value(admin.Faults(ctx))(t); !reflect.DeepEqual(got, []fault{everyones, own}) {
		t.Errorf("faults %+v", got)
	}

	replies := s.together(form(""))
	s.await(inFlight(1))
	must(t, admin.ClearFault(ctx, "shop"))
	if got := <-replies; got.status != http.StatusOK {
		t.Errorf("got %d", got.status)
	}
	if got := s.ask(form("")); !strings.HasSuffix(got.text, `"retry_after":1.50}`) {
		t.Errorf("the raw JSON changed on its way: %s", got.text)
	}
	must(t, admin.ClearFaults(ctx))
	if got := value(admin.Faults(ctx))(t); len(got) != 0 {
		t.Errorf("faults %+v", got)
	}
	if admin.Inject(ctx, fault{Status: 1}) == nil {
		t.Error("an impossible fault was accepted")
	}
}

func TestAdminTellsWhatHappened(t *testing.T) {
	s, admin := administered(t)
	ctx := t.Context()
	token := s.ask(form("read_payment_links")).token(t)

	if got := value(admin.Issued(ctx))(t); !reflect.DeepEqual(got, s.Issued()) || len(got) != 1 {
		t.Errorf("issued %+v", got)
	}
	if got := value(admin.Requests(ctx))(t); !reflect.DeepEqual(got, s.Requests()) || len(got) != 1 {
		t.Errorf("requests %+v", got)
	}
	if got := value(admin.Counters(ctx))(t); !reflect.DeepEqual(got, s.Counters()) || got.Total() != 1 {
		t.Errorf("counters %+v", got)
	}

	must(t, admin.RevokeAll(ctx, "other"))
	if info, ok, err := admin.TokenInfo(ctx, token); err != nil || !ok || !info.LiveAt(s.Now()) {
		t.Errorf("token info %+v, %v, %v", info, ok, err)
	}
	must(t, admin.RevokeAll(ctx, ""))
	if info, ok, err := admin.TokenInfo(ctx, token); err != nil || !ok || info.LiveAt(s.Now()) {
		t.Errorf("token info %+v, %v, %v", info, ok, err)
	}
	if _, ok, err := admin.TokenInfo(ctx, "made up"); ok || err != nil {
		t.Errorf("a token that was never made: %v, %v", ok, err)
	}

	must(t, admin.Reset(ctx))
	if len(s.Issued())+len(s.Requests()) != 0 {
		t.Error("something is left")
	}
}

func TestAdminHandlerIsStrict(t *testing.T) {
	_, admin := administered(t)
	tests := []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/healthz", "", 200},
		{"GET", "/admin", "", 200},
		{"PATCH", "/admin/settings", `{"mdoe":"reuse"}`, 400},
		{"PATCH", "/admin/settings", `{"mode":"sloth"}`, 400},
		{"PATCH", "/admin/settings", `not JSON`, 400},
		{"DELETE", "/admin/clients", "", 400},
		{"POST", "/admin/reset?client_id=shop", "", 400},
		{"POST", "/admin/faults", `{"stauts":500}`, 400},
		{"POST", "/admin/faults", `{"set":{"expires_in":"3600"},"latency":"1ms","times":1}`, 204},
		{"GET", "/oauth/token", "", 404},
	}
	for _, test := range tests {
		r, _ := http.NewRequestWithContext(t.Context(), test.method, admin.BaseURL+test.path, strings.NewReader(test.body))
		answer, err := http.DefaultClient.Do(r)
		must(t, err)
		answer.Body.Close()
		if answer.StatusCode != test.status {
			t.Errorf("%s %s %s: %d, want %d", test.method, test.path, test.body, answer.StatusCode, test.status)
		}
	}
}

// TestAdminHelpIsComplete keeps the help text and the handler together.
func TestAdminHelpIsComplete(t *testing.T) {
	handler := payutest.New(payutest.Config{}).AdminHandler().(*http.ServeMux)
	for line := range strings.Lines(payutest.AdminHelp) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[1], "/") {
			continue
		}
		path, _, _ := strings.Cut(strings.ReplaceAll(fields[1], "[", ""), "?")
		r, _ := http.NewRequest(fields[0], path, nil)
		if _, pattern := handler.Handler(r); pattern != fields[0]+" "+path {
			t.Errorf("%s: handled by %q", strings.TrimSpace(line), pattern)
		}
	}
}
