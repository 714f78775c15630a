package grant

import (
	"fmt"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

const month = 30 * 24 * time.Hour

var begin = time.Date(2026, 3, 1, 6, 30, 0, 0, time.UTC)

// tokenSentAt returns the token of a request that was sent at that moment.
func tokenSentAt(at time.Time, life time.Duration) payu.Token {
	fetched := at.Truncate(time.Second)
	return payu.Token{AccessToken: "t", FetchedAt: fetched, ExpiresAt: fetched.Add(life), EndsAfter: at.Add(life)}
}

func TestNextAfterReuse(t *testing.T) {
	const ms, s, m, h = time.Millisecond, time.Second, time.Minute, time.Hour
	tests := map[string]struct {
		reason     string
		life, left time.Duration
		before     life // what was before this response
		want       time.Duration
		probing    bool
	}{
		"an hour is left":                {"half of what is left", 2 * h, h, life{}, 30 * m, false},
		"a minute is left":               {"half of what is left", h, m, life{}, 30 * s, false},
		"ten seconds are left":           {"5 s is not sooner than the floor", 10 * m, 10 * s, life{}, 5 * s, false},
		"less than ten are left":         {"half would be sooner: as soon as it can have expired", h, 9 * s, life{}, 9 * s, true},
		"nothing is left":                {"at once", h, 0, life{}, 0, true},
		"the second quick request":       {"0.4 s after the end", h, 0, life{probes: 1}, 400 * ms, true},
		"the third quick request":        {"0.9 s after the end", h, 0, life{probes: 2}, 900 * ms, true},
		"the fourth quick request":       {"1.5 s after the end", h, 0, life{probes: 3}, 1500 * ms, true},
		"after the fourth":               {"the floor", h, 0, life{probes: 4}, 5 * s, false},
		"after the fourth, it lives yet": {"the floor after its end", h, 3 * s, life{probes: 4}, 8 * s, false},
		"seven requests":                 {"four are kept for the end", month, 10 * 24 * h, life{requests: 6}, 5 * 24 * h, false},
		"eight requests":                 {"four are kept for the end", month, 10 * 24 * h, life{requests: 7}, 10 * 24 * h, true},
		"a long life, little left":       {"a restart forgets how many there were", month, 5 * h, life{requests: 1}, 5 * h, true},
		"a short life, at its end":       {"no quick requests", 29 * s, 0, life{}, 5 * s, false},
		"a short life, before its end":   {"no quick requests", 29 * s, 9 * s, life{}, 14 * s, false},
		"not quite a short life":         {"quick requests", 30 * s, 0, life{}, 0, true},
		"after a rate limit, at its end": {"no quick requests", h, 0, life{limited: true}, 5 * s, false},
		"after a rate limit, before":     {"no quick requests", h, 9 * s, life{limited: true}, 14 * s, false},
		"after a rate limit, long":       {"half of what is left", h, m, life{limited: true}, 30 * s, false},
		"PayU said that it lives longer": {"the latest of what it said", h, 0, life{endsAfter: begin.Add(m)}, 30 * s, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := test.before
			got := nextOf(&l, test.life, test.left)
			if got != test.want || l.probing != test.probing {
				t.Errorf("got %s, quick %t, want %s, %t: %s", got, l.probing, test.want, test.probing, test.reason)
			}
		})
	}
}

// nextOf returns how long to wait after PayU said that so much of a token's life is left.
func nextOf(l *life, whole, left time.Duration) time.Duration {
	return l.next(tokenSentAt(begin.Add(left-whole), whole), tokenSentAt(begin, left), begin).Sub(begin)
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
// of every kind: at most 12 requests, also with a restart, and the successor is asked for within 3 s of the old token's
// death; within the floor and 3 s where there are no quick requests.
func TestReuseCostsAtMost12RequestsALife(t *testing.T) {
	lives := []time.Duration{
		10 * time.Second, 29 * time.Second, 30 * time.Second, 40 * time.Second, 59 * time.Second, 2 * time.Minute, 239 * time.Second,
		5 * time.Minute, 20 * time.Minute, 7011 * time.Second, 2 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, month - time.Second, month,
	}
	phases := []time.Duration{0, time.Microsecond, 300 * time.Millisecond, 501 * time.Millisecond, 999 * time.Millisecond}
	for _, life := range lives {
		for percent := 10; percent <= 90; percent += 5 {
			for _, phase := range phases {
				for _, latency := range []time.Duration{0, 20 * time.Millisecond, 700 * time.Millisecond} {
					for _, wholeSeconds := range []bool{false, true} {
						checkReuse(t, lived{life, percent, phase, latency, wholeSeconds, 0})
						checkReuse(t, lived{life, percent, phase, latency, wholeSeconds, 8})
					}
				}
			}
		}
	}
}

// lived is a life of a token. restart is the number of the request after which the process starts again; 0 for never.
type lived struct {
	life           time.Duration
	percent        int
	phase, latency time.Duration
	wholeSeconds   bool
	restart        int
}

func (v lived) String() string {
	return fmt.Sprintf("life %s, %d %%, phase %s, latency %s, whole seconds %t, restart after %d",
		v.life, v.percent, v.phase, v.latency, v.wholeSeconds, v.restart)
}

func checkReuse(t *testing.T, v lived) {
	t.Helper()
	server := new(reuser)
	now := begin.Add(v.phase)
	request := func() (payu.Token, bool) {
		sent := now
		expiresIn, fresh := server.ask(now.Add(v.latency), v.life, v.wholeSeconds)
		now = now.Add(2 * v.latency)
		return tokenSentAt(sent, expiresIn), fresh
	}
	token, _ := request()
	l := life{endsAfter: token.EndsAfter, requests: 1}
	now = token.RenewAt(v.percent, 2*time.Minute, v.phase.Seconds())
	for requests := 2; requests <= mostRequests+1; requests++ {
		died, asked := server.expires, now
		again, fresh := request()
		if fresh {
			if late := asked.Sub(died); late > 3*time.Second && (token.Life() >= shortLife || late > payu.Floor+3*time.Second) {
				t.Errorf("%s: the successor was asked for %s after expiry", v, late)
			}
			return
		}
		if requests > mostRequests {
			t.Errorf("%s: more than 12 requests", v)
			return
		}
		if requests == v.restart {
			l = life{endsAfter: token.ExpiresAt, requests: 1}
		}
		if next := l.next(token, again, now); next.After(now) {
			now = next
		}
	}
}
