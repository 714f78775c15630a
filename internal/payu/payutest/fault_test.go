package payutest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

type fault = payutest.Fault

func raw(value string) json.RawMessage { return json.RawMessage(value) }

func set(name, value string) map[string]json.RawMessage {
	return map[string]json.RawMessage{name: raw(value)}
}

// TestFaultsThatAnswer injects each fault for one request, and expects the next one to work.
func TestFaultsThatAnswer(t *testing.T) {
	const html = "<html><h1>Bad Gateway</h1></html>"
	tests := []struct {
		reason   string
		fault    fault
		status   int
		contains string
		header   string // name: value
		outcome  string
	}{
		{"invalid_client", fault{Error: "invalid_client"}, 401, `"error_description":"Client authentication failed due to unknown client`, `WWW-Authenticate: Bearer realm="Doorkeeper", error="invalid_client", error_description="Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method."`, "invalid_client"},
		{"invalid_scope", fault{Error: "invalid_scope"}, 400, `"error":"invalid_scope"`, "", "invalid_scope"},
		{"unauthorized_client", fault{Error: "unauthorized_client"}, 401, `"error":"unauthorized_client"`, "", "unauthorized_client"},
		{"unsupported_grant_type", fault{Error: "unsupported_grant_type"}, 400, `"error":"unsupported_grant_type"`, "", "unsupported_grant_type"},
		{"status and code disagree", fault{Error: "invalid_request", Status: 401}, 401, `"error":"invalid_request"`, "", "invalid_request"},
		{"server_error", fault{Error: "server_error"}, 500, `"error":"server_error"`, "", "server_error"},
		{"temporarily_unavailable", fault{Error: "temporarily_unavailable"}, 503, `"error":"temporarily_unavailable"`, "", "temporarily_unavailable"},
		{"slow_down", fault{Error: "slow_down"}, 400, `"error":"slow_down"`, "", "slow_down"},
		{"invalid_token_reuse", fault{Error: "invalid_token_reuse"}, 400, `"error":"invalid_token_reuse"`, "", "invalid_token_reuse"},
		{"any other code", fault{Error: "on_strike", Description: "come back\u00a0later"}, 400, `{"error":"on_strike","error_description":"come back` + "\u00a0" + `later"}`, "", "on_strike"},
		{"rate limit as PayU documents it", fault{Error: "rate_limit_exceeded"}, 429, `"retry_after":60}`, "Retry-After: ", "rate_limit_exceeded"},
		{"rate limit with hints", fault{Error: "rate_limit_exceeded", Set: set("retry_after", "5"), Header: map[string]string{"retry-after": "7"}}, 429, `"retry_after":5}`, "Retry-After: 7", "rate_limit_exceeded"},
		{"rate limit without hints", fault{Error: "rate_limit_exceeded", Omit: []string{"retry_after"}}, 429, `later."}`, "", "rate_limit_exceeded"},
		{"rate limit with a date", fault{Status: 429, Header: map[string]string{"Retry-After": "Fri, 14 Nov 2025 12:00:00 GMT"}}, 429, "", "Retry-After: Fri, 14 Nov 2025 12:00:00 GMT", "http_429"},
		{"408", fault{Status: 408}, 408, "", "", "http_408"},
		{"425", fault{Status: 425}, 425, "", "", "http_425"},
		{"500", fault{Status: 500}, 500, "", "", "http_500"},
		{"a proxy's 502", fault{Status: 502, Body: html}, 502, html, "Content-Type: text/html; charset=utf-8", "http_502"},
		{"503 with plain text", fault{Status: 503, Body: "no", Header: map[string]string{"Content-Type": "text/plain"}}, 503, "no", "Content-Type: text/plain", "http_503"},
		{"HTML with 200", fault{Body: html}, 200, html, "Content-Type: text/html; charset=utf-8", "http_200"},
		{"an empty 200", fault{Status: 200}, 200, "", "", "http_200"},
		{"no Content-Type", fault{Status: 200, Header: map[string]string{"Content-Type": ""}}, 200, "", "Content-Type: ", "http_200"},
		{"a redirect", fault{Status: 307, Header: map[string]string{"Location": "https://elsewhere.example/"}}, 307, "", "Location: https://elsewhere.example/", "http_307"},
		{"any body", fault{Body: `{"access_token": tru`}, 200, `{"access_token": tru`, "Content-Type: application/json; charset=utf-8", "http_200"},
		{"200 with an error", fault{Error: "invalid_client", Status: 200}, 200, `{"error":"invalid_client",`, "", "invalid_client"},
		{"a success with an error", fault{Set: set("error", `"server_error"`)}, 200, `,"error":"server_error"}`, "", "success"},
		{"expires_in as a string", fault{Set: set("expires_in", `"3600"`)}, 200, `"expires_in":"3600",`, "", "success"},
		{"expires_in as a float", fault{Set: set("expires_in", "3600.0")}, 200, `"expires_in":3600.0,`, "", "success"},
		{"expires_in with an exponent", fault{Set: set("expires_in", "1e4")}, 200, `"expires_in":1e4,`, "", "success"},
		{"expires_in huge", fault{Set: set("expires_in", "99999999999")}, 200, `"expires_in":99999999999,`, "", "success"},
		{"expires_in null", fault{Set: set("expires_in", "null")}, 200, `"expires_in":null,`, "", "success"},
		{"expires_in negative", fault{Set: set("expires_in", "-5")}, 200, `"expires_in":-5,`, "", "success"},
		{"expires_in missing", fault{Omit: []string{"expires_in"}}, 200, `"token_type":"Bearer","scope"`, "", "success"},
		{"token_type in lower case", fault{Set: set("token_type", `"bearer"`)}, 200, `"token_type":"bearer"`, "", "success"},
		{"token_type mac", fault{Set: set("token_type", `"mac"`)}, 200, `"token_type":"mac"`, "", "success"},
		{"no access_token", fault{Omit: []string{"access_token"}}, 200, `{"token_type"`, "", "success"},
		{"nothing at all", fault{Omit: []string{"access_token", "token_type", "expires_in", "scope", "created_at"}}, 200, `{}`, "", "success"},
		{"odd bytes in the token", fault{Set: set("access_token", `"a\r\nb"`)}, 200, `"access_token":"a\r\nb"`, "", "success"},
		{"a token too large", fault{Set: set("access_token", `"`+strings.Repeat("a", 20_000)+`"`)}, 200, strings.Repeat("a", 20_000), "", "success"},
		{"scope absent", fault{Omit: []string{"scope"}}, 200, `"expires_in":7200,"created_at"`, "", "success"},
		{"scope in another order", fault{Set: set("scope", `"read_payment_links create_payment_links"`)}, 200, `"scope":"read_payment_links create_payment_links"`, "", "success"},
		{"scope reduced", fault{Grant: []string{"read_payment_links"}}, 200, `"scope":"read_payment_links"`, "", "success"},
		{"no scope granted", fault{Grant: []string{}}, 200, `"expires_in":7200,"created_at"`, "", "success"},
	}
	s := begin(t, payutest.Config{})
	for _, test := range tests {
		test.fault.Times = 1
		s.Inject(test.fault)
		got := s.ask(form("create_payment_links read_payment_links"))
		if got.status != test.status || !strings.Contains(got.text, test.contains) || got.err != nil {
			t.Errorf("%s: got %d %s %v\nwant %d %s", test.reason, got.status, got.text, got.err, test.status, test.contains)
		}
		if name, value, ok := strings.Cut(test.header, ": "); ok && got.header.Get(name) != value {
			t.Errorf("%s: %s: %q, want %q", test.reason, name, got.header.Get(name), value)
		}
		if last := s.last(); last.Outcome != test.outcome || last.Status != test.status {
			t.Errorf("%s: counted as %+v, want %s", test.reason, last, test.outcome)
		}
		if next := s.ask(form("")); next.status != http.StatusOK {
			t.Errorf("%s: met by a second request: %d %s", test.reason, next.status, next.text)
		}
	}
}

