package controller

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
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

// ---- other namespaces

// elsewhere returns a namespace beside that of the world, with the same credentials and some PayUTokens.
func (w *world) elsewhere(names ...string) string {
	w.Helper()
	namespace, err := cluster.Namespace(w.ctx)
	w.must(err)
	credentials := w.secret("payu-credentials")
	w.must(w.user.Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "payu-credentials", Namespace: namespace}, Data: credentials.Data}))
	for _, name := range names {
		token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
		token.Spec.Environment = v1alpha1.EnvironmentTest
		token.Spec.CredentialsSecretRef.Name = "payu-credentials"
		token.Spec.Scopes = []v1alpha1.Scope{"create_payment_links", "read_payment_links"}
		w.must(w.user.Create(w.ctx, token))
	}
	return namespace
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

// TestAWebhookThatUsesUpItsTenSecondsKeepsNoOtherNamespaceWaiting: with the default timeout the API server gives up after 10 s
// and answers 500, before the operator does after 13 s. The namespaces of such webhooks are slow all the same.
func TestAWebhookThatUsesUpItsTenSecondsKeepsNoOtherNamespaceWaiting(t *testing.T) {
	t.Parallel()
	expectHalfOfTheWorkers(t, 10*time.Second, errWebhookDown, func(*world, string) {}) // "context deadline exceeded"
}

// TestAPassWithoutARequestDoesNotShowThatANamespaceIsWell: its last request timed out, and then an idle PayUToken of it is looked
// at, as it is at each event.
func TestAPassWithoutARequestDoesNotShowThatANamespaceIsWell(t *testing.T) {
	t.Parallel()
	expectHalfOfTheWorkers(t, 13*time.Second, errUnanswered, func(w *world, namespace string) {
		_, err := w.operator.Reconcile(w.ctx, inNamespace(namespace, "idle"))
		w.must(err)
	})
}

// TestANamespaceIsSlowThoughOnlyAFormerTargetHangs: it was the last request of the namespace, and it timed out.
func TestANamespaceIsSlowThoughOnlyAFormerTargetHangs(t *testing.T) {
	t.Parallel()
	w := conflicted(t, payutest.Config{})
	w.tick(90 * time.Minute)
	tries := 0
	onWrite(w, func(*corev1.Secret, bool) error { tries++; return errUnanswered })
	w.look("links")
	if tries == 0 {
		t.Fatal("the test needs a write that hangs")
	}
	if !w.operator.lanes.slow[w.namespace] {
		t.Error("the namespace does not count as slow")
	}
}

// expectHalfOfTheWorkers checks how many workers two namespaces hold in which each write ends with err after a time. act is done
// between the write that shows that and the next ones.
func expectHalfOfTheWorkers(t *testing.T, after time.Duration, err error, act func(w *world, namespace string)) {
	t.Helper()
	const workers = 4
	names := []string{"t0", "t1", "t2"}
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	hung := []string{w.elsewhere(append(names, "idle")...), w.elsewhere(append(names, "idle")...)}
	w.operator.lanes = newLanes(workers)
	var running atomic.Int32
	var hang atomic.Bool
	release := make(chan struct{})
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			if hang.Load() {
				running.Add(1)
				<-release
			} else {
				w.tick(after)
			}
			return err
		},
	})
	for _, namespace := range hung {
		idle := &v1alpha1.PayUToken{}
		w.must(w.user.Get(w.ctx, client.ObjectKey{Namespace: namespace, Name: "idle"}, idle))
		idle.Spec.Suspend = true
		w.must(w.user.Update(w.ctx, idle))
		for _, name := range append([]string{"idle"}, names...) {
			_, err := w.operator.Reconcile(w.ctx, inNamespace(namespace, name))
			w.must(err)
		}
	}
	for _, namespace := range hung {
		act(w, namespace)
	}
	hang.Store(true)
	w.tick(time.Minute)
	ended := make(chan error)
	for _, namespace := range hung {
		for _, name := range names {
			go func() { _, err := w.operator.Reconcile(w.ctx, inNamespace(namespace, name)); ended <- err }()
		}
	}
	time.Sleep(2 * time.Second)
	if n := running.Load(); n > workers/2 {
		t.Errorf("two namespaces whose webhooks hang hold %d of %d workers", n, workers)
	}
	close(release)
	for range len(hung) * len(names) {
		w.must(<-ended)
	}
}

// TestEventsThatHangKeepNoOtherNamespacesEventWaiting: a webhook of one namespace is called for Events, too, and uses up its
// 10 s for each. Another namespace's failure still has its event within 30 s.
func TestEventsThatHangKeepNoOtherNamespacesEventWaiting(t *testing.T) {
	t.Parallel()
	written := make(chan struct{}, 1)
	writer := NewEventWriter(interceptor.NewClient(cluster.Client, interceptor.Funcs{
		Create: func(ctx context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			if o.GetNamespace() != "hangs" {
				written <- struct{}{}
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Second):
				return errWebhookDown
			}
		},
	}), clock.RealClock{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- writer.Start(ctx) }()
	for i := range 4 {
		token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: "hangs", Name: fmt.Sprint("t", i), UID: "u", ResourceVersion: "7"}}
		writer.Eventf(token, nil, corev1.EventTypeWarning, "TargetWriteFailed", "RenewToken", "x")
	}
	token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "links", UID: "u", ResourceVersion: "7"}}
	writer.Eventf(token, nil, corev1.EventTypeWarning, "InvalidClient", "RenewToken", "x")
	select {
	case <-written:
	case <-time.After(30 * time.Second):
		t.Error("30 s have passed, and the event of the other namespace is not written")
	}
	stop()
	<-ended
}

// TestANamespaceThatHangsKeepsNoOthersTokenFromBeingHandedOn while the operator stops: the process is killed after 25 s, and two
// writes that hang for 13 s each are enough. In revoke-previous mode the others hold a dead token then.
func TestANamespaceThatHangsKeepsNoOthersTokenFromBeingHandedOn(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious})
	names := make([]string, 30)
	for i := range names {
		names[i] = fmt.Sprintf("t%02d", i)
	}
	hangs := w.elsewhere(names...)
	for _, name := range names {
		_, err := w.operator.Reconcile(w.ctx, inNamespace(hangs, name))
		w.must(err)
	}
	w.tick(90 * time.Minute)
	w.payu.Inject(payutest.Fault{Hang: true, Times: 1})
	w.begin("links")
	w.payu.ClearFaults()
	await(w) // a new token has come, and the old one is dead
	release, written := make(chan struct{}), make(chan struct{}, 10)
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if o.GetNamespace() == hangs {
				<-release
				return errUnanswered
			}
			written <- struct{}{}
			return c.Patch(ctx, o, patch, options...)
		},
	})
	stopped, cancel := context.WithCancel(w.ctx)
	cancel()
	drained := make(chan error, 1)
	go func() { drained <- w.operator.drain(stopped) }()
	select {
	case <-written:
	case <-time.After(5 * time.Second):
		t.Error("the token of a namespace that is well waits for a namespace that hangs")
	}
	close(release)
	<-drained
}
