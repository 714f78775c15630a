package payu_test

import (
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// TestBackOff is traps 20 to 22.
func TestBackOff(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	tests := map[string]struct {
		reason   string
		err      payu.Error
		failures int
		part     float64
		want     time.Duration
	}{
		"the first permanent failure":              {"20: try every 15 min", payu.Error{Reason: payu.InvalidClient}, 1, 0, 15 * m},
		"a permanent one has no jitter":            {"nobody waits in line for it", payu.Error{Reason: payu.InvalidClient}, 1, 0.99, 15 * m},
		"the second permanent failure":             {"20: doubling", payu.Error{Reason: payu.InvalidScope}, 2, 0, 30 * m},
		"the third permanent failure":              {"20: to 1 h", payu.Error{Reason: payu.UnauthorizedClient}, 3, 0, h},
		"the hundredth permanent failure":          {"20: to 1 h", payu.Error{Reason: payu.InvalidRequest}, 100, 0, h},
		"a permanent failure with retry_after":     {"22: the server's word is a lower bound", payu.Error{Reason: payu.InvalidClient, RetryAfter: 40 * m}, 1, 0, 40 * m},
		"a permanent one with a short retry_after": {"20: not sooner", payu.Error{Reason: payu.InvalidClient, RetryAfter: 5 * s}, 1, 0, 15 * m},
		"the first transient failure, at most":     {"21: from 5 s", payu.Error{Reason: payu.ServerError}, 1, 1, 5 * s},
		"the first transient failure, at least":    {"21: never sooner than the floor", payu.Error{Reason: payu.ServerError}, 1, 0, 5 * s},
		"the second transient failure":             {"21: exponential", payu.Error{Reason: payu.Unreachable}, 2, 1, 10 * s},
		"the second transient failure, jittered":   {"21: with jitter", payu.Error{Reason: payu.Unreachable}, 2, 0.75, 7500 * time.Millisecond},
		"a later transient failure, at least":      {"21: full jitter, down to the floor", payu.Error{Reason: payu.Unreachable}, 10, 0, 5 * s},
		"the fifth transient failure":              {"21: exponential", payu.Error{Reason: payu.OAuthError}, 5, 0.25, 20 * s},
		"the sixth transient failure":              {"21: below 5 min still", payu.Error{Reason: payu.RateLimited}, 6, 1, 160 * s},
		"the seventh transient failure":            {"21: to 5 min", payu.Error{Reason: payu.InvalidResponse}, 7, 1, 5 * m},
		"a transient failure after a long outage":  {"21: no overflow", payu.Error{Reason: payu.ServerError}, 1 << 30, 0.5, 150 * s},
		"a transient failure with retry_after":     {"22: the server's word is a lower bound", payu.Error{Reason: payu.RateLimited, RetryAfter: h}, 1, 1, h},
		"one with a shorter retry_after":           {"21: the back-off goes on", payu.Error{Reason: payu.RateLimited, RetryAfter: 5 * s}, 10, 1, 5 * m},
		"no failure at all":                        {"a count from a status may be anything", payu.Error{Reason: payu.ServerError}, 0, 1, 5 * s},
		"a negative number of failures":            {"a count from a status may be anything", payu.Error{Reason: payu.InvalidClient}, -5, 1, 15 * m},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.err.BackOff(test.failures, test.part); got != test.want {
				t.Errorf("got %s, want %s: %s", got, test.want, test.reason)
			}
		})
	}
}

// TestABackOffIsWithinTheFloorAndAnHour is also what tells a wait from a clock that was set back.
func TestABackOffIsWithinTheFloorAndAnHour(t *testing.T) {
	for reason := range permanence {
		for failures := range 50 {
			for _, after := range []time.Duration{0, payu.Floor, time.Hour} {
				for _, part := range []float64{0, 0.5, 1} {
					e := payu.Error{Reason: reason, RetryAfter: after}
					if got := e.BackOff(failures, part); got < max(after, payu.Floor) || got > payu.LongestBackOff {
						t.Errorf("%s, %d failures, retry_after %s: got %s", reason, failures, after, got)
					}
				}
			}
		}
	}
}

var permanence = map[payu.Reason]bool{
	payu.InvalidClient: true, payu.InvalidScope: true, payu.UnauthorizedClient: true, payu.InvalidRequest: true,
	payu.UnsupportedGrantType: true, payu.ScopeReduced: true,
	payu.RateLimited: false, payu.ServerError: false, payu.OAuthError: false, payu.Unreachable: false, payu.InvalidResponse: false,
}

// TestPermanent is the contract's column "Stalled".
func TestPermanent(t *testing.T) {
	for reason, want := range permanence {
		if got := (&payu.Error{Reason: reason}).Permanent(); got != want {
			t.Errorf("%s: permanent %t, want %t", reason, got, want)
		}
	}
}
