package controller

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

func (w *world) message(name, kind string) string {
	w.Helper()
	if c := meta.FindStatusCondition(w.token(name).Status.Conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

// A user sets assumedLifetime: 90.5s (the CRD takes fractions). The Secret says whole seconds, so that the operator takes the
// target for outdated for ever: it writes it again and again, says "Undid a change by somebody else", and then TargetConflict.
func TestAnAssumedLifetimeWithAFractionIsWrittenOnce(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links", assuming(time.Hour+500*time.Millisecond))
	w.run()
	w.expectConditions("links", good)
	w.pass(10 * time.Minute)
	w.expectConditions("links", good)
	if got := w.events.take(); len(got) != 1 || got[0] != "Normal Refreshed" {
		t.Errorf("events %q, want one Refreshed", got)
	}
}

// PayU stated 2 h, and leaves expires_in out since. The token was renewed and is good. Somebody deletes the target Secret: it is
// never written again, although the token is in the operator's memory (LifetimeUnknown is for first tokens only).
func TestADeletedTargetIsWrittenAgainWithTheLifeThatTheTokenTook(t *testing.T) {
	t.Parallel()
	w := renewedWithoutALife(t)
	w.delete(named("links"))
	w.run()
	w.expectConditions("links", good)
	if w.secret("links") == nil {
		t.Error("the deleted Secret is not written again")
	}
}

// The same, and the user edits the template: Ready turns False, and the Secret keeps the keys of the former template.
func TestATemplateCanBeChangedWhereATokenTookTheFormersLife(t *testing.T) {
	t.Parallel()
	w := renewedWithoutALife(t)
	w.edit("links", templates(map[string]v1alpha1.DataTemplate{"token": "{{ .AccessToken }}"}))
	w.run()
	w.expectConditions("links", good)
	if w.secret("links").Data["token"] == nil {
		t.Error("the new key is not there")
	}
}

// The same, and somebody edits the data of the Secret by hand: it is never undone, and the pods have the wrong token.
func TestAnEditIsUndoneWhereATokenTookTheFormersLife(t *testing.T) {
	t.Parallel()
	w := renewedWithoutALife(t)
	secret := w.secret("links")
	secret.Data[v1alpha1.KeyAccessToken] = []byte("broken")
	w.must(w.user.Update(w.ctx, secret))
	w.run()
	w.expectConditions("links", good)
	w.expectLive("links")
}

func renewedWithoutALife(t *testing.T) *world {
	w := newWorld(t, payutest.Config{TokenTTL: 2 * time.Hour})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.payu.SetOmit("expires_in")
	w.pass(90 * time.Minute)
	w.expectRequests(2)
	w.expectConditions("links", good)
	return w
}

// PayU revokes the previous token and states no life. "hour" assumes one, and works. A colleague adds "none", without an
// assumedLifetime, for the same client and scopes: each attempt for it revokes the token that the pods of "hour" use.
func TestAPayUTokenWithoutALifetimeEndsNoTokenOfItsSharers(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.RevokePrevious)
	w.create("day", assuming(24*time.Hour))
	w.run()
	w.create("none")
	w.run()
	w.pass(8 * time.Hour)
	w.expectRequests(1) // at 67 % of 24 h the next one
}

// PayU states no life: LifetimeUnknown, asked once an hour. The user edits something that has nothing to do with the token's source
// (renewalPercent, a label of the Secret): PayU is asked at once, and then every 15 min again. Each answer is a token that nobody ends.
func TestAnEditOfTheShapeAsksNothingWhereTheLifetimeIsUnknown(t *testing.T) {
	t.Parallel()
	w := stalledForTheLifetime(t)
	before := w.requests()
	for _, percent := range []int32{50, 60, 70, 80} {
		w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.RenewalPercent = percent })
		w.run()
		w.expectRequests(before)
		w.pass(16 * time.Minute / 4)
	}
}

// Likewise: somebody annotates the credentials Secret (External Secrets does at each refresh): PayU is asked at once.
func TestMetadataOfTheCredentialsAskNothingWhereTheLifetimeIsUnknown(t *testing.T) {
	t.Parallel()
	w := stalledForTheLifetime(t)
	before := w.requests()
	secret := w.secret("payu-credentials")
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "example.com/synced-at", "now")
	w.must(w.user.Update(w.ctx, secret))
	w.run()
	w.expectRequests(before)
}

// Likewise: the API server fails once when the credentials are read after a restart. PayU is asked at once when it works again.
func TestAnUnreadableSecretForgetsNoBackOffWhereTheLifetimeIsUnknown(t *testing.T) {
	t.Parallel()
	w := stalledForTheLifetime(t)
	before := w.requests()
	w.restart()
	w.faults.set(apierrors.NewInternalError(errUnanswered), nil)
	w.operator.Others = w.api
	_, _ = w.look("links")
	w.faults.set(nil, nil)
	w.run()
	w.expectRequests(before)
}

