package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// namespace is one of the watched namespaces, or stands for all namespaces.
type namespace struct {
	*Namespaces
	name  string
	state atomic.Pointer[state] // only run changes it
	known chan struct{}         // closed once the namespace is up or known to be down

	markKnown func()
}

// state of a watched namespace: either its caches or a problem.
type state struct {
	own, others cache.Cache
	served      bool // the event handlers have handled everything in the caches
	problem     error
}

func newNamespace(all *Namespaces, name string) *namespace {
	ns := &namespace{Namespaces: all, name: name, known: make(chan struct{})}
	ns.markKnown = sync.OnceFunc(func() { close(ns.known) })
	ns.state.Store(&state{problem: errFilling})
	return ns
}

// run serves the namespace until ctx is done, and retries whenever that fails.
func (ns *namespace) run(ctx context.Context) {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		problem := ns.serve(ctx)
		if ctx.Err() == nil {
			ns.down(problem)
		}
	}, ns.Interval)
}

// serve fills the caches and attaches the event handlers. It returns when ctx is done or something is wrong with the namespace.
func (ns *namespace) serve(ctx context.Context) error {
	if err := ns.check(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop(nil)
	own, others, err := ns.newCaches(ctx, stop)
	if err != nil {
		return err
	}
	running.Go(func() { stop(own.Start(ctx)) })
	running.Go(func() { stop(others.Start(ctx)) })
	running.Go(func() { stop(ns.keepChecking(ctx)) })
	if ns.awaitFilled(ctx, own, others) {
		ns.up(own, others)
		ns.attach(ctx, own, others)
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (ns *namespace) check(ctx context.Context) error {
	if ns.name == metav1.NamespaceAll {
		return nil
	}
	return ns.Check(ctx, ns.name)
}

// keepChecking returns when a check fails. An open watch is not enough: the API server does not end it when the permission for it is
// revoked or its namespace is deleted.
func (ns *namespace) keepChecking(ctx context.Context) (problem error) {
	_ = wait.PollUntilContextCancel(ctx, ns.Interval, false, func(ctx context.Context) (bool, error) {
		problem = ns.check(ctx)
		return problem != nil, nil
	})
	return problem
}

// awaitFilled waits until the caches are filled. It returns false if ctx is done before.
func (ns *namespace) awaitFilled(ctx context.Context, own, others cache.Cache) bool {
	filled := func(ctx context.Context) bool { return own.WaitForCacheSync(ctx) && others.WaitForCacheSync(ctx) }
	if ns.name == metav1.NamespaceAll {
		return filled(ctx) // there is no other namespace to serve
	}
	soon, cancel := context.WithTimeout(ctx, ns.Interval)
	defer cancel()
	if filled(soon) {
		return true
	}
	if ctx.Err() == nil {
		ns.down(fmt.Errorf("its caches were not filled within %s", ns.Interval))
	}
	return filled(ctx)
}

// attach waits for the controller, which starts on the leader only, and attaches its event handlers. Reconciliation begins when these
// have handled everything in the caches, so that they know all PayUTokens with the same target.
func (ns *namespace) attach(ctx context.Context, own, others cache.Cache) {
	select {
	case <-ns.subscribed:
	case <-ctx.Done():
		return
	}
	kinds := []source.SyncingSource{
		source.Kind(own, client.Object(&v1alpha1.PayUToken{}), ns.handlers.tokens),
		source.Kind(own, client.Object(&corev1.Secret{}), ns.handlers.ownSecrets),
		source.Kind(others, client.Object(secretMetadata()), ns.handlers.otherSecrets),
	}
	for _, kind := range kinds {
		_ = kind.Start(ctx, ns.queue) // fails only without an object, a cache or a handler
	}
	for _, kind := range kinds {
		_ = kind.WaitForSync(ctx) // fails only if ctx is done
	}
	if ctx.Err() != nil {
		return
	}
	ns.state.Store(&state{own: own, others: others, served: true})
	for _, obj := range tokensIn(own) {
		ns.queue.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&obj)}) // reconciles that its create event caused were dropped
	}
}

// detach makes the event handlers forget the PayUTokens of the stopped caches. Those that still exist come back with the next caches.
func (ns *namespace) detach(own cache.Cache) {
	select {
	case <-ns.subscribed:
	default:
		return
	}
	for _, obj := range tokensIn(own) {
		ns.handlers.tokens.Delete(context.Background(), event.DeleteEvent{Object: &obj}, ns.queue)
	}
}

// tokensIn returns the PayUTokens in a filled cache.
func tokensIn(own cache.Cache) []v1alpha1.PayUToken {
	var list v1alpha1.PayUTokenList
	_ = own.List(context.Background(), &list, client.UnsafeDisableDeepCopy) // cannot fail: the cache has started
	return list.Items
}

func (ns *namespace) up(own, others cache.Cache) {
	if was := ns.state.Swap(&state{own: own, others: others}); !errors.Is(was.problem, errFilling) {
		log.Log.Info("The namespace is watched again", "namespace", ns.name)
	}
	ns.markKnown()
}

func (ns *namespace) down(problem error) {
	was := ns.state.Swap(&state{problem: problem})
	if was.problem == nil || was.problem.Error() != problem.Error() {
		log.Log.Error(problem, "Cannot watch the namespace; retrying, others are not affected", "namespace", ns.name)
	}
	if was.own != nil {
		ns.detach(was.own)
	}
	ns.markKnown()
}
