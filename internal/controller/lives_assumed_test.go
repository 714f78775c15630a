package controller

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// A user sets assumedLifetime: 90.5s (the CRD takes fractions). The Secret says whole seconds, so that the operator takes the
// target for outdated for ever: it writes it again and again, says "Undid a change by somebody else", and then TargetConflict.
func TestAnAssumedLifetimeWithAFractionIsWrittenOnce(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links", assuming(time.Hour+500*time.Millisecond))
	w.run()
	w.expectConditions("links", good)
	w.pass(11 * time.Minute)
	w.expectConditions("links", good)
	if got := w.events.take(); len(got) != 1 || got[0] != "Normal Refreshed" {
		t.Errorf("events %q, want one Refreshed", got)
	}
}

// An assumedLifetime as the regular expression of the CRD takes it, with a fraction, that is no whole number of seconds.
func TestFractionsThatTheAPIServerTakes(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"90.5s", "1.1111h", "0.0166667h"} {
		life, err := time.ParseDuration(value)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorldWithoutLives(t, payutest.Default)
		w.create("links", assuming(life))
		w.run()
		if got := w.conditions("links"); got != good {
			t.Errorf("assumedLifetime %s: %s", value, got)
		}
	}
}

// A user renames a scope or rotates credentials: what is left in the Secret is the old token, of the old source. (A rotation
// where PayU states nothing is LifetimeUnknown by the contract.) With the value of assumedLifetime removed and the template edited, the
// PayUToken that was Ready loses its token though PayU never ended it.
func TestARemovedAssumptionAndANewTemplateKeepTheToken(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links", assuming(24*time.Hour))
	w.run()
	w.edit("links", assuming(0))
	w.run()
	w.expectConditions("links", good)
	w.edit("links", templates(map[string]v1alpha1.DataTemplate{"token": "{{ .AccessToken }}"}))
	w.run()
	w.expectConditions("links", good)
}

// The user sets assumedLifetime to what PayU configured, as the message says. Where PayU reuses tokens, a dead one is Ready for hours, in
// each life.
func TestTheConfiguredLifeIsAGoodAssumption(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Reuse)
	w.payu.SetTokenTTL(24 * time.Hour)
	w.create("links", assuming(24*time.Hour))
	w.run()
	w.pass(25 * time.Hour)
	w.expectConditions("links", good)
	w.expectLive("links")
}

// PayU reuses tokens (the likely mode), lets them live for 4 h and does not say so. The user sets assumedLifetime: 4h, as the field's
// description says. The renewal after 2 h 40 min gives the same token, which the Secret then calls good for 4 h more: it is dead
// for 80 min before the operator asks again, with Ready True, in each life.
func TestAReusedTokenWithoutALifetimeIsNotKeptBeyondItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Reuse)
	w.payu.SetTokenTTL(4 * time.Hour)
	w.create("links", assuming(4*time.Hour))
	w.run()
	dead := time.Duration(0)
	for range 24 * 12 {
		w.pass(5 * time.Minute)
		if info, ok := w.payu.TokenInfo(w.value("links")); !ok || !info.LiveAt(w.clock.Now()) {
			dead += 5 * time.Minute
		}
	}
	if dead > 30*time.Minute {
		t.Errorf("of 24 h the Secret held a dead token for %v, with %s", dead, w.conditions("links"))
	}
}

// PayU reuses tokens of 4 h and states no life; assumedLifetime is 4h. The operator is restarted before the renewal: when the token was
// given first stands in its Secret.
func TestARestartForgetsNotWhenATokenWasGivenFirst(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Reuse)
	w.payu.SetTokenTTL(4 * time.Hour)
	w.create("links", assuming(4*time.Hour))
	w.run()
	w.pass(time.Hour)
	w.restart()
	w.run()
	if dead := w.deadWhileReady("links", 5*time.Hour); dead > 3*time.Minute {
		t.Errorf("the Secret held a dead token for %v, with Ready True", dead)
	}
}

// Where PayU reuses tokens and a life is assumed, the user reads "PayU issued a new token" each time, though it never did.
func TestTheSameTokenIsNoNewOne(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Reuse)
	w.payu.SetTokenTTL(24 * time.Hour)
	w.create("links", assuming(time.Hour))
	w.run()
	w.pass(42 * time.Minute)
	w.expectRequests(2)
	if got := w.message("links", v1alpha1.ConditionRefreshed); got == "PayU issued a new token" {
		t.Errorf("%s: %s", w.conditions("links"), got)
	}
}

// PayU begins to state lives, and the user asks for a refresh: PayU gives the same token and says that it lives for 3 s more. The user
// sees it Ready for hours.
func TestAStatedLifeTakesPrecedenceOverAnAssumedOne(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Reuse)
	w.payu.SetTokenTTL(time.Hour)
	w.create("links", assuming(24*time.Hour))
	w.run()
	w.payu.SetOmit("")
	w.pass(time.Hour - 3*time.Second)
	w.edit("links", refresh("now"))
	w.run()
	w.pass(10 * time.Minute)
	w.expectLive("links")
}

// PayU begins to state lives when the token has none left (expires_in 0 for the token that is known): it is Ready for hours.
func TestNoLifeLeftIsALifeStated(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Reuse)
	w.payu.SetTokenTTL(time.Hour)
	w.create("links", assuming(24*time.Hour))
	w.run()
	w.pass(time.Hour - 2*time.Second)
	w.payu.SetOmit("")
	w.payu.Inject(payutest.Fault{Times: 1, Set: map[string]json.RawMessage{"expires_in": json.RawMessage("0")}})
	w.edit("links", refresh("now"))
	w.run()
	if dead := w.deadWhileReady("links", 2*time.Hour); dead > 3*time.Minute {
		t.Errorf("the Secret held a dead token for %v: %s", dead, w.conditions("links"))
	}
}

// Two sharers assume 24 h; PayU begins to state lives: 3 s are left. "two" is looked at 10 s later (a busy queue): its Secret still says 24 h,
// and gives the source the dead token once more.
func TestASecretWithAnAssumptionBringsNoDeadTokenBack(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Reuse)
	w.payu.SetTokenTTL(time.Hour)
	w.create("one", assuming(24*time.Hour))
	w.create("two", assuming(24*time.Hour))
	w.run()
	w.payu.SetOmit("")
	w.pass(time.Hour - 3*time.Second)
	w.edit("one", refresh("now"))
	w.reconcile("one")
	w.settle()
	w.reconcile("one") // it writes what PayU stated
	w.clock.SetTime(w.clock.Now().Add(20 * time.Second))
	w.reconcile("two")
	w.drainQueue()
	w.pass(10 * time.Minute)
	for _, name := range []string{"one", "two"} {
		w.expectLive(name)
		w.expectConditions(name, good)
	}
}
