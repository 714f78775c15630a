package controller

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// Register adds the Reconciler to the manager, whose cache is namespaces. workers is the number of PayUTokens reconciled at once.
func (r *Reconciler) Register(mgr ctrl.Manager, namespaces *Namespaces, workers int) error {
	r.prepare()
	if err := mgr.Add(manager.RunnableFunc(r.drain)); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("payutoken").
		WatchesRawSource(namespaces.eventsFor(handlers{
			tokens:       r.tokenEvents(),
			ownSecrets:   r.ownSecretEvents(),
			otherSecrets: handler.EnqueueRequestsFromMapFunc(r.users),
		}, r.keepQueue)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, time.Minute),
		}).
		Complete(r.where(namespaces.serves))
}

// where reconciles PayUTokens of served namespaces and forgets all others. When their namespace is served again, they are reconciled
// as after a restart.
func (r *Reconciler) where(served func(namespace string) bool) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		if !served(request.Namespace) {
			r.forget(request.NamespacedName)
			return reconcile.Result{}, nil
		}
		return r.Reconcile(ctx, request)
	})
}

func (r *Reconciler) prepare() {
	r.memories, r.references = newMemories(), newReferences()
	r.credentials = credentials{own: r.Client, others: r.Others, live: r.Live}
	r.Tokens.Changed = r.wake
}

// tokenEvents keeps up with what PayUTokens name, and has those looked at that users change, together with those that have
// the same target: they may have to step back, or may go on. One handler does both, so that whoever is looked at, because
// of a PayUToken or of a Secret, is known.
func (r *Reconciler) tokenEvents() handler.EventHandler {
	look := func(queue workqueue.TypedRateLimitingInterface[reconcile.Request], token *v1alpha1.PayUToken) {
		queue.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(token)})
		for _, request := range r.tokensBy(targetKey(token)) {
			queue.Add(request)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			token := e.Object.(*v1alpha1.PayUToken)
			r.references.replace(nil, token)
			look(queue, token)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			was, is := e.ObjectOld.(*v1alpha1.PayUToken), e.ObjectNew.(*v1alpha1.PayUToken)
			if !changed(was, is) {
				return
			}
			r.references.replace(was, is)
			look(queue, was)
			look(queue, is)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			token := e.Object.(*v1alpha1.PayUToken)
			r.references.replace(token, nil)
			look(queue, token)
		},
	}
}

// ownSecretEvents has those looked at that have to do with a Secret of the operator's, but not the one that it was just
// written for, unless the event is faster than the answer to the write: that pass knows what it wrote.
func (r *Reconciler) ownSecretEvents() handler.EventHandler {
	look := func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request], is client.Object, was ...client.Object) {
		requests := r.users(ctx, is)
		for _, former := range was {
			requests = append(requests, r.users(ctx, former)...)
		}
		for _, request := range requests {
			if !r.memories.seeOwnWrite(request.NamespacedName, is) {
				queue.Add(request)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			look(ctx, queue, e.Object)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			look(ctx, queue, e.ObjectNew, e.ObjectOld)
		},
		DeleteFunc: handler.EnqueueRequestsFromMapFunc(r.users).Delete,
	}
}

// changed reports whether a user has changed a PayUToken, or made it anew while the API server was out of reach: what the
// operator writes into the status is no such change.
func changed(was, is *v1alpha1.PayUToken) bool {
	return was.UID != is.UID || was.Generation != is.Generation || was.RefreshRequest() != is.RefreshRequest() || !is.DeletionTimestamp.IsZero()
}

// users returns the PayUTokens that name a Secret, as credentials or as target, and the one that it was made for.
func (r *Reconciler) users(_ context.Context, secret client.Object) []reconcile.Request {
	requests := r.tokensBy(client.ObjectKeyFromObject(secret))
	if owner := secret.GetAnnotations()[v1alpha1.AnnotationTokenName]; owner != "" {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: secret.GetNamespace(), Name: owner}})
	}
	return requests
}

// tokensBy returns the PayUTokens that name a Secret.
func (r *Reconciler) tokensBy(secret types.NamespacedName) []reconcile.Request {
	var requests []reconcile.Request
	for _, name := range r.references.tokensOf(secret) {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: secret.Namespace, Name: name}})
	}
	return requests
}

// keepQueue gives wake the controller's queue.
func (r *Reconciler) keepQueue(q queue) { r.queue = q }