// stalledForTheLifetime returns a world in which PayU was asked in vain three times, 16 min ago, and is asked again in 44.
func stalledForTheLifetime(t *testing.T) *world {
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links")
	w.run()
	w.pass(46 * time.Minute)
	w.expectRequests(3)
	w.pass(16 * time.Minute)
	w.expectRequests(3)
	w.expectConditions("links", lifetimeUnknown)
	return w
}

// The clock of the node was a day ahead, and is set right: PayU is asked again after a day, not after an hour at most.
func TestAClockThatIsSetBackDelaysNoAttemptWhereTheLifetimeIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links")
	w.run()
	w.clock.SetTime(w.clock.Now().Add(-24 * time.Hour))
	w.payu.SetOmit("")
	w.run()
	w.pass(2 * time.Hour)
	w.expectConditions("links", good)
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

// Two PayUTokens share a client, whose secret is wrong. After a restart of the operator one of them shows the message of the
// other: the wrong name of the Secret (of any namespace), the wrong keys, and a command for the wrong PayUToken.
func TestAfterARestartEachPayUTokenSpeaksOfItsOwnSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("first-credentials", "merchant", "wrong")
	w.credentials("second-credentials", "merchant", "wrong")
	w.create("first", readsFrom("first-credentials"))
	w.create("second", readsFrom("second-credentials"))
	w.run()
	w.restart()
	w.run()
	for _, name := range []string{"first", "second"} {
		if m := w.message(name, v1alpha1.ConditionStalled); !strings.Contains(m, name+"-credentials") || !strings.Contains(m, "payutoken "+name) {
			t.Errorf("PayUToken %s says: %s", name, m)
		}
	}
}

// In LifetimeUnknown a wish (or a sharer's renewal) just before the next attempt is not followed by a pause of 15 min.
func TestAWishBeginsThePauseAnewWhereTheLifetimeIsUnknown(t *testing.T) {
	t.Parallel()
	w := stalledForTheLifetime(t)
	w.pass(42 * time.Minute)
	before := w.requests()
	w.edit("links", refresh("now"))
	w.run()
	w.expectRequests(before + 1)
	w.pass(14 * time.Minute)
	w.expectRequests(before + 1)
}

// Several PayUTokens without assumedLifetime share a client, and were created at different times: all of their pauses run side by
// side, and PayU is asked far more often than "every 15 min, doubling to 1 h".
func TestSharersWithoutALifetimeHaveOnePause(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		w.create(name)
		w.run()
		w.pass(10 * time.Minute)
	}
	before := w.requests()
	w.pass(5 * time.Hour)
	if got := w.requests() - before; got > 6 {
		t.Errorf("%d requests in 5 h, want 5 or 6", got)
	}
}

// PayU answers without a lifetime, and is down at the next attempt. When it is back, the pauses of LifetimeUnknown begin at 15 min
// again instead of an hour.
func TestAFailureInBetweenForgetsNoPauseWhereTheLifetimeIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links")
	w.run()
	w.pass(110 * time.Minute) // asked at 0, 15, 45 and 105 min
	w.expectRequests(4)
	w.payu.Inject(payutest.Fault{Times: 1, Status: 502})
	w.pass(time.Hour) // the fault, and 5 s later the answer
	w.expectRequests(6)
	w.pass(50 * time.Minute)
	w.expectRequests(6)
}

// A new PayUToken without an assumedLifetime joins one that works (PayU stated 2 h once, and nothing since): it is LifetimeUnknown,
// although its source has a live token whose life is known, and what it asks revokes the other one's.
func TestANewSharerTakesTheLifeThatTheSourceHas(t *testing.T) {
	t.Parallel()
	w := renewedWithoutALife(t)
	w.create("second")
	w.run()
	w.expectConditions("second", good)
	w.expectRequests(2)
}

// The API server fails for a second when the credentials are read (no restart): what shows hides the pause, and PayU is asked at once.
func TestAMomentOfUnreadableCredentialsAsksNothingWhereTheLifetimeIsUnknown(t *testing.T) {
	t.Parallel()
	w := stalledForTheLifetime(t)
	before := w.requests()
	reader := w.operator.credentials.others
	w.operator.credentials.others = failingReader{reader}
	_, _ = w.look("links")
	w.expectConditions("links", "Ready=False/CredentialsUnreadable Refreshed=False/CredentialsUnreadable")
	w.operator.credentials.others = reader
	w.run()
	w.expectRequests(before)
	w.expectConditions("links", lifetimeUnknown)
}

type failingReader struct{ client.Reader }

