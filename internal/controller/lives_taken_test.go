package controller

import (
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// withFormerLife returns a world in which PayU states lives no more, and "links" holds a token that took the life of the one before.
func withFormerLife(t *testing.T, mode payutest.Mode) *world {
	t.Helper()
	w := newWorld(t, payutest.Config{Mode: mode, TokenTTL: 2 * time.Hour})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.payu.SetOmit("expires_in")
	w.pass(90 * time.Minute)
	w.expectConditions("links", good)
	w.expectRequests(2)
	return w
}

// The user adds a key to the template. The live token is LifetimeUnknown from then on: Ready is False, the new key does not come, and PayU
// is asked for tokens that nobody ends or, where it revokes, that end the one which pods use: what they have mounted is dead.
func TestAnEditOfTheTemplateKeepsAFormerLife(t *testing.T) {
	t.Parallel()
	for _, mode := range []payutest.Mode{payutest.Default, payutest.RevokePrevious} {
		t.Run(string(mode), func(t *testing.T) {
			w := withFormerLife(t, mode)
			w.edit("links", templates(map[string]v1alpha1.DataTemplate{"access_token": "{{ .AccessToken }}", "new": "{{ .Scope }}"}))
			w.run()
			w.expectConditions("links", good)
			if w.secret("links").Data["new"] == nil {
				t.Error("the new key is not there")
			}
			w.pass(20 * time.Minute)
			w.expectRequests(2)
			w.expectLive("links")
		})
	}
}

// Somebody deletes the target Secret. The operator has the live token in memory, and the user reads LifetimeUnknown: pods have no token.
func TestADeletedSecretIsRepairedAlsoWithAFormerLife(t *testing.T) {
	t.Parallel()
	w := withFormerLife(t, payutest.Default)
	w.delete(named("links"))
	w.run()
	w.expectConditions("links", good)
	w.expectLive("links")
	w.expectRequests(2)
}

// The same, and somebody edits the data of the Secret by hand: it is never undone, and the pods have the wrong token.
func TestAnEditIsUndoneWhereATokenTookTheFormersLife(t *testing.T) {
	t.Parallel()
	w := withFormerLife(t, payutest.Default)
	secret := w.secret("links")
	secret.Data[v1alpha1.KeyAccessToken] = []byte("broken")
	w.must(w.user.Update(w.ctx, secret))
	w.run()
	w.expectConditions("links", good)
	w.expectLive("links")
}

// The user rotates the client secret. The token that replaces the live one has no life, and Ready turns False.
func TestARotationKeepsAFormerLife(t *testing.T) {
	t.Parallel()
	w := withFormerLife(t, payutest.Default)
	w.payu.PutClient(payutest.Client{ID: "merchant", Secret: "rotated"})
	w.credentials("payu-credentials", "merchant", "rotated")
	w.run()
	w.expectConditions("links", good)
}

// The user adds a scope to a token that took the former's life. What replaces the live token is LifetimeUnknown.
func TestAnotherScopeKeepsAFormerLife(t *testing.T) {
	t.Parallel()
	w := withFormerLife(t, payutest.Default)
	w.edit("links", scopes("create_payment_links", "read_payment_links", "update_payment_links"))
	w.run()
	w.expectConditions("links", good)
	w.expectLife("links", 2*time.Hour)
}

// A new PayUToken without an assumedLifetime joins one that works (PayU stated 2 h once, and nothing since): it is LifetimeUnknown,
// although its source has a live token whose life is known, and what it asks revokes the other one's.
func TestANewSharerTakesTheLifeThatTheSourceHas(t *testing.T) {
	t.Parallel()
	w := withFormerLife(t, payutest.Default)
	w.create("second")
	w.run()
	w.expectConditions("second", good)
	w.expectRequests(2)
}

// PayU stated 2 h once, and leaves expires_in out since; it reuses tokens. The second token took the life of the first one. At its end
// PayU gives it once more (the second is not over yet): it gets two hours more, dead, with Ready True. So in each life from then on.
func TestReuseAfterATakenLifeGetsNoSecondLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 2 * time.Hour})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.payu.SetOmit("expires_in")
	if dead := w.deadWhileReady("links", 9*time.Hour); dead > 3*time.Minute {
		t.Errorf("of 9 h the Secret held a dead token for %v, with Ready True; %d requests", dead, w.requests())
	}
}