func (s *story) last() payutest.Request {
	requests := s.Requests()
	return requests[len(requests)-1]
}

func TestFaultsThatBreakTheConnection(t *testing.T) {
	tests := map[payutest.Break]func(reply, error) bool{
		payutest.BreakReset: func(_ reply, err error) bool { return errors.Is(err, syscall.ECONNRESET) },
		payutest.BreakClose: func(_ reply, err error) bool { return errors.Is(err, io.EOF) },
		payutest.BreakTruncate: func(r reply, err error) bool {
			return err == nil && errors.Is(r.err, io.ErrUnexpectedEOF) && strings.HasPrefix(r.text, `{"access_token":"`)
		},
		payutest.BreakEndless: func(r reply, err error) bool {
			return err == nil && len(r.text) == 1<<20 && strings.HasPrefix(r.text, `{"access_token":"`)
		},
	}
	for kind, broken := range tests {
		s := begin(t, payutest.Config{})
		s.Inject(fault{Break: kind, Times: 1})
		if got, err := s.post(t.Context(), form("")); !broken(got, err) {
			t.Errorf("%s: %d, %d bytes, %v, %v", kind, got.status, len(got.text), got.err, err)
		}
		if last := s.last(); last.Outcome != string(kind) {
			t.Errorf("%s: counted as %s", kind, last.Outcome)
		}
		if got := s.ask(form("")); got.status != http.StatusOK {
			t.Errorf("%s: met by a second request", kind)
		}
	}
}