func (failingReader) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return apierrors.NewInternalError(errors.New("etcd"))
}

// The target is taken by somebody else for a moment (or the template is broken for a moment): the pause is forgotten.
func TestAConflictForAMomentAsksNothingWhereTheLifetimeIsUnknown(t *testing.T) {
	t.Parallel()
	w := stalledForTheLifetime(t)
	before := w.requests()
	w.apply(foreign(w, "links"))
	w.run()
	w.delete(named("links"))
	w.run()
	w.expectRequests(before)
}

// A user suspends and resumes: PayU is asked at once.
func TestSuspendAndResumeAskNothingWhereTheLifetimeIsUnknown(t *testing.T) {
	t.Parallel()
	w := stalledForTheLifetime(t)
	before := w.requests()
	for _, on := range []bool{true, false} {
		w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Suspend = on })
		w.run()
	}
	w.expectRequests(before)
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

// The end of a reused token, without any fault: PayU stated 2 h once, and leaves expires_in out since.
func TestADyingTokenGetsNoSecondLifeWithoutAFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 2 * time.Hour})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.payu.SetOmit("expires_in")
	w.pass(2*time.Hour + 10*time.Minute)
	w.expectLive("links")
}

// Two namespaces, one client, no assumedLifetime in the second one, a restart each hour (a node pool that is rolled): how often is PayU asked?
func TestRestartsAskNothingForASharerWithoutALifetime(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.RevokePrevious)
	w.create("day", assuming(24*time.Hour))
	w.run()
	w.create("none")
	w.run()
	for range 4 {
		w.restart()
		w.run()
	}
	w.expectRequests(1)
	w.expectLive("day")
}

// After a restart the rate limit, and who is to wait, is as before; and the message of another reason than the sharer's own. Here: the
// oddities of one PayUToken's credentials are told of the other's, whose values are in order but for PayU.
func TestAfterARestartOdditiesAreOfTheOwnCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	for name, keys := range map[string][2]string{"first-credentials": {"client_id", "client_secret"}, "second-credentials": {"id", "secret"}} {
		w.apply(&corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
			Data: map[string][]byte{keys[0]: []byte(issuedID), keys[1]: []byte(`"` + issuedSecret + `"`)}})
	}
	w.create("first", readsFrom("first-credentials"))
	w.create("second", readsFrom("second-credentials"), func(p *v1alpha1.PayUToken) {
		p.Spec.CredentialsSecretRef.ClientIDKey, p.Spec.CredentialsSecretRef.ClientSecretKey = "id", "secret"
	})
	w.run()
	before := map[string]string{"first": w.message("first", "Stalled"), "second": w.message("second", "Stalled")}
	w.restart()
	w.run()
	for name, want := range before {
		if got := w.message(name, "Stalled"); got != want {
			t.Errorf("PayUToken %s says after a restart:\n%s\nand said before:\n%s", name, got, want)
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

// docs/payutoken.md: "Only a first token needs it: without it, a later one takes the lifetime of the token that it replaces". PayU states
// nothing any more; renewals work. The user rotates the client secret (or adds a scope): LifetimeUnknown, and pods lose their token.
func TestALaterTokenOfNewCredentialsTakesTheLifeOfTheOneThatItReplaces(t *testing.T) {
	t.Parallel()
	w := renewedWithoutALife(t)
	w.edit("links", scopes("create_payment_links", "read_payment_links", "update_payment_links"))
	w.run()
	w.expectConditions("links", good)
	w.expectLife("links", 2*time.Hour)
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
	w.pass(time.Minute)
	if expires := w.token("links").Status.ExpiresAt; expires == nil || expires.Sub(w.clock.Now()) > 2*time.Hour {
		t.Errorf("it is %v, and the status says that the token lives until %v (%s)", w.clock.Now(), expires, w.conditions("links"))
	}
}

// The same over namespaces: after a restart a team reads the name of another team's namespace, Secret, keys and PayUToken, what looks odd
// about its values, and a command that it must not run.
func TestAfterARestartNoMessageNamesAnotherNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", "wrong")
	w.create("links")
	other := w.elsewhere("links")
	both := func() {
		w.run()
		for range 3 {
			_, err := w.operator.Reconcile(w.ctx, inNamespace(other, "links"))
			w.must(err)
			w.settle()
		}
		w.drainQueue()
	}
	both()
	w.restart()
	both()
	token := &v1alpha1.PayUToken{}
	w.must(w.user.Get(w.ctx, client.ObjectKey{Namespace: other, Name: "links"}, token))
	c := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionStalled)
	if c == nil || strings.Contains(c.Message, w.namespace) {
		t.Errorf("PayUToken links in namespace %s says: %v", other, c)
	}
}
