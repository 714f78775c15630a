package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

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

// What has nothing to do with the source, between the last attempt and the next: each would cost one more token that nobody ends, and the
// back-off would begin anew at 15 min.
func TestNothingElseEndsTheBackOff(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*world){
		"renewalPercent is edited": func(w *world) {
			for _, percent := range []int32{50, 60, 70, 80} {
				w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.RenewalPercent = percent })
				w.run()
				w.expectRequests(3)
				w.pass(4 * time.Minute)
			}
		},
		"suspended and resumed": func(w *world) {
			for _, on := range []bool{true, false} {
				w.edit("links", withSuspend(on))
				w.run()
			}
		},
		"the credentials Secret is annotated": func(w *world) {
			secret := w.secret("payu-credentials")
			metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "synced-at", "now")
			w.must(w.user.Update(w.ctx, secret))
		},
		"the target is another's for a moment": func(w *world) {
			w.apply(foreign(w, "links"))
			w.run()
			w.delete(named("links"))
		},
		"the credentials are unreadable for a moment": func(w *world) {
			reader := w.operator.credentials.others
			w.operator.credentials.others = failingReader{reader}
			_, _ = w.look("links")
			w.expectConditions("links", "Ready=False/CredentialsUnreadable Refreshed=False/CredentialsUnreadable")
			w.operator.credentials.others = reader
		},
		"the credentials are unreadable after a restart": func(w *world) {
			w.restart()
			w.faults.set(apierrors.NewInternalError(errUnanswered), nil)
			w.operator.Others = w.api
			_, _ = w.look("links")
			w.faults.set(nil, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := stalledForTheLifetime(t)
			disturb(w)
			w.run()
			w.expectRequests(3)
			w.expectConditions("links", lifetimeUnknown)
			w.pass(20 * time.Minute)
			w.expectRequests(3)
		})
	}
}

type failingReader struct{ client.Reader }

func (failingReader) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return apierrors.NewInternalError(errors.New("etcd"))
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

// The pause is 44 min more. A sharer with a long life is gone, for whose end the status waited, and the operator is restarted.
func TestARestartForgetsNoPause(t *testing.T) {
	t.Parallel()
	w := stalledForTheLifetime(t)
	before := w.requests()
	w.create("day", assuming(24*time.Hour))
	w.run()
	w.pass(time.Minute)
	w.delete(&v1alpha1.PayUToken{ObjectMeta: named("day").ObjectMeta})
	w.delete(named("day"))
	w.restart()
	w.run()
	w.pass(5 * time.Minute)
	w.expectRequests(before)
}
