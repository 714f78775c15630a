package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// ---- lanes

func inNamespace(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// TestASlowNamespaceDoesNotStarveAnother whose API requests timed out once: they share the half, and take turns.
func TestASlowNamespaceDoesNotStarveAnother(t *testing.T) {
	t.Parallel()
	l := newLanes(8)
	if !l.enter(inNamespace("blip", "links")) {
		t.Fatal("there is no place")
	}
	l.leave(inNamespace("blip", "links"), hung) // once
	var running []reconcile.Request
	for i := range 12 {
		if r := inNamespace("hangs", fmt.Sprint("t", i)); l.enter(r) {
			running = append(running, r)
		}
	}
	l.leave(running[0], hung)
	l.enter(running[0])
	if l.enter(inNamespace("blip", "links")) {
		t.Fatal("the slow namespaces have more than half of the workers")
	}
	for turn := range 20 {
		first := running[0]
		running = running[1:]
		for _, next := range l.leave(first, hung) {
			if next.Namespace == "blip" {
				return
			}
			if l.enter(next) {
				running = append(running, next)
			}
		}
		l.enter(first) // it is repeated, and parked
		if len(running) == 0 {
			t.Fatalf("nothing runs any more after %d passes", turn)
		}
	}
	t.Errorf("20 passes of the namespace that hangs have ended, and the other one has had no turn")
}

func TestAPayUTokenIsParkedOnce(t *testing.T) {
	t.Parallel()
	l := newLanes(2)
	running, waits := inNamespace("shop", "a"), inNamespace("shop", "b")
	l.enter(running)
	for range 5 {
		l.enter(waits)
	}
	passes := 0
	for next := l.leave(running, brisk); len(next) > 0; next = l.leave(next[0], brisk) {
		l.enter(next[0])
		passes++
	}
	if passes != 1 {
		t.Errorf("%d passes are made over a PayUToken that was parked, want 1", passes)
	}
}

// ---- the end of the operator

// stop has the operator hand on the last tokens, and returns how long that took and how often it looked at a Secret.
func (w *world) stop() (took time.Duration, reads int) {
	w.Helper()
	var n atomic.Int32
	onRead(w, func(string) error { n.Add(1); return nil })
	stopped, cancel := context.WithCancel(w.ctx)
	cancel()
	began := time.Now()
	_ = w.operator.drain(stopped)
	return time.Since(began), int(n.Load())
}

// TestTheOperatorStopsAtOnce whatever the state of PayUTokens is that have nothing to wait for.
func TestTheOperatorStopsAtOnce(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(*world){
		"no credentials":    func(w *world) { w.delete(named("payu-credentials")) },
		"a broken template": func(w *world) { w.edit("links", withData("k", "{{ .Nothing }}")) },
		"suspended":         func(w *world) { w.edit("links", withSuspend(true)) },
		"a namespace that goes away": func(w *world) {
			w.tick(90 * time.Minute)
			w.reconcile("links")
			await(w) // a new token has come
			onWrite(w, func(*corev1.Secret, bool) error {
				err := apierrors.NewForbidden(corev1.Resource("secrets"), "links", errors.New("terminating"))
				err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
				return err
			})
		},
		"a namespace that is down": func(w *world) {
			w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
				Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
					return fmt.Errorf("namespace %q: %w", w.namespace, ErrNamespaceDown)
				},
			})
			w.operator.Grants.Settle(requestFor(w, "links").NamespacedName, 0) // another one's request has ended since
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			w.pass(6 * time.Second)
			act(w)
			w.attempt("links")
			if took, reads := w.stop(); took > 3*time.Second || reads > 20 {
				t.Errorf("it took %v, and %d reads of Secrets", took, reads)
			}
		})
	}
}

// TestATokenIsHandedOnThoughTheFirstPassFails: the API server does not answer for a moment while the operator stops.
func TestATokenIsHandedOnThoughTheFirstPassFails(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]string{"credentials": "payu-credentials", "target": "links"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious})
			w.tick(90 * time.Minute)
			w.payu.Inject(payutest.Fault{Hang: true, Times: 1})
			w.begin("links")
			w.payu.ClearFaults()
			await(w)
			var reads atomic.Int32
			w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
					if _, ok := o.(*v1alpha1.PayUToken); !ok && key.Name == kind && reads.Add(1) == 1 {
						return apierrors.NewInternalError(errors.New("for a moment"))
					}
					return c.Get(ctx, key, o, options...)
				},
			})
			w.operator.credentials.own, w.operator.credentials.others = w.operator.Client, w.operator.Client
			stopped, cancel := context.WithCancel(w.ctx)
			cancel()
			w.must(w.operator.drain(stopped))
			if reads.Load() == 0 {
				t.Fatal("the read did not fail")
			}
			w.expectLive("links")
		})
	}
}

