package payu

import (
	"fmt"
	"math"
	"math/big"
	"testing"
	"time"
)

const month = 30 * 24 * time.Hour

func living(life time.Duration) Token {
	return Token{AccessToken: "abc", FetchedAt: fetchedAt, ExpiresAt: fetchedAt.Add(life)}
}

func TestValidAt(t *testing.T) {
	token := living(time.Hour)
	for after, want := range map[time.Duration]bool{-time.Hour: true, 0: true, time.Hour - 1: true, time.Hour: false, 2 * time.Hour: false} {
		if got := token.ValidAt(fetchedAt.Add(after)); got != want {
			t.Errorf("%s after it was fetched: valid %t, want %t", after, got, want)
		}
	}
	if (Token{}).ValidAt(fetchedAt) || (Token{}).ValidAt(time.Time{}) {
		t.Error("the zero token is valid")
	}
}

// TestRenewAt is trap 5.
func TestRenewAt(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	tests := map[string]struct {
		reason  string
		life    time.Duration
		percent int
		margin  time.Duration
		spread  float64
		want    time.Duration
	}{
		"two hours by default":              {"67 %", 2 * h, 67, 2 * m, 0, 4824 * s},
		"two hours with half the jitter":    {"2.5 % of the life earlier", 2 * h, 67, 2 * m, 0.5, 4824*s - 180*s},
		"two hours with all the jitter":     {"5 % of the life earlier", 2 * h, 67, 2 * m, 1, 4824*s - 360*s},
		"two hours, late":                   {"90 % leaves 12 min", 2 * h, 90, 2 * m, 0, 6480 * s},
		"two hours with a long margin":      {"the margin counts", 2 * h, 90, 30 * m, 0, 90 * m},
		"two hours, early":                  {"not before half the life", 2 * h, 10, 2 * m, 0, h},
		"two hours, early, with jitter":     {"not before half the life", 2 * h, 10, 2 * m, 1, h},
		"a little more than half, jittered": {"not before half the life", 2 * h, 52, 2 * m, 1, h},
		"ten seconds":                       {"the margin is longer than the life: half", 10 * s, 90, 2 * m, 0, 5 * s},
		"one second":                        {"half", s, 67, 2 * m, 1, 500 * time.Millisecond},
		"three minutes":                     {"life - margin is before half", 3 * m, 67, 2 * m, 0, 90 * s},
		"five minutes":                      {"life - margin", 5 * m, 67, 2 * m, 0, 3 * m},
		"five minutes without a margin":     {"67 %", 5 * m, 67, 0, 0, 201 * s},
		"thirty days":                       {"int64 holds 90 % of them", month, 90, 2 * m, 0, 27 * 24 * h},
		"thirty days with all the jitter":   {"5 % of the life earlier", month, 90, 2 * m, 1, 27*24*h - 36*h},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := living(test.life).RenewAt(test.percent, test.margin, test.spread).Sub(fetchedAt)
			if got != test.want {
				t.Errorf("got %s, want %s: %s", got, test.want, test.reason)
			}
		})
	}
}

// checkRenewAt tries the rule of trap 5 on one token, computed in another way.
func checkRenewAt(t *testing.T, life time.Duration, percent int, margin time.Duration, spread float64) {
	t.Helper()
	what := fmt.Sprintf("life %s, %d %%, margin %s, spread %g", life, percent, margin, spread)
	at := living(life).RenewAt(percent, margin, spread).Sub(fetchedAt)
	part := new(big.Int).Mul(big.NewInt(int64(life)), big.NewInt(int64(percent)))
	latest := max(min(time.Duration(part.Div(part, big.NewInt(100)).Int64()), life-margin), life/2)
	switch {
	case at < life/2:
		t.Errorf("%s: renewed at %s, before half the life", what, at)
	case at > latest:
		t.Errorf("%s: renewed at %s, after %s", what, at, latest)
	case latest-at >= life/20+time.Second:
		t.Errorf("%s: renewed at %s, more than 5 %% before %s", what, at, latest)
	case spread == 0 && latest-at >= time.Second:
		t.Errorf("%s: renewed at %s, want %s in whole seconds", what, at, latest)
	case at != at.Truncate(time.Second) && at != life/2:
		t.Errorf("%s: renewed at %s, want whole seconds as the status has", what, at)
	}
	if wider := min(1, spread+0.1); living(life).RenewAt(percent, margin, wider).Sub(fetchedAt) > at {
		t.Errorf("%s: a wider spread renews later", what)
	}
}

var someLives = []time.Duration{
	time.Second, 2 * time.Second, 10 * time.Second, 59 * time.Second, 2 * time.Minute, 239 * time.Second, 7011 * time.Second,
	2 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, month - time.Second, month,
}

