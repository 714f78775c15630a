package controller

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// messageOf returns the message of Refreshed.
func (w *world) messageOf(name string) string {
	w.Helper()
	if c := meta.FindStatusCondition(w.token(name).Status.Conditions, v1alpha1.ConditionRefreshed); c != nil {
		return c.Message
	}
	return ""
}

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

// The user rotates the client secret. The token that replaces the live one has no life, and Ready turns False.
func TestARotationKeepsAFormerLife(t *testing.T) {
	t.Parallel()
	w := withFormerLife(t, payutest.Default)
	w.payu.PutClient(payutest.Client{ID: "merchant", Secret: "rotated"})
	w.credentials("payu-credentials", "merchant", "rotated")
	w.run()
	w.expectConditions("links", good)
}

// One PayUToken without assumedLifetime, beside one of the same source that works. Where PayU revokes the previous token, each of its
// attempts kills the live token that the pods of the other one have mounted, though no answer can help it.
func TestOneWithoutALifetimeKillsNoTokenOfItsSharers(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.RevokePrevious)
	w.payu.SetTokenTTL(24 * time.Hour)
	w.create("works", assuming(24*time.Hour))
	w.run()
	token := w.value("works")
	w.create("forgot")
	w.run()
	w.pass(5 * time.Hour)
	if w.value("works") != token {
		info, _ := w.payu.TokenInfo(token)
		t.Errorf("the live token was revoked at %v, and PayU asked %d times in 5 h", info.RevokedAt, w.requests())
	}
}

// assumedLifetime: 1.0001h (or 1h0.5s) is admitted. The user sees the Secret rewritten in a loop, a TargetConflict that blames "another
// controller or user", and an event Repaired for an edit that nobody made.
func TestAnAssumedLifetimeWithAFractionOfASecondIsNoFight(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links", assuming(time.Hour+500*time.Millisecond))
	w.run()
	w.pass(11 * time.Minute)
	w.expectConditions("links", good)
	if got := w.events.take(); len(got) != 1 {
		t.Errorf("events %q, want one Refreshed", got)
	}
}

// After a restart, the user of "two" reads the message of "one": the Secret to correct, and the command to run, are somebody else's.
func TestAfterARestartEachReadsItsOwnMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("credentials-one", "merchant", "wrong")
	w.credentials("credentials-two", "merchant", "wrong")
	w.create("one", readsFrom("credentials-one"))
	w.create("two", readsFrom("credentials-two"))
	w.run()
	w.restart()
	w.run()
	for _, name := range []string{"one", "two"} {
		if got := w.messageOf(name); !strings.Contains(got, "credentials-"+name) || !strings.Contains(got, "payutoken "+name+" -n") {
			t.Errorf("the message of %s: %s", name, got)
		}
	}
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

// Six PayUTokens of one source without assumedLifetime, made at different times, each ask on their own: the user sees PayU asked (and left
// with a token that nobody ends) three times an hour and more, not once.
func TestSharersWithoutALifetimeAskTogether(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	for _, name := range strings.Fields("a b c d e f") {
		w.create(name)
		w.reconcile(name)
		w.drainQueue()
		w.pass(7 * time.Minute)
	}
	w.pass(4 * time.Hour)
	before := w.requests()
	w.pass(4 * time.Hour)
	if got := w.requests() - before; got > 5 {
		t.Errorf("%d requests in 4 h for one source, want about one an hour", got)
	}
}

// What has nothing to do with the source, 30 min after the last attempt and 30 min before the next: each costs one more token that nobody
// ends, and the back-off begins anew at 15 min.
func TestNothingElseEndsTheBackOff(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*world){
		"renewalPercent is edited": func(w *world) { w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.RenewalPercent = 50 }) },
		"suspended and resumed": func(w *world) {
			w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Suspend = true })
			w.run()
			w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Suspend = false })
		},
		"the credentials Secret is annotated": func(w *world) {
			secret := w.secret("payu-credentials")
			metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "synced-at", "now")
			w.must(w.user.Update(w.ctx, secret))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldWithoutLives(t, payutest.Default)
			w.create("links")
			w.run()
			w.pass(76 * time.Minute) // 0, 15, 45 min: the next is at 105
			w.expectRequests(3)
			disturb(w)
			w.run()
			w.pass(20 * time.Minute)
			w.expectRequests(3)
		})
	}
}