// TestAnAPIServerThatFailsIsNotAskedWithoutPauseAtTheEnd while the operator stops.
func TestAnAPIServerThatFailsIsNotAskedWithoutPauseAtTheEnd(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.tick(90 * time.Minute)
	w.payu.Inject(payutest.Fault{Hang: true, Times: 1})
	w.begin("links")
	w.payu.ClearFaults()
	await(w)
	var writes atomic.Int32 // the last of them may still be under way when the operator gives up
	onWrite(w, func(*corev1.Secret, bool) error {
		writes.Add(1)
		return apierrors.NewInternalError(errors.New("etcd is down"))
	})
	w.stop()
	if n := writes.Load(); n < 2 || n > 20 {
		t.Errorf("it tried %d writes in 10 s, want one a second", n)
	}
}

// ---- credentials

// TestAReadThatBeganBeforeAnEditIsNotTaken: one PayUToken reads the credentials, slowly; a person corrects them; another
// PayUToken is reconciled because of that, and for nothing else.
func TestAReadThatBeganBeforeAnEditIsNotTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", "")
	w.create("slow")
	w.create("quick")
	began, goOn := make(chan struct{}), make(chan struct{})
	var reads atomic.Int32
	readThrough(w, interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			err := c.Get(ctx, key, o, options...)
			if key.Name == "payu-credentials" && reads.Add(1) == 1 {
				close(began)
				<-goOn // the answer is on its way
			}
			return err
		},
	}))
	var list v1alpha1.PayUTokenList
	w.must(w.user.List(w.ctx, &list, client.InNamespace(w.namespace)))
	for i := range list.Items {
		w.operator.references.replace(nil, &list.Items[i])
	}
	done := make(chan error, 2)
	go func() { _, err := w.operator.Reconcile(w.ctx, requestFor(w, "slow")); done <- err }()
	<-began
	w.credentials("payu-credentials", "merchant", secretOne)
	go func() { _, err := w.operator.pass(w.ctx, requestFor(w, "quick").NamespacedName); done <- err }()
	time.AfterFunc(500*time.Millisecond, func() { close(goOn) })
	w.must(errors.Join(<-done, <-done))
	if stale := w.condition("quick", v1alpha1.ConditionReady); stale == "False/CredentialsInvalid" {
		t.Errorf("it was reconciled after the edit, and says %s", stale)
	}
}

// ---- reuse

// TestALostSecretIsReplacedAfterARestart though the status says when a reused token ends.
func TestALostSecretIsReplacedAfterARestart(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{Mode: payutest.Reuse})
	w.pass(90 * time.Minute)
	w.expectCondition("links", v1alpha1.ConditionRefreshed, "True/TokenReused")
	made := w.requests()
	w.delete(named("links"))
	w.restart()
	w.run()
	w.pass(6 * time.Second)
	w.expectRequests(made + 1)
	w.expectLive("links")
}

// ---- events

// TestALongMessageIsAnEventToo: the API server refuses an Event of more than 1024 bytes, and no failure is silent.
func TestALongMessageIsAnEventToo(t *testing.T) {
	t.Parallel()
	namespace, err := cluster.Namespace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writer := NewEventWriter(cluster.Client, clocktesting.NewFakePassiveClock(start))
	token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "links", UID: "u", ResourceVersion: "7"}}
	f := stalled(v1alpha1.ReasonInvalidScope, "PayU answered invalid_scope for %s", strings.Repeat("create_payment_links ", 60))
	writer.Eventf(token, nil, corev1.EventTypeWarning, f.reason, "RenewToken", "%s", f.message)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := writer.Start(stopped); err != nil {
		t.Fatal(err)
	}
	var list eventsv1.EventList
	if err := cluster.Client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil || len(list.Items) != 1 {
		t.Errorf("a message of %d bytes: %d events (%v), want 1", len(f.message), len(list.Items), err)
	}
}

// TestEventsDoNotKeepTheOperatorFromStopping where the API server answers none of them: the Lease is given back after that.
func TestEventsDoNotKeepTheOperatorFromStopping(t *testing.T) {
	t.Parallel()
	writer := NewEventWriter(interceptor.NewClient(cluster.Client, interceptor.Funcs{
		Create: func(ctx context.Context, _ client.WithWatch, _ client.Object, _ ...client.CreateOption) error {
			<-ctx.Done()
			return ctx.Err()
		},
	}), clocktesting.NewFakePassiveClock(start))
	token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "links", UID: "u", ResourceVersion: "7"}}
	for range 3 {
		writer.Eventf(token, nil, corev1.EventTypeNormal, "Refreshed", "WriteToken", "Wrote the token")
	}
	running, stop := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, stop)
	ended := make(chan error, 1)
	go func() { ended <- writer.Start(running) }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the operator waits for events for more than 10 s")
	}
}
