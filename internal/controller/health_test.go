package controller

import (
	"testing"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// TestHealthyWhilePassesEnd has a liveness probe ask every now and then, by a clock that does not step.
func TestHealthyWhilePassesEnd(t *testing.T) {
	t.Parallel()
	r := &Reconciler{progress: newProgress()}
	var now time.Duration
	r.progress.monotonic = func() time.Duration { return now }
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	r.queue.Store(&q)
	expect := func(when string, healthy bool) {
		t.Helper()
		if err := r.Healthy(nil); (err == nil) != healthy {
			t.Errorf("%s: %v", when, err)
		}
	}
	now += time.Hour
	expect("nothing is due", true)
	end := r.progress.begin()
	now += stuckAfter
	expect("a pass takes five minutes", true)
	now++
	expect("a pass takes more than five minutes", false)
	second := r.progress.begin()
	second()
	expect("another one has ended", true)
	end()
	now += time.Hour
	expect("nothing has been due for long", true)
	r.progress.begin()
	now += time.Minute
	expect("a pass began after a long sleep", true)

	r.progress = &progress{monotonic: func() time.Duration { return now }}
	expect("nothing runs", true)
	q.Add(requestFor(&world{namespace: "shop"}, "links"))
	now += stuckAfter + 1
	expect("one waits, and no worker takes it", false)
}