// A tool annotates the credentials Secret each 16 minutes: PayU is asked each time, for ever.
func TestAToolThatAnnotatesTheCredentialsCostsNoTokens(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links")
	w.run()
	for n := range 20 {
		w.pass(16 * time.Minute)
		secret := w.secret("payu-credentials")
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "synced-at", strings.Repeat("x", n+1))
		w.must(w.user.Update(w.ctx, secret))
		w.run()
	}
	if got := w.requests(); got > 8 { // 0, 15, 45, 105, 165, 225, 285 min
		t.Errorf("%d requests within 320 min, want 7", got)
	}
}

// One 503 makes the back-off of LifetimeUnknown begin anew at 15 min.
func TestAFailureOfAnotherKindKeepsTheBackOff(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links")
	w.run()
	w.pass(46 * time.Minute) // 0, 15, 45 min: the next is at 105
	w.expectRequests(3)
	w.payu.Inject(payutest.Fault{Status: 503, Times: 1})
	w.pass(60 * time.Minute) // a 503, and a token 5 s later
	w.expectRequests(5)
	w.pass(40 * time.Minute)
	w.expectRequests(5)
}

// The node's clock was a day ahead. The user sees LifetimeUnknown, and PayU (which has begun to state lives) is not asked again for a day.
func TestAClockThatWasSetBackDelaysNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links")
	w.run()
	w.payu.SetOmit("")
	w.clock.SetTime(w.clock.Now().Add(-24 * time.Hour))
	w.run()
	w.pass(time.Hour)
	w.expectConditions("links", good)
	w.expectRequests(2)
}

// The operator's clock was a day ahead, and was set back, after which PayU gives the same token without a life: the user sees one that
// is Ready for a day longer than PayU stated. (In this world PayU's clock steps, too: only what the operator says is looked at.)
func TestAClockThatWasSetBackMakesNoLifeLonger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 2 * time.Hour})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.payu.SetOmit("expires_in")
	w.clock.SetTime(w.clock.Now().Add(-24 * time.Hour))
	w.run()
	if got := w.token("links").Status.ExpiresAt; got != nil && got.Sub(w.clock.Now()) > 3*time.Hour {
		t.Errorf("the token lives until %v, at %v", got, w.clock.Now())
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

// PayU answers invalid_scope with a Retry-After for one PayUToken. The user of another one of the client, for whose scopes PayU was never
// asked, reads that PayU refused these, and that a person must act.
func TestAWaitOfTheClientBlamesNoOtherScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Error: "invalid_scope", Header: map[string]string{"Retry-After": "120"}})
	w.create("bad", scopes("refer_child_merchant"))
	w.run()
	w.payu.ClearFaults()
	w.create("links", scopes("create_payment_links"))
	w.run()
	w.pass(10 * time.Second)
	w.expectRequests(1)
	if got := w.messageOf("links"); strings.Contains(got, "invalid_scope for create_payment_links") {
		t.Errorf("%s: %s", w.conditions("links"), got)
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
	if got := w.messageOf("links"); got == "PayU issued a new token" {
		t.Errorf("%s: %s", w.conditions("links"), got)
	}
}

// The user adds a scope to a token that took the former's life. What replaces the live token is LifetimeUnknown.
func TestAnotherScopeKeepsAFormerLife(t *testing.T) {
	t.Parallel()
	w := withFormerLife(t, payutest.Default)
	w.edit("links", scopes("create_payment_links", "read_payment_links", "update_payment_links"))
	w.run()
	w.expectConditions("links", good)
}
