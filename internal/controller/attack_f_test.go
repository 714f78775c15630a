package controller

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
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

// "day" works, "none" lacks a lifetime, PayU revokes. The API server does not give the operator day's target for a moment: "none" has
// PayU asked, and the token that the pods of "day" have mounted is dead.
func TestAnUnreadTargetOfASharerIsNoLeaveToAsk(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.RevokePrevious)
	w.payu.SetTokenTTL(24 * time.Hour)
	w.create("day", assuming(24*time.Hour))
	w.run()
	w.create("none")
	w.run()
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
			w.create("day", assuming(24*time.Hour))
			w.run()
			w.create("none")
			w.run()
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
