package payutest_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

func TestDefaultModeMakesANewTokenEachTime(t *testing.T) {
	s := begin(t, payutest.Config{TokenTTL: 10 * time.Second})
	first := s.ask(form("read_payment_links"))
	s.step(4 * time.Second)
	second := s.ask(form("read_payment_links"))
	if first.token(t) == second.token(t) || second.members(t)["expires_in"] != 10.0 {
		t.Errorf("not a new token with its full life: %s", second.text)
	}
	s.step(6 * time.Second)
	if got := s.live(first.token(t), second.token(t)); !slices.Equal(got, []bool{true, true}) {
		t.Errorf("the earlier one did not live on: %v", got)
	}
	s.step(time.Microsecond)
	if got := s.live(first.token(t), second.token(t)); !slices.Equal(got, []bool{false, true}) {
		t.Errorf("each dies at its own end: %v", got)
	}
}

func TestReuseModeGivesTheRemainingLife(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.Reuse})
	first := s.ask(form("read_payment_links"))
	for _, want := range []float64{7195, 7190} {
		s.step(5 * time.Second)
		got := s.ask(form("read_payment_links"))
		m := got.members(t)
		if got.token(t) != first.token(t) || m["expires_in"] != want || m["created_at"] != 1763036368.0 {
			t.Errorf("got %s, want the same token, expires_in %v", got.text, want)
		}
	}
}

func TestReuseModeCountsDownToZero(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 10 * time.Second})
	var lives []float64
	var tokens []string
	for range 12 {
		got := s.ask(form("read_payment_links"))
		lives = append(lives, got.members(t)["expires_in"].(float64))
		tokens = append(tokens, got.token(t))
		s.step(time.Second)
	}
	if want := []float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 10}; !slices.Equal(lives, want) {
		t.Errorf("expires_in %v, want %v", lives, want)
	}
	if slices.Contains(tokens[1:11], tokens[11]) || len(slices.Compact(tokens[:11])) != 1 {
		t.Error("want one token down to the 0, and a new one after it")
	}
}

func TestReuseModeRoundsAndMaySayZeroForATokenThatDiesOnTheWay(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 10 * time.Second})
	token := s.ask(form("")).token(t)
	s.step(9200 * time.Millisecond)
	for _, want := range []float64{1, 0} { // of 0.8 s and 0.4 s
		if got := s.ask(form("")).members(t)["expires_in"]; got != want {
			t.Errorf("expires_in %v, want %v", got, want)
		}
		s.step(400 * time.Millisecond)
	}
	s.step(time.Microsecond)
	if s.live(token)[0] {
		t.Error("it lives on")
	}
}

func TestReuseModeGoesByScopeSet(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.Reuse})
	both := s.ask(form("create_payment_links read_payment_links"))
	again := s.ask(form("read_payment_links create_payment_links read_payment_links"))
	if again.text != both.text {
		t.Errorf("order and duplicates matter: %s, %s", both.text, again.text)
	}
	subset := s.ask(form("read_payment_links")).token(t)
	none := s.ask(form("")).token(t)
	other := s.ask(form("read_payment_links", "client_id", "other", "client_secret", "o")).token(t)
	tokens := []string{both.token(t), subset, none, other}
	slices.Sort(tokens)
	if len(slices.Compact(tokens)) != 4 {
		t.Error("a subset or another client shares a token")
	}
}

func TestReuseLimit(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 10 * time.Second, ReuseLimitPercent: 50})
	first := s.ask(form("")).token(t)
	s.step(5 * time.Second)
	if s.ask(form("")).token(t) != first {
		t.Error("a new token before half of the life was gone")
	}
	s.step(time.Second)
	second := s.ask(form(""))
	if second.token(t) == first || second.members(t)["expires_in"] != 10.0 {
		t.Errorf("no new token after half of the life: %s", second.text)
	}
	s.step(4 * time.Second)
	if got := s.live(first); !got[0] {
		t.Error("the old one did not live on to its end")
	}
	s.SetReuseLimit(100)
	s.step(5 * time.Second)
	if s.ask(form("")).token(t) != second.token(t) {
		t.Error("the lifted limit still counts")
	}
}

func TestReuseModeDoesNotGiveARevokedToken(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.Reuse})
	first := s.ask(form("")).token(t)
	s.RevokeAll("other")
	if s.ask(form("")).token(t) != first {
		t.Error("another client's revocation counts")
	}
	s.RevokeAll("")
	if s.ask(form("")).token(t) == first {
		t.Error("a revoked token was given")
	}
}

func TestRevokePreviousMode(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.RevokePrevious})
	first := s.ask(form("create_payment_links read_payment_links")).token(t)
	subset := s.ask(form("read_payment_links")).token(t)
	other := s.ask(form("read_payment_links", "client_id", "other", "client_secret", "o")).token(t)

	second := s.ask(form("read_payment_links create_payment_links")).token(t)
	if got := s.live(first, second, subset, other); !slices.Equal(got, []bool{false, true, true, true}) {
		t.Errorf("live: first, second, subset, other client: %v", got)
	}
	if got := s.use(first, "").members(t)["error_description"]; got != "The access token was revoked" {
		t.Errorf("the resource says %q", got)
	}
	if i, _ := s.TokenInfo(first); !i.RevokedAt.Equal(s.Now()) {
		t.Errorf("revoked at %s", i.RevokedAt)
	}
}

