package controller

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// dead lets d go by, and returns for how long of it the Secret held a dead token while Ready was True.
func (w *world) deadWhileReady(name string, d time.Duration) (dead time.Duration) {
	w.Helper()
	const step = time.Minute
	for range d / step {
		w.pass(step)
		info, ok := w.payu.TokenInfo(w.value(name))
		if (!ok || !info.LiveAt(w.clock.Now())) && w.conditions(name)[:10] == "Ready=True" {
			dead += step
		}
	}
	return dead
}

// PayU stated the life (2 h), reuses tokens, and leaves expires_in out since. At the token's end it gives the same one once more
// (its clock is 1 s behind): the Secret then says for 5 h that a dead token is good, and Ready is True.
func TestADyingTokenGetsNoSecondLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 2*time.Hour + time.Second})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Times: 1, Set: map[string]json.RawMessage{"expires_in": json.RawMessage("7200")}})
	w.create("links", assuming(5*time.Hour))
	w.run()
	w.expectLife("links", 2*time.Hour)
	w.payu.SetOmit("expires_in")
	w.pass(2*time.Hour + 10*time.Minute)
	w.expectLive("links")
}

// PayU stated the life of the token. In the second of its end a server that reuses tokens gives it once more, this time without
// expires_in: the user sees a dead token that is Ready for another two hours.
func TestAStatedLifeEndsAtItsEnd(t *testing.T) {
	t.Parallel()
	for name, assumed := range map[string]time.Duration{"none assumed": 0, "one assumed": 2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 2 * time.Hour})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.create("links", assuming(assumed))
			w.run()
			w.payu.SetOmit("expires_in")
			w.pass(2*time.Hour + 10*time.Minute)
			w.expectConditions("links", good)
			w.expectLive("links")
		})
	}
}

// The operator's clock was set forward (here: PayU states 1 h of 24, and no life from then on). The token is taken for dead, and PayU,
// which gives it again, is asked each 5 s until it ends; Ready is False, with a live token in hand and assumedLifetime set.
func TestATokenThatOutlivesItsStatedLifeIsNotAskedForInALoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 24 * time.Hour})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Times: 1, Set: map[string]json.RawMessage{"expires_in": json.RawMessage("3600")}})
	w.create("links", assuming(2*time.Hour))
	w.run()
	w.payu.SetOmit("expires_in")
	w.pass(time.Hour + time.Minute)
	before := w.requests()
	w.pass(20 * time.Minute)
	if got := w.requests() - before; got > 20 {
		t.Errorf("%d requests in 20 min, and %s", got, w.conditions("links"))
	}
}

// The node's clock was a day ahead when the token (2 h, stated) was requested, and is set right. PayU reuses tokens, and leaves
// expires_in out since: the Secret then says that the token lives for 26 h, and it is not renewed for 17.
func TestAClockThatIsSetBackStretchesNoLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 2 * time.Hour})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.clock.SetTime(start.Add(24 * time.Hour))
	w.create("links")
	w.run()
	w.expectLife("links", 2*time.Hour)
	w.payu.SetOmit("expires_in")
	w.clock.SetTime(start.Add(time.Minute))
	w.run()
	if expires := w.token("links").Status.ExpiresAt; expires != nil && expires.Sub(w.clock.Now()) > 3*time.Hour {
		t.Errorf("it is %v, and the status says at once that the token lives until %v", w.clock.Now(), expires)
	}
	w.pass(time.Minute)
	if expires := w.token("links").Status.ExpiresAt; expires == nil || expires.Sub(w.clock.Now()) > 2*time.Hour {
		t.Errorf("it is %v, and the status says that the token lives until %v (%s)", w.clock.Now(), expires, w.conditions("links"))
	}
}
