package controller

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// createDayAndNone creates a PayUToken that assumes a life, and then a sharer that assumes none.
func (w *world) createDayAndNone() {
	w.Helper()
	w.create("day", assuming(24*time.Hour))
	w.run()
	w.create("none")
	w.run()
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
	w.pass(8 * time.Hour)
	w.expectRequests(1) // at 67 % of 24 h the next one
	if w.value("works") != token {
		info, _ := w.payu.TokenInfo(token)
		t.Errorf("the live token was revoked at %v, and PayU asked %d times in 8 h", info.RevokedAt, w.requests())
	}
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
	before := w.requests()
	w.pass(5 * time.Hour)
	if got := w.requests() - before; got > 6 {
		t.Errorf("%d requests in 5 h for one source, want 5 or 6", got)
	}
	before = w.requests()
	w.pass(4 * time.Hour)
	if got := w.requests() - before; got > 5 {
		t.Errorf("%d requests in 4 h for one source, want about one an hour", got)
	}
}

// Two namespaces, one client, no assumedLifetime in the second one, a restart each hour (a node pool that is rolled): how often is PayU asked?
func TestRestartsAskNothingForASharerWithoutALifetime(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.RevokePrevious)
	w.createDayAndNone()
	for range 4 {
		w.restart()
		w.run()
	}
	w.expectRequests(1)
	w.expectLive("day")
}

// "day" works, "none" lacks a lifetime, PayU revokes. The API server does not give the operator day's target for a moment: "none" has
// PayU asked, and the token that the pods of "day" have mounted is dead.
func TestAnUnreadTargetOfASharerIsNoLeaveToAsk(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.RevokePrevious)
	w.payu.SetTokenTTL(24 * time.Hour)
	w.createDayAndNone()
	w.pass(2 * time.Hour)
	w.expectRequests(1)
	before := w.operator.Client
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if _, ok := o.(*corev1.Secret); ok && key.Name == "day" {
				return apierrors.NewInternalError(errUnanswered)
			}
			return c.Get(ctx, key, o, options...)
		},
	})
	_, _ = w.look("day")
	w.reconcile("none")
	w.settle()
	w.operator.Client = before
	w.expectRequests(1)
	w.expectLive("day")
}

// The user of "day" breaks its template (TemplateInvalid: "the live token stays as it is"), or an admission policy refuses its new
// template. "none", which lacks a lifetime, then has PayU asked, which revokes the token that the pods of "day" use.
func TestATemplateThatCannotBeWrittenLeavesTheTokenAlive(t *testing.T) {
	t.Parallel()
	for name, template := range map[string]string{"invalid": "no token", "refused": "T={{ .AccessToken }}"} {
		t.Run(name, func(t *testing.T) {
			w := newWorldWithoutLives(t, payutest.RevokePrevious)
			w.payu.SetTokenTTL(24 * time.Hour)
			w.createDayAndNone()
			onWrite(w, func(secret *corev1.Secret, _ bool) error {
				if _, ok := secret.Data["token"]; ok {
					return forbid(secret.Name, "no key token")
				}
				return nil
			})
			w.edit("day", templates(map[string]v1alpha1.DataTemplate{"token": v1alpha1.DataTemplate(template)}))
			w.run()
			w.pass(3 * time.Hour)
			w.expectRequests(1)
			w.expectLive("day")
		})
	}
}

// The clock was a day ahead, and is set back; "day" is suspended. "none" is not asked for, though PayU states lives by now.
func TestASharersTokenFromTheFutureHoldsNobody(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.createDayAndNone()
	w.edit("day", withSuspend(true))
	w.run()
	w.payu.SetOmit("")
	w.clock.SetTime(w.clock.Now().Add(-24 * time.Hour))
	w.run()
	w.pass(2 * time.Hour)
	w.expectConditions("none", good)
}

// A wish in LifetimeUnknown beside one that works: served once, echoed, and no more.
func TestAWishWithoutALifetimeIsServedOnce(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.RevokePrevious)
	w.create("day", assuming(24*time.Hour))
	w.create("none")
	w.run()
	w.pass(time.Minute)
	w.edit("none", refresh("now"))
	w.run()
	w.expectRequests(2)
	w.expectLive("day")
	w.restart()
	w.run()
	w.pass(2 * time.Hour)
	w.expectRequests(2)
	if got := w.token("none").Status.LastHandledRefreshAt; got != "now" {
		t.Errorf("echo %q", got)
	}
}

func TestStatusIsWrittenSeldom(t *testing.T) {
	t.Parallel()
	for _, mode := range []payutest.Mode{payutest.Default, payutest.RevokePrevious, payutest.Reuse} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorldWithoutLives(t, mode)
			w.payu.SetTokenTTL(24 * time.Hour)
			w.create("day", assuming(24*time.Hour))
			w.create("hours", assuming(3*time.Hour))
			w.create("none")
			w.create("nothing")
			w.run()
			w.run()
			writes := map[string]int{}
			w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
				SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
					writes[o.GetName()]++
					return c.SubResource(sub).Patch(ctx, o, patch, options...)
				},
			})
			before := w.requests()
			w.pass(24 * time.Hour)
			for name, n := range writes {
				if n > 3*(w.requests()-before+1) {
					t.Errorf("the status of %s was written %d times with %d requests", name, n, w.requests()-before)
				}
			}
			t.Logf("%v, %d requests", writes, w.requests()-before)
		})
	}
}
