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

func TestFromTheFuture(t *testing.T) {
	for ahead, want := range map[time.Duration]bool{-time.Hour: false, 0: false, 10 * time.Second: false, 10*time.Second + 1: true, time.Hour: true} {
		if got := living(2 * time.Hour).FromTheFuture(fetchedAt.Add(-ahead)); got != want {
			t.Errorf("fetched %s after now: from the future %t, want %t", ahead, got, want)
		}
	}
	if (Token{}).FromTheFuture(fetchedAt) {
		t.Error("the zero token is from the future")
	}
}

func TestSupersedes(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	now := fetchedAt.Add(h)
	from := func(fetched, life time.Duration) Token {
		return Token{AccessToken: "abc", FetchedAt: now.Add(fetched), ExpiresAt: now.Add(fetched + life)}
	}
	present, another := from(-m, h), from(-m, h)
	another.AccessToken = "another"
	tests := map[string]struct {
		token, other Token
		want         bool
	}{
		"a live one, none":                         {present, Token{}, true},
		"none, a dead one":                         {Token{}, from(-2*h, h), false},
		"a life without a token":                   {Token{FetchedAt: now, ExpiresAt: now.Add(h)}, Token{}, false},
		"one that expires now, none":               {from(-h, h), Token{}, false},
		"one from the future, none":                {from(11*s, h), Token{}, false},
		"one of a clock that is a little ahead":    {from(10*s, h), present, true},
		"fetched later":                            {from(-m+s, h), present, true},
		"fetched later, expires sooner":            {from(-s, 30*m), present, true},
		"fetched earlier, expires later":           {from(-2*m, 3*h), present, false},
		"fetched earlier, the other is dead":       {from(-2*h, 3*h), from(-m, 30*s), true},
		"fetched earlier, the other from tomorrow": {present, from(24*h, h), true},
		"from tomorrow, the other dead":            {from(24*h, h), from(-2*h, h), false},
		"the same":                                 {present, present, false},
		"another one of the same times":            {another, present, false},
		"the same second, expires later":           {from(-m, h+s), present, true},
		"the same second, expires sooner":          {from(-m, h-s), present, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.token.Supersedes(test.other, now); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
			if test.want && test.other.Supersedes(test.token, now) {
				t.Error("each supersedes the other")
			}
		})
	}
}

// TestATokenEndsAfterItsExpiry: the two are less than a second apart, since only ExpiresAt is in whole seconds.
func TestATokenEndsAfterItsExpiry(t *testing.T) {
	for _, fraction := range []time.Duration{0, time.Nanosecond, time.Millisecond, time.Second - 1} {
		at := fetchedAt.Add(fraction)
		token, err := decode(answer{status: 200, body: body()}, asked, at)
		if err != nil {
			t.Fatal(err)
		}
		if !token.EndsAfter.Equal(at.Add(sampleLife)) || token.EndsAfter.Sub(token.ExpiresAt) != fraction {
			t.Errorf("sent at %s: ends after %s, expires at %s", at, token.EndsAfter, token.ExpiresAt)
		}
	}
}