func TestEndlessRepeatsABody(t *testing.T) {
	s := begin(t, payutest.Config{})
	s.Inject(fault{Break: payutest.BreakEndless, Body: "ab"})
	if got := s.ask(form("")); got.text != strings.Repeat("ab", 1<<19) {
		t.Errorf("got %d bytes, %.20q", len(got.text), got.text)
	}
}

func TestOnlyAFaultAfterIssueMakesAToken(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.RevokePrevious})
	first := s.ask(form("")).token(t)

	s.Inject(fault{Status: 502, Times: 1})
	s.ask(form(""))
	if !s.live(first)[0] || len(s.Issued()) != 1 {
		t.Error("a fault in place of the server reached it")
	}

	s.Inject(fault{Status: 502, Times: 1, AfterIssue: true})
	if got := s.ask(form("")); got.status != 502 || s.live(first)[0] || len(s.Issued()) != 2 {
		t.Errorf("the answer was not lost on the way: %d", got.status)
	}
}

func TestReducedGrantIsWhatIsIssued(t *testing.T) {
	s := begin(t, payutest.Config{})
	s.Inject(fault{Grant: []string{"read_payment_links"}})
	token := s.ask(form("create_payment_links read_payment_links")).token(t)
	if i, _ := s.TokenInfo(token); !slices.Equal(i.Scopes, []string{"read_payment_links"}) {
		t.Errorf("issued for %v", i.Scopes)
	}
	if got := s.use(token, "?scope=create_payment_links"); got.status != http.StatusForbidden {
		t.Errorf("the token has the scope: %d", got.status)
	}
	if got := s.ask(form("bad")); got.members(t)["error"] != "invalid_scope" {
		t.Errorf("a refused request was granted something: %s", got.text)
	}
}

func TestAClientsOwnFaultComesFirst(t *testing.T) {
	s := begin(t, payutest.Config{})
	s.Inject(fault{Status: 500})
	s.Inject(fault{ClientID: "shop", Status: 501, Times: 2})
	s.Inject(fault{ClientID: "shop", Status: 502, Times: 1})
	s.Inject(fault{ClientID: "other", Status: 503})

	var got []int
	for range 4 {
		got = append(got, s.ask(form("")).status)
	}
	if want := []int{501, 501, 502, 500}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	s.ClearFault("")
	if got := s.ask(form("")).status; got != 200 {
		t.Errorf("everyone's fault is still there: %d", got)
	}
	if got := s.ask(form("", "client_id", "other")).status; got != 503 {
		t.Errorf("the other client's fault is gone: %d", got)
	}
	if got := s.Faults(); len(got) != 1 || got[0].ClientID != "other" {
		t.Errorf("faults %+v", got)
	}
}

