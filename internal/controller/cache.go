package controller

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// OwnSecrets selects the Secrets that the operator wrote: the only ones whose data it keeps in a cache.
func OwnSecrets() labels.Selector { return secretsThat(selection.Equals) }

// otherSecrets selects all the others.
func otherSecrets() labels.Selector { return secretsThat(selection.NotEquals) }

func secretsThat(relation selection.Operator) labels.Selector {
	isOwn, _ := labels.NewRequirement(v1alpha1.LabelManagedBy, relation, []string{v1alpha1.ManagedBy}) // constants, and valid
	return labels.NewSelector().Add(*isOwn)
}

// CacheOptions returns what the manager keeps of the cluster: the PayUTokens that a selector is for, and the operator's own
// Secrets. No namespaces are all.
func CacheOptions(namespaces []string, tokens labels.Selector) cache.Options {
	return cache.Options{
		DefaultNamespaces: inNamespaces(namespaces),
		DefaultTransform:  newCommon().compact,
		ByObject: map[client.Object]cache.ByObject{
			// Neither is ever changed in place.
			&v1alpha1.PayUToken{}: {Label: tokens, UnsafeDisableDeepCopy: ptr.To(true)},
			&corev1.Secret{}:      {Label: OwnSecrets(), UnsafeDisableDeepCopy: ptr.To(true)},
		},
	}
}

// inNamespaces restricts a cache to the named namespaces; all if there are none.
func inNamespaces(names []string) map[string]cache.Config {
	if len(names) == 0 {
		return nil
	}
	configs := make(map[string]cache.Config, len(names))
	for _, name := range names {
		configs[name] = cache.Config{}
	}
	return configs
}

// NewOthersCache returns a cache of the metadata of all Secrets but the operator's own, stripped to what tells them apart:
// clusters hold thousands that are none of the operator's business. The manager starts it.
func NewOthersCache(mgr ctrl.Manager, namespaces []string) (cache.Cache, error) {
	others, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient:                   mgr.GetHTTPClient(),
		Scheme:                       mgr.GetScheme(),
		Mapper:                       mgr.GetRESTMapper(),
		DefaultNamespaces:            inNamespaces(namespaces),
		DefaultLabelSelector:         otherSecrets(),
		DefaultTransform:             newCommon().compact,
		DefaultUnsafeDisableDeepCopy: ptr.To(true),
	})
	if err != nil {
		return nil, err
	}
	return others, mgr.Add(cacheRunnable{others})
}

// cacheRunnable has the manager start a cache before it leads, together with its own.
type cacheRunnable struct{ cache.Cache }

// GetCache is what the manager knows a cache by.
func (c cacheRunnable) GetCache() cache.Cache { return c.Cache }

// common holds strings that many objects have in common. Decoded, each object has a copy of its own: they were a tenth of
// the memory for each PayUToken, and a third of the objects that the garbage collector had to look at.
type common struct {
	mu    sync.Mutex
	known map[string]string
}

// mostCommon bounds what common holds: a cluster may have any number of namespaces.
const mostCommon = 4096

func newCommon() *common { return &common{known: map[string]string{}} }

// compact strips an object, fresh from the API server, of what the operator does not look at, and of its own copies of
// common strings.
func (c *common) compact(o any) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch object := o.(type) {
	case *v1alpha1.PayUToken:
		c.compactToken(object)
	case *corev1.Secret:
		c.compactSecret(object)
	case *metav1.PartialObjectMetadata:
		object.ObjectMeta = metav1.ObjectMeta{
			Namespace: one(c, object.Namespace), Name: object.Name, UID: object.UID, ResourceVersion: object.ResourceVersion,
		}
	}
	return o, nil
}

func (c *common) compactToken(token *v1alpha1.PayUToken) {
	// Whoever owns or selects PayUTokens writes the rest, and only the API server looks at it.
	request, requested := token.Annotations[v1alpha1.AnnotationRefreshRequestedAt]
	token.Labels, token.Annotations, token.OwnerReferences, token.Finalizers = nil, nil, nil, nil
	if requested {
		token.Annotations = map[string]string{v1alpha1.AnnotationRefreshRequestedAt: request}
	}
	c.compactMeta(&token.TypeMeta, &token.ObjectMeta)
	spec, status := &token.Spec, &token.Status
	spec.Environment = one(c, spec.Environment)
	for i := range spec.Scopes {
		spec.Scopes[i] = one(c, spec.Scopes[i])
	}
	ref := &spec.CredentialsSecretRef
	ref.Name, ref.ClientIDKey, ref.ClientSecretKey = one(c, ref.Name), one(c, ref.ClientIDKey), one(c, ref.ClientSecretKey)
	status.Scope = one(c, status.Scope)
	status.Conditions = slices.Concat(status.Conditions) // without room for more
	for i := range status.Conditions {
		condition := &status.Conditions[i]
		condition.Type, condition.Status, condition.Reason = one(c, condition.Type), one(c, condition.Status), one(c, condition.Reason)
	}
}

func (c *common) compactSecret(secret *corev1.Secret) {
	c.compactMeta(&secret.TypeMeta, &secret.ObjectMeta)
	secret.Type = one(c, secret.Type)
	secret.Data = withCommonKeys(c, secret.Data)
	if manager, ok := secret.Labels[v1alpha1.LabelManagedBy]; ok {
		secret.Labels[v1alpha1.LabelManagedBy] = one(c, manager)
	}
	// What a Secret holds several times it need not hold in several copies.
	uid, name := secret.Labels[v1alpha1.LabelTokenUID], secret.Annotations[v1alpha1.AnnotationTokenName]
	for i := range secret.OwnerReferences {
		owner := &secret.OwnerReferences[i]
		owner.APIVersion, owner.Kind = one(c, owner.APIVersion), one(c, owner.Kind)
		if string(owner.UID) == uid && owner.Name == name {
			owner.UID, owner.Name = types.UID(uid), name
		}
	}
}

func (c *common) compactMeta(kind *metav1.TypeMeta, object *metav1.ObjectMeta) {
	*kind = metav1.TypeMeta{} // the Go type says as much
	object.ManagedFields = nil
	object.Namespace = one(c, object.Namespace)
	object.Labels, object.Annotations = withCommonKeys(c, object.Labels), withCommonKeys(c, object.Annotations)
}

// one returns the same copy of a string each time.
func one[S ~string](c *common, s S) S {
	if known, ok := c.known[string(s)]; ok {
		return S(known)
	}
	if len(c.known) < mostCommon {
		c.known[string(s)] = string(s)
	}
	return s
}

// withCommonKeys returns the same map, nil if it is empty.
func withCommonKeys[V any](c *common, m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	same := make(map[string]V, len(m))
	for key, value := range m {
		same[one(c, key)] = value
	}
	return same
}