// TestRevokePreviousModeRefusesWhoComesSecond holds requests back between Doorkeeper's look-up and its lock.
func TestRevokePreviousModeRefusesWhoComesSecond(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.RevokePrevious})
	previous := s.ask(form("")).token(t)
	s.Inject(payutest.Fault{Hang: true})
	replies := s.together(form(""), form(""), form("read_payment_links"))
	s.await(inFlight(3))
	s.ClearFaults()

	var granted []string
	for r := range replies {
		switch {
		case r.status == http.StatusOK:
			granted = append(granted, r.token(t))
		case r.status != 400 || r.members(t)["error"] != "invalid_token_reuse":
			t.Errorf("%d %s", r.status, r.text)
		}
	}
	if got := s.live(append(granted, previous)...); !slices.Equal(got, []bool{true, true, false}) {
		t.Errorf("live: one per scope set, not the previous: %v", got)
	}
	want := map[string]int{"success": 3, "invalid_token_reuse": 1}
	if got := s.Counters().Requests["shop"]; got["success"] != 3 || got["invalid_token_reuse"] != 1 {
		t.Errorf("counters %v, want %v", got, want)
	}
	if got := s.Counters().MaxInFlight["shop"]; got[""] != 2 || got["read_payment_links"] != 1 {
		t.Errorf("most in flight %v", got)
	}
}

// TestRevokePreviousModeUnderLoad sends 80 requests, 16 at a time: some are refused, and one token is live after each round.
func TestRevokePreviousModeUnderLoad(t *testing.T) {
	s := begin(t, payutest.Config{Mode: payutest.RevokePrevious, Latency: time.Millisecond})
	for range 5 {
		forms := slices.Repeat([]url.Values{form("")}, 16)
		var granted []string
		for r := range s.together(forms...) {
			if r.status == http.StatusOK {
				granted = append(granted, r.token(t))
			}
		}
		live := slices.DeleteFunc(s.live(granted...), func(live bool) bool { return !live })
		if len(live) != 1 {
			t.Errorf("of %d granted tokens %d are live", len(granted), len(live))
		}
	}
	c := s.Counters().Requests["shop"]
	t.Logf("%d granted, %d refused", c["success"], c["invalid_token_reuse"])
	if c["success"]+c["invalid_token_reuse"] != 80 || c["success"] < 5 {
		t.Errorf("counters %v", c)
	}
}

// together sends requests at the same time. The channel is closed after the last reply.
func (s *story) together(forms ...url.Values) <-chan reply {
	replies := make(chan reply, len(forms))
	var all sync.WaitGroup
	for _, f := range forms {
		all.Go(func() {
			r, err := s.post(s.t.Context(), f)
			if err != nil {
				s.t.Error(err)
			}
			replies <- r
		})
	}
	go func() { all.Wait(); close(replies) }()
	return replies
}

func TestModesSwitchWhileItRuns(t *testing.T) {
	s := begin(t, payutest.Config{})
	a := s.ask(form("")).token(t)
	s.SetMode(payutest.Reuse)
	if s.ask(form("")).token(t) != a {
		t.Error("Reuse did not take over the token")
	}
	s.SetMode(payutest.RevokePrevious)
	b := s.ask(form("")).token(t)
	s.SetMode(payutest.Default)
	s.SetTokenTTL(time.Hour)
	c := s.ask(form(""))
	if got := s.live(a, b, c.token(t)); !slices.Equal(got, []bool{false, true, true}) {
		t.Errorf("live %v", got)
	}
	if c.members(t)["expires_in"] != 3600.0 {
		t.Errorf("the new life does not count: %s", c.text)
	}
	want := payutest.Settings{Mode: payutest.Default, TokenTTL: time.Hour}
	if got := s.Settings(); got != want {
		t.Errorf("settings %+v", got)
	}
}

func TestSettingsValidate(t *testing.T) {
	good := payutest.Settings{Mode: payutest.Reuse, TokenTTL: time.Second, ReuseLimitPercent: 100}
	tests := map[string]struct {
		change func(*payutest.Settings)
		ok     bool
	}{
		"good":                {func(*payutest.Settings) {}, true},
		"an unknown mode":     {func(s *payutest.Settings) { s.Mode = "x" }, false},
		"no life":             {func(s *payutest.Settings) { s.TokenTTL = 0 }, false},
		"more than all life":  {func(s *payutest.Settings) { s.ReuseLimitPercent = 101 }, false},
		"what can be omitted": {func(s *payutest.Settings) { s.Omit = "expires_in,scope,created_at" }, true},
		"what cannot":         {func(s *payutest.Settings) { s.Omit = "access_token" }, false},
		"negative latency":    {func(s *payutest.Settings) { s.Latency = -1 }, false},
	}
	for reason, test := range tests {
		settings := good
		test.change(&settings)
		if err := settings.Validate(); (err == nil) != test.ok {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// TestTheFormOfResponses sees to it that members are left out, and what a JWT looks like, in each mode.
func TestTheFormOfResponses(t *testing.T) {
	for _, mode := range []payutest.Mode{payutest.Default, payutest.Reuse, payutest.RevokePrevious} {
		s := begin(t, payutest.Config{Mode: mode, JWT: true, Omit: "expires_in,created_at"})
		for range 2 { // the second is the same token in mode Reuse
			answer := s.ask(form("read_payment_links"))
			members := answer.members(t)
			if len(members) != 3 || members["scope"] != "read_payment_links" || strings.Count(answer.token(t), ".") != 2 {
				t.Errorf("%s: %v", mode, members)
			}
		}
		s.SetOmit("")
		if got := s.ask(form("read_payment_links")).members(t); len(got) != 5 {
			t.Errorf("%s: %v", mode, got)
		}
		if got := s.Settings(); got.Omit != "" || !got.JWT {
			t.Errorf("settings %+v", got)
		}
	}
}