func TestHangUntilCleared(t *testing.T) {
	s := begin(t, payutest.Config{})
	s.Inject(fault{Hang: true, Times: 1})
	replies := s.together(form(""))
	s.await(inFlight(1))
	if got := s.ask(form("")); got.status != http.StatusOK {
		t.Errorf("a second request hangs: %d", got.status)
	}
	if len(s.Faults()) != 0 {
		t.Error("the fault is still in force")
	}
	s.ClearFaults()
	if got := <-replies; got.status != http.StatusOK {
		t.Errorf("the hanging request: %d %s", got.status, got.text)
	}
}

func TestHangUntilTheClientGoesAway(t *testing.T) {
	s := begin(t, payutest.Config{})
	s.Inject(fault{Hang: true})
	ctx, giveUp := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.post(ctx, form(""))
		done <- err
	}()
	s.await(inFlight(1))
	giveUp()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.await(inFlight(0))
	if last := s.last(); last.Outcome != payutest.OutcomeAbandoned || len(s.Issued()) != 0 {
		t.Errorf("counted as %+v, %d tokens made", last, len(s.Issued()))
	}
}

func TestLatencyIsGivenUpToo(t *testing.T) {
	s := begin(t, payutest.Config{Latency: time.Hour})
	s.Inject(fault{Latency: time.Hour})
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	go s.post(ctx, form(""))
	s.await(inFlight(1))
	giveUp()
	s.await(inFlight(0))
	if last := s.last(); last.Outcome != payutest.OutcomeAbandoned {
		t.Errorf("counted as %+v", last)
	}
	s.SetLatency(0)
	s.ClearFaults()
	if got := s.ask(form("")); got.status != http.StatusOK {
		t.Errorf("got %d", got.status)
	}
}

func TestLatencyDelays(t *testing.T) {
	const delay = 30 * time.Millisecond
	s := begin(t, payutest.Config{Latency: delay / 2})
	s.Inject(fault{Latency: delay / 2})
	start := time.Now()
	if got := s.ask(form("")); got.status != http.StatusOK || time.Since(start) < delay {
		t.Errorf("%d after %s", got.status, time.Since(start))
	}
}

func TestFaultAsJSON(t *testing.T) {
	want := fault{
		ClientID: "shop", Times: 2, Latency: 1500 * time.Millisecond, Error: "rate_limit_exceeded", Status: 429,
		Header: map[string]string{"Retry-After": "5"}, Set: set("retry_after", "1e1"), Grant: []string{},
	}
	text, err := json.Marshal(want)
	if err != nil || !strings.Contains(string(text), `"latency":"1.5s"`) {
		t.Fatalf("%s, %v", text, err)
	}
	var got fault
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(got)
	if string(again) != string(text) || got.Latency != want.Latency || got.Grant == nil {
		t.Errorf("got %s\nwant %s", again, text)
	}
	for _, bad := range []string{`{"stauts": 500}`, `{"latency": 5}`, `{"latency": "soon"}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	if zero, _ := json.Marshal(fault{}); string(zero) != "{}" {
		t.Errorf("the zero fault is %s", zero)
	}
}

func TestImpossibleFaults(t *testing.T) {
	for reason, f := range map[string]fault{
		"negative times": {Times: -1}, "negative latency": {Latency: -1}, "status": {Status: 99}, "break": {Break: "bones"},
		"raw bytes as JSON": {Set: set("expires_in", "NaN")},
	} {
		if f.Validate() == nil {
			t.Errorf("%s: accepted", reason)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: injected", reason)
				}
			}()
			payutest.New(payutest.Config{}).Inject(f)
		}()
	}
}
