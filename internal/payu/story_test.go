package payu_test

import (
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// life is a PayUToken over real TLS, with a clock that jumps to what is due next.
type life struct {
	*clock
	t       *testing.T
	server  *payutest.Running
	client  *payu.Client
	tokens  *payu.Tokens
	changed chan payu.Digest
	held    payu.Token // what the target Secret has
}

func live(t *testing.T, config payutest.Config) *life {
	l := &life{t: t, clock: newClock(), changed: make(chan payu.Digest)}
	config.Clock, config.Clients = l.Now, []payutest.Client{shop}
	l.server = payutest.Run(t, config)
	l.client = newClient(t, l.server.URL, l.server.CA.PEM(), long, l.Now)
	l.restart()
	return l
}

// restart forgets all but the Secret.
func (l *life) restart() {
	l.tokens = &payu.Tokens{
		Request: l.client.Token,
		Now:     l.Now,
		Random:  func() float64 { return 0.5 },
		MayAsk:  func() bool { return true },
		Changed: func(source payu.Digest) { l.changed <- source },
		Observe: func(string, time.Duration, bool, *payu.Error) {},
	}
}

// request asks once, and writes what is new into the Secret.
func (l *life) request() payu.Progress {
	key := shopSource().Key()
	l.tokens.Ask(l.t.Context(), shopSource(), l.tokens.Look(key).Attempts, l.held)
	<-l.changed
	p := l.tokens.Look(key)
	if p.Err == nil && !p.Reused {
		l.held = p.Token
	}
	return p
}

func (l *life) jumpTo(at time.Time) {
	if wait := at.Sub(l.Now()); wait > 0 {
		l.step(wait)
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
			l := live(t, payutest.Config{
				Mode: payutest.Reuse, TokenTTL: test.ttl, ReuseLimitPercent: test.reuseLimit, WholeSeconds: test.wholeSeconds,
			})
			l.request()
			for range 4 {
				l.checkLife(test.percent, test.restarts)
				l.step(321 * time.Millisecond)
			}
		})
	}
}

// checkLife goes from one token to its successor.
func (l *life) checkLife(percent int, restarts bool) {
	l.t.Helper()
	before := l.held
	old, ok := l.server.TokenInfo(before.AccessToken)
	if !ok || before.ExpiresAt.After(old.ExpiresAt.Add(time.Second/2)) {
		l.t.Errorf("the Secret says that the token lives until %s, PayU until %s", before.ExpiresAt, old.ExpiresAt)
	}
	l.jumpTo(before.RenewAt(percent, 2*time.Minute, 0.5))
	for requests := 1; requests <= 12; requests++ {
		if restarts {
			l.restart()
		}
		at := l.Now()
		p := l.request()
		switch {
		case p.Err != nil:
			l.t.Fatalf("%s before expiry: %v", old.ExpiresAt.Sub(at), p.Err)
		case !p.Reused && l.held.AccessToken == before.AccessToken:
			l.t.Fatalf("%s before expiry the old token was taken for a new one", old.ExpiresAt.Sub(at))
		case !p.Reused:
			if late := at.Sub(old.ExpiresAt); late > 3*time.Second {
				l.t.Errorf("the successor was asked for %s late", late)
			}
			return
		case p.Token != before:
			l.t.Errorf("a reused token has another life: %s to %s", p.Token.FetchedAt, p.Token.ExpiresAt)
		}
		l.jumpTo(p.NextAttempt)
	}
	l.t.Fatal("more than 12 requests")
}
