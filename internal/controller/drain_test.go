package controller

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

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
