package grant_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

var (
	shopClient  = payutest.Client{ID: "shop", Secret: "secret of shop"}
	otherClient = payutest.Client{ID: "other", Secret: "secret of other"}
)

// scopes are known to the server.
var scopes = []string{"create_payment_links", "read_payment_links"}

func newClient(t *testing.T, server *payutest.Running, now func() time.Time) *payu.Client {
	t.Helper()
	client, err := payu.NewClient(payu.Config{
		BaseURLs: map[string]string{"Test": server.URL}, CAs: server.CA.PEM(), Timeout: 20 * time.Second, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// operator has PayU asked over real TLS, with a clock that jumps to what is due next.
type operator struct {
	*clock
	*grant.Registry
	t       *testing.T
	server  *payutest.Running
	client  *payu.Client
	changed chan []grant.Member
	held    payu.Token // what the target Secret of the sole member has
}

func operate(t *testing.T, config payutest.Config) *operator {
	o := &operator{t: t, clock: newClock(), changed: make(chan []grant.Member, 1000)}
	config.Clock, config.Clients = o.clock.Now, []payutest.Client{shopClient, otherClient}
	o.server = payutest.Run(t, config)
	o.client = newClient(t, o.server, o.clock.Now)
	o.restart()
	return o
}

// Now is the clock's, not the field of Registry.
func (o *operator) Now() time.Time { return o.clock.Now() }

// restart forgets all but the Secret.
func (o *operator) restart() {
	o.Registry = &grant.Registry{
		Request: o.client.Token,
		Now:     o.clock.Now,
		Random:  func() float64 { return 0.5 },
		MayAsk:  func() bool { return true },
		Changed: func(members []grant.Member) { o.changed <- members },
		Measure: func(string, time.Duration, bool, *payu.Error) {},
	}
}

func (o *operator) look(s payu.Source) grant.State {
	return o.Join(sole(s), s.Key(), grant.Seed{Token: stored(o.held)}, grant.Wish{})
}

// request asks once, as soon as that may be, and writes what is new into the Secret.
func (o *operator) request(s payu.Source) (state grant.State, at time.Time) {
	before := o.look(s)
	o.jumpTo(before.AskAt)
	at = o.Now()
	if !o.Ask(o.t.Context(), sole(s), s, before.Ended).InFlight {
		o.t.Fatal("the request did not begin")
	}
	<-o.changed
	if state = o.look(s); state.Err == nil && !state.Reused {
		o.held = state.Token
	}
	return state, at
}

func (o *operator) jumpTo(at time.Time) {
	if wait := at.Sub(o.Now()); wait > 0 {
		o.step(wait)
	}
}

// TestALifeWithAServerThatReusesTokens is trap 2 with a real server: 12 requests a life, no token written twice, and
// the successor within 3 s, whether or not the operator is restarted meanwhile.
func TestALifeWithAServerThatReusesTokens(t *testing.T) {
	tests := map[string]struct {
		ttl          time.Duration
		percent      int
		reuseLimit   int
		wholeSeconds bool
		restarts     bool
	}{
		"ten seconds":                            {ttl: 10 * time.Second, percent: 67},
		"half a minute":                          {ttl: 30 * time.Second, percent: 67},
		"two hours":                              {ttl: 2 * time.Hour, percent: 67},
		"two hours, early":                       {ttl: 2 * time.Hour, percent: 10},
		"two hours, late":                        {ttl: 2 * time.Hour, percent: 90},
		"two hours, with restarts":               {ttl: 2 * time.Hour, percent: 67, restarts: true},
		"two hours, in a database's seconds":     {ttl: 2 * time.Hour, percent: 67, wholeSeconds: true},
		"two hours, reused for half of it":       {ttl: 2 * time.Hour, percent: 10, reuseLimit: 50},
		"two hours, reused for most of it":       {ttl: 2 * time.Hour, percent: 10, reuseLimit: 80},
		"thirty days, in a database's seconds":   {ttl: 30 * 24 * time.Hour, percent: 50, wholeSeconds: true},
		"thirty days, with restarts":             {ttl: 30 * 24 * time.Hour, percent: 10, restarts: true},
		"a minute, early and with restarts, too": {ttl: time.Minute, percent: 10, restarts: true, wholeSeconds: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := operate(t, payutest.Config{
				Mode: payutest.Reuse, TokenTTL: test.ttl, ReuseLimitPercent: test.reuseLimit, WholeSeconds: test.wholeSeconds,
			})
			s := source("shop", scopes...)
			o.request(s)
			for range 4 {
				o.checkLife(s, test.percent, test.restarts)
				o.step(321 * time.Millisecond)
			}
		})
	}
}

// checkLife goes from one token to its successor.
func (o *operator) checkLife(s payu.Source, percent int, restarts bool) {
	o.t.Helper()
	before := o.held
	old, ok := o.server.TokenInfo(before.AccessToken)
	if !ok || before.ExpiresAt.After(old.ExpiresAt.Add(time.Second/2)) {
		o.t.Errorf("the Secret says that the token lives until %s, PayU until %s", before.ExpiresAt, old.ExpiresAt)
	}
	late := 3 * time.Second
	if before.Life() < 30*time.Second {
		late += payu.Floor
	}
	o.jumpTo(before.RenewAt(percent, 2*time.Minute, 0.5))
	for requests := 1; requests <= 12; requests++ {
		if restarts && before.ValidAt(o.Now()) {
			o.restart()
		}
		state, at := o.request(s)
		switch {
		case state.Err != nil:
			o.t.Fatalf("%s before expiry: %v", old.ExpiresAt.Sub(at), state.Err)
		case !state.Reused && o.held.AccessToken == before.AccessToken:
			o.t.Fatalf("%s before expiry the old token was taken for a new one", old.ExpiresAt.Sub(at))
		case !state.Reused:
			if got := at.Sub(old.ExpiresAt); got > late {
				o.t.Errorf("the successor was asked for %s late", got)
			}
			return
		case stored(state.Token) != stored(before):
			o.t.Errorf("a reused token has another life: %s to %s", state.Token.FetchedAt, state.Token.ExpiresAt)
		}
		o.jumpTo(state.NextAttempt)
	}
	o.t.Fatal("more than 12 requests")
}

// TestAStormOverTLS has many PayUTokens of few clients storm a server that revokes the token before: one request per
// source at a time, none in another's way, and everybody has the token that lives.
func TestAStormOverTLS(t *testing.T) {
	o := operate(t, payutest.Config{Mode: payutest.RevokePrevious, Latency: 5 * time.Millisecond})
	sources := []payu.Source{source("shop", scopes...), source("shop", scopes[0]), source("other", scopes...)}
	const rounds = 5
	for round := range rounds {
		if o.storm(sources, round); t.Failed() {
			return
		}
		for range sources {
			if told := <-o.changed; len(told) != 50 {
				t.Errorf("%d members were told, want 50", len(told))
			}
		}
		o.step(payu.Floor)
	}
	for n, s := range sources {
		state := o.Join(named("late"), s.Key(), grant.Seed{}, grant.Wish{})
		info, ok := o.server.TokenInfo(state.Token.AccessToken)
		if state.Ended != rounds || state.Err != nil || !ok || !info.LiveAt(o.Now()) || !info.RevokedAt.IsZero() {
			t.Errorf("source %d: %+v, known %t, revoked at %s", n, state, ok, info.RevokedAt)
		}
	}
	counters := o.server.Counters()
	if counters.Total() != rounds*len(sources) {
		t.Errorf("%d requests, want %d", counters.Total(), rounds*len(sources))
	}
	for _, byScope := range counters.MaxInFlight {
		for scope, n := range byScope {
			if n != 1 {
				t.Errorf("%d requests at once for %q, want 1", n, scope)
			}
		}
	}
}

// storm has 50 PayUTokens ask for each source, all at once.
func (o *operator) storm(sources []payu.Source, seen int) {
	o.t.Helper()
	var askers sync.WaitGroup
	for n := range 50 * len(sources) {
		s, m := sources[n%len(sources)], named(fmt.Sprint("m", n))
		o.Join(m, s.Key(), grant.Seed{}, grant.Wish{})
		askers.Go(func() {
			if state := o.Ask(o.t.Context(), m, s, seen); !state.InFlight && state.Ended == seen {
				o.t.Errorf("no request began: %+v", state)
			}
			o.Join(m, s.Key(), grant.Seed{}, grant.Wish{})
		})
	}
	askers.Wait()
}

// TestAnOddLifetimeDoesNotEndAToken: a token of which PayU states no life lives on where a later response has an expires_in
// that is no number. One of 0 says that the token expires.
func TestAnOddLifetimeDoesNotEndAToken(t *testing.T) {
	for expiresIn, lives := range map[string]bool{`"never"`: true, "true": true, "0": false, "-1": false} {
		t.Run(expiresIn, func(t *testing.T) {
			o := operate(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: time.Hour, Omit: "expires_in"})
			s := source("shop", scopes...)
			before, _ := o.request(s)
			o.server.Inject(payutest.Fault{Set: map[string]json.RawMessage{"expires_in": json.RawMessage(expiresIn)}})
			after, _ := o.request(s)
			if after.Token.AccessToken != before.Token.AccessToken || after.Token.MayLiveAt(o.Now()) != lives {
				t.Errorf("the token is the one from before: %t; it may live: %t, want %t",
					after.Token.AccessToken == before.Token.AccessToken, after.Token.MayLiveAt(o.Now()), lives)
			}
			if failed := after.Err != nil && after.Err.Reason == payu.InvalidResponse; failed != lives {
				t.Errorf("the request failed with %v", after.Err)
			}
		})
	}
}
