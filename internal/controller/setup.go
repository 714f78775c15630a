package controller

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
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

// Register makes the Reconciler run in the manager. versions is a cache of the metadata of all Secrets that the
// manager starts too; workers is how many PayUTokens are looked at at once.
func (r *Reconciler) Register(ctx context.Context, mgr ctrl.Manager, versions cache.Cache, workers int) error {
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
	if _, err := versions.GetInformer(ctx, anySecret, cache.BlockUntilSynced(false)); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("payutoken").
		For(&v1alpha1.PayUToken{}, builder.WithPredicates(changed())).
		Watches(&v1alpha1.PayUToken{}, handler.EnqueueRequestsFromMapFunc(r.rivals), builder.WithPredicates(changed())).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(owner)).
		WatchesRawSource(source.Kind(versions, client.Object(anySecret), handler.EnqueueRequestsFromMapFunc(r.users))).
		WatchesRawSource(source.Func(r.keepQueue)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](50*time.Millisecond, time.Minute),
		}).
		Complete(r)
}

func (r *Reconciler) prepare() {
	r.memories = newMemories()
	r.credentials = credentials{versions: r.Versions, live: r.Live}
	r.Tokens.Changed = r.wake
}

func secretNames(o client.Object) []string {
	token := o.(*v1alpha1.PayUToken)
	return []string{token.TargetName(), string(token.Spec.CredentialsSecretRef.Name)}
}

// users returns the PayUTokens that name a Secret, as credentials or as target. Of the operator's own Secrets owner hears:
// one pass is enough for each change.
func (r *Reconciler) users(ctx context.Context, secret client.Object) []reconcile.Request {
	own := secret.GetLabels()[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy
	return requestsFor(slices.DeleteFunc(r.tokensBy(ctx, secret.GetNamespace(), secret.GetName()), func(token v1alpha1.PayUToken) bool {
		return own && string(token.Spec.CredentialsSecretRef.Name) != secret.GetName()
	}))
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
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{indexSecret: secret}); err != nil {
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

// owner returns the PayUToken that one of the operator's own Secrets was made for.
func owner(_ context.Context, secret client.Object) []reconcile.Request {
	name := secret.GetAnnotations()[v1alpha1.AnnotationTokenName]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: secret.GetNamespace(), Name: name}}}
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

// OwnSecrets selects the Secrets that the operator wrote: the only ones whose data it keeps in a cache.
func OwnSecrets() labels.Selector {
	return labels.SelectorFromSet(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
}

// Namespaces restricts a cache to the named namespaces; all if there are none.
func Namespaces(names []string) map[string]cache.Config {
	if len(names) == 0 {
		return nil
	}
	configs := make(map[string]cache.Config, len(names))
	for _, name := range names {
		configs[name] = cache.Config{}
	}
	return configs
}

// NewVersionsCache returns a cache of the metadata of all Secrets, stripped to what tells them apart: clusters hold
// thousands of Secrets that are none of the operator's business. The manager starts it.
func NewVersionsCache(mgr ctrl.Manager, namespaces []string) (cache.Cache, error) {
	versions, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient:                   mgr.GetHTTPClient(),
		Scheme:                       mgr.GetScheme(),
		Mapper:                       mgr.GetRESTMapper(),
		DefaultNamespaces:            Namespaces(namespaces),
		DefaultTransform:             stripToVersion,
		DefaultUnsafeDisableDeepCopy: ptr.To(true),
	})
	if err != nil {
		return nil, err
	}
	return versions, mgr.Add(cacheRunnable{versions})
}

// cacheRunnable has the manager start a cache before it leads, together with its own.
type cacheRunnable struct{ cache.Cache }

// GetCache is what the manager knows a cache by.
func (c cacheRunnable) GetCache() cache.Cache { return c.Cache }

// ownMark is what is kept of the labels of the operator's own Secrets: one map for all.
var ownMark = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}

func stripToVersion(o any) (any, error) {
	if secret, ok := o.(*metav1.PartialObjectMetadata); ok {
		var mark map[string]string
		if secret.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy {
			mark = ownMark
		}
		secret.ObjectMeta = metav1.ObjectMeta{
			Namespace: secret.Namespace, Name: secret.Name, UID: secret.UID, ResourceVersion: secret.ResourceVersion, Labels: mark,
		}
	}
	return o, nil
}
