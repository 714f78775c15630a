package payutest_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

func TestResource(t *testing.T) {
	s := begin(t, payutest.Config{TokenTTL: time.Minute})
	token := s.ask(form("read_payment_links")).token(t)
	revoked := s.ask(form("read_payment_links", "client_id", "other", "client_secret", "o")).token(t)
	s.RevokeAll("other")

	tests := []struct {
		reason, token, query string
		status               int
		code, descr          string
	}{
		{"a live token", token, "", 200, "", ""},
		{"a scope it has", token, "?scope=read_payment_links", 200, "", ""},
		{"a scope it has not", token, "?scope=create_payment_links", 403, "invalid_scope",
			`Access to this resource requires scope "create_payment_links".`},
		{"no token", "", "", 401, "invalid_token", "The access token is invalid"},
		{"an unknown token", "made-up", "", 401, "invalid_token", "The access token is invalid"},
		{"a revoked token", revoked, "", 401, "invalid_token", "The access token was revoked"},
	}
	for _, test := range tests {
		got := s.use(test.token, test.query)
		m := got.members(t)
		code, _ := m["error"].(string)
		descr, _ := m["error_description"].(string)
		if got.status != test.status || code != test.code || descr != test.descr {
			t.Errorf("%s: %d %s", test.reason, got.status, got.text)
		}
		if has := strings.Contains(got.header.Get("WWW-Authenticate"), `error="invalid_token"`); has != (test.status == 401) {
			t.Errorf("%s: WWW-Authenticate %q", test.reason, got.header.Get("WWW-Authenticate"))
		}
	}

	s.step(time.Minute + time.Second)
	if got := s.use(token, "").members(t)["error_description"]; got != "The access token expired" {
		t.Errorf("an expired token: %v", got)
	}

	want := map[string]map[int]int{"shop": {200: 2, 403: 1, 401: 1}, "other": {401: 1}, "": {401: 2}}
	if got := s.Counters().Resource; !maps.EqualFunc(got, want, maps.Equal) {
		t.Errorf("counters %v, want %v", got, want)
	}
}
