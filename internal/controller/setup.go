package controller

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// indexSecret finds PayUTokens by the Secrets that they name, target and credentials. There is one index for both: an
// index costs 1.5 KiB for each PayUToken.
const indexSecret = "secret"

// Register makes the Reconciler run in the manager. others is what NewOthersCache returned; workers is how many PayUTokens
// are looked at at once.
func (r *Reconciler) Register(ctx context.Context, mgr ctrl.Manager, others cache.Cache, workers int) error {
	r.prepare()
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.PayUToken{}, indexSecret, secretNames); err != nil {
		return err
	}
	if err := mgr.Add(manager.RunnableFunc(r.drain)); err != nil {
		return err
	}
	anySecret := &metav1.PartialObjectMetadata{}
	anySecret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	// Made now, the caches of a standby are filled before it leads.
	if _, err := mgr.GetCache().GetInformer(ctx, &corev1.Secret{}, cache.BlockUntilSynced(false)); err != nil {
		return err
	}
	if _, err := others.GetInformer(ctx, anySecret, cache.BlockUntilSynced(false)); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("payutoken").
		For(&v1alpha1.PayUToken{}, builder.WithPredicates(changed())).
		Watches(&v1alpha1.PayUToken{}, handler.EnqueueRequestsFromMapFunc(r.rivals), builder.WithPredicates(changed())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.users)).
		WatchesRawSource(source.Kind(others, client.Object(anySecret), handler.EnqueueRequestsFromMapFunc(r.users))).
		WatchesRawSource(source.Func(r.keepQueue)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, time.Minute),
		}).
		Complete(r)
}

func (r *Reconciler) prepare() {
	r.memories = newMemories()
	r.credentials = credentials{own: r.Client, others: r.Others, live: r.Live}
	r.Tokens.Changed = r.wake
}

func secretNames(o client.Object) []string {
	token := o.(*v1alpha1.PayUToken)
	return []string{token.TargetName(), string(token.Spec.CredentialsSecretRef.Name)}
}

// users returns the PayUTokens that name a Secret, as credentials or as target, and the one that it was made for.
func (r *Reconciler) users(ctx context.Context, secret client.Object) []reconcile.Request {
	requests := requestsFor(r.tokensBy(ctx, secret.GetNamespace(), secret.GetName()))
	if owner := secret.GetAnnotations()[v1alpha1.AnnotationTokenName]; owner != "" {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: secret.GetNamespace(), Name: owner}})
	}
	return requests
}

// rivals returns the PayUTokens with the same target: they may have to step back, or may go on.
func (r *Reconciler) rivals(ctx context.Context, o client.Object) []reconcile.Request {
	token := o.(*v1alpha1.PayUToken)
	all := r.tokensBy(ctx, token.Namespace, token.TargetName())
	return requestsFor(slices.DeleteFunc(all, func(other v1alpha1.PayUToken) bool {
		return other.Name == token.Name || other.TargetName() != token.TargetName()
	}))
}

// tokensBy returns the PayUTokens that name a Secret.
func (r *Reconciler) tokensBy(ctx context.Context, namespace, secret string) []v1alpha1.PayUToken {
	var list v1alpha1.PayUTokenList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{indexSecret: secret}, client.UnsafeDisableDeepCopy); err != nil {
		return nil // the cache is not started: the first list of PayUTokens brings them all
	}
	return list.Items
}

func requestsFor(tokens []v1alpha1.PayUToken) []reconcile.Request {
	requests := make([]reconcile.Request, len(tokens))
	for i := range tokens {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&tokens[i])
	}
	return requests
}

// changed lets through what a user changes, and not what the operator writes into the status.
func changed() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*v1alpha1.PayUToken), e.ObjectNew.(*v1alpha1.PayUToken)
		return was.Generation != is.Generation || was.RefreshRequest() != is.RefreshRequest() || !is.DeletionTimestamp.IsZero()
	}}
}

// keepQueue gives wake the controller's queue.
func (r *Reconciler) keepQueue(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	r.queue = queue
	return nil
}