func TestRenewAtKeepsItsPromises(t *testing.T) {
	for _, life := range someLives {
		for percent := 10; percent <= 90; percent++ {
			for _, margin := range []time.Duration{0, time.Second, 2 * time.Minute, time.Hour, 40 * 24 * time.Hour} {
				for _, spread := range []float64{0, 0.001, 0.5, math.Nextafter(1, 0), 1} {
					checkRenewAt(t, life, percent, margin, spread)
				}
			}
		}
	}
}

func TestNextAfterReuse(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	tests := map[string]struct {
		reason     string
		life, left time.Duration
		want       time.Duration
	}{
		"an hour is left":             {"half of what is left", 2 * h, h, 30 * m},
		"a minute is left":            {"half of what is left", h, m, 30 * s},
		"ten seconds are left":        {"5 s is not sooner than 5 s", h, 10 * s, 5 * s},
		"less than ten are left":      {"half would be sooner than 5 s: just after expiry", h, 9 * s, 11 * s},
		"one second is left":          {"just after expiry", h, s, 3 * s},
		"nothing is left":             {"just after expiry", h, 0, 2 * s},
		"it has expired for a second": {"just after expiry", h, -s, s},
		"a long life, much left":      {"half of what is left", month, 2 * h, h},
		"a long life, little left":    {"a 1024th of 30 days is 42 min: 12 requests at most", month, 80 * m, 80*m + 2*s},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := nextAfterReuse(test.life, sentAt.Add(test.left), sentAt).Sub(sentAt)
			if got != test.want {
				t.Errorf("got %s, want %s: %s", got, test.want, test.reason)
			}
		})
	}
}

// reuser is a server that gives one token again until it dies, as a Doorkeeper with reuse_access_token does.
type reuser struct {
	issued, expires time.Time
}

// ask returns what is left of the token at that moment, or of a new one.
func (r *reuser) ask(now time.Time, life time.Duration, wholeSeconds bool) (expiresIn time.Duration, fresh bool) {
	if fresh = now.After(r.expires); fresh {
		r.issued = now
		if wholeSeconds {
			r.issued = now.Truncate(time.Second)
		}
		r.expires = r.issued.Add(life)
	}
	return max(0, r.expires.Sub(now).Round(time.Second)), fresh
}

// TestReuseCostsAtMost12RequestsALife is trap 2, for every length of life, every share of it, and clocks and networks
// of every kind: at most 12 requests, and the successor is asked for within 3 s of the old token's death.
func TestReuseCostsAtMost12RequestsALife(t *testing.T) {
	lives := append([]time.Duration{5 * time.Minute, 20 * time.Minute, 40 * time.Second}, someLives[2:]...)
	phases := []time.Duration{0, time.Microsecond, 300 * time.Millisecond, 501 * time.Millisecond, 999 * time.Millisecond}
	for _, life := range lives {
		for percent := 10; percent <= 90; percent += 5 {
			for _, phase := range phases {
				for _, latency := range []time.Duration{0, 20 * time.Millisecond, 700 * time.Millisecond} {
					for _, wholeSeconds := range []bool{false, true} {
						checkReuse(t, life, percent, phase, latency, wholeSeconds)
					}
				}
			}
		}
	}
}

func checkReuse(t *testing.T, life time.Duration, percent int, phase, latency time.Duration, wholeSeconds bool) {
	t.Helper()
	what := fmt.Sprintf("life %s, %d %%, phase %s, latency %s, whole seconds %t", life, percent, phase, latency, wholeSeconds)
	server := new(reuser)
	now := fetchedAt.Add(phase)
	request := func() (Token, bool) {
		expiresIn, fresh := server.ask(now.Add(latency), life, wholeSeconds)
		from := now.Truncate(time.Second)
		now = now.Add(2 * latency)
		return Token{FetchedAt: from, ExpiresAt: from.Add(expiresIn)}, fresh
	}
	token, _ := request()
	now = token.RenewAt(percent, 2*time.Minute, phase.Seconds())
	for requests := 1; requests <= 12; requests++ {
		died, asked := server.expires, now
		again, fresh := request()
		if fresh {
			if late := asked.Sub(died); late > 3*time.Second {
				t.Errorf("%s: the successor was asked for %s after expiry", what, late)
			}
			return
		}
		if again.Life() == 0 {
			t.Errorf("%s: asked while the token was dying, %s before expiry", what, died.Sub(asked))
			return
		}
		now = nextAfterReuse(token.Life(), again.ExpiresAt, now)
	}
	t.Errorf("%s: more than 12 requests", what)
}
