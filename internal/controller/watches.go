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
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/grant"
)

// Register makes the Reconciler run in the manager, whose cache namespaces is.
func (r *Reconciler) Register(mgr ctrl.Manager, namespaces *Namespaces) error {
	r.prepare()
	if err := mgr.Add(manager.RunnableFunc(r.drain)); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("payutoken").
		WatchesRawSource(namespaces.eventsFor(handlers{
			tokens:       r.tokenEvents(),
			ownSecrets:   handler.EnqueueRequestsFromMapFunc(r.referrers),
			otherSecrets: r.otherSecretEvents(),
		}, r.begin)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, time.Minute),
		}).
		Complete(r.where(namespaces.serves))
}

// where reconciles PayUTokens of namespaces that are served. When another one is served again, its PayUTokens are reconciled
// as after a restart.
func (r *Reconciler) where(served func(namespace string) bool) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		if !served(request.Namespace) {
			return reconcile.Result{}, nil
		}
		return r.Reconcile(ctx, request)
	})
}

func (r *Reconciler) prepare() {
	r.records, r.references = newRecords(), newReferences()
	r.lanes, r.progress = newLanes(r.Workers), newProgress()
	r.credentials = &credentials{own: r.Client, others: r.Others, live: r.Live, requireLabel: r.RequireCredentialsLabel,
		known: map[types.NamespacedName]map[clientReference]clientKeys{}}
	r.Grants.Changed, r.Deliveries.changed = r.changed, r.changed
}

// begin keeps the controller's queue, and has PayU asked nothing until all PayUTokens that there are were observed.
func (r *Reconciler) begin(q queue) {
	r.queue.Store(&q)
	var list v1alpha1.PayUTokenList
	if err := r.Client.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		log.Log.Error(err, "Listing the PayUTokens at the start")
	}
	names := make([]grant.Member, len(list.Items))
	for i := range list.Items {
		names[i] = client.ObjectKeyFromObject(&list.Items[i])
	}
	r.Grants.Begin(names)
}

// tokenEvents keeps up with what PayUTokens name, and has those reconciled that users change, together with those that have
// the same target: they may have to step back, or may go on. A status that the operator did not write itself (a former
// leader's last one) is corrected. One handler does it all, so that whoever is reconciled, because of a PayUToken or of a
// Secret, is known.
func (r *Reconciler) tokenEvents() handler.EventHandler {
	look := func(q queue, obj *v1alpha1.PayUToken) {
		q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(obj)})
		for _, request := range r.tokensBy(targetKey(obj)) {
			q.Add(request)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			obj := e.Object.(*v1alpha1.PayUToken)
			r.references.replace(nil, obj)
			look(q, obj)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.PayUToken), e.ObjectNew.(*v1alpha1.PayUToken)
			if !changed(was, is) {
				if !r.records.sawStatus(is) {
					q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(is)})
				}
				return
			}
			r.references.replace(was, is)
			look(q, was)
			look(q, is)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			obj := e.Object.(*v1alpha1.PayUToken)
			r.references.replace(obj, nil)
			look(q, obj)
		},
	}
}

// changed reports whether a user has changed a PayUToken, or made it anew while the API server was out of reach: what the
// operator writes into the status is no such change.
func changed(was, is *v1alpha1.PayUToken) bool {
	return was.UID != is.UID || was.Generation != is.Generation || was.RefreshRequest() != is.RefreshRequest() || !is.DeletionTimestamp.IsZero()
}

// otherSecretEvents has those reconciled that name a Secret, and drops what is kept of credentials that are gone.
func (r *Reconciler) otherSecretEvents() handler.EventHandler {
	all := handler.EnqueueRequestsFromMapFunc(r.referrers)
	return handler.Funcs{
		CreateFunc: all.Create, UpdateFunc: all.Update,
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			r.credentials.forget(client.ObjectKeyFromObject(e.Object))
			all.Delete(ctx, e, q)
		},
	}
}

// referrers returns the PayUTokens that name a Secret, as credentials or as target, and the one that it was made for.
func (r *Reconciler) referrers(_ context.Context, secret client.Object) []reconcile.Request {
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
