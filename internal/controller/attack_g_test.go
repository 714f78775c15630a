package controller

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

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

// The clock was a day ahead, and is set back; "day" is suspended. "none" is not asked for, though PayU states lives by now.
func TestASharersTokenFromTheFutureHoldsNobody(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("day", assuming(24*time.Hour))
	w.run()
	w.create("none")
	w.run()
	w.edit("day", withSuspend(true))
	w.run()
	w.payu.SetOmit("")
	w.clock.SetTime(w.clock.Now().Add(-24 * time.Hour))
	w.run()
	w.pass(2 * time.Hour)
	w.expectConditions("none", good)
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
