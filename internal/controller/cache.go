package controller

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// OwnSecrets selects the Secrets that the operator wrote: the only ones whose data it keeps in a cache.
func OwnSecrets() labels.Selector { return secretsThat(selection.Equals) }

// otherSecrets selects all the others.
func otherSecrets() labels.Selector { return secretsThat(selection.NotEquals) }

func secretsThat(relation selection.Operator) labels.Selector {
	isOwn, _ := labels.NewRequirement(v1alpha1.LabelManagedBy, relation, []string{v1alpha1.ManagedBy}) // constants, and valid
	return labels.NewSelector().Add(*isOwn)
}

// newCaches returns the caches of the namespace: own for PayUTokens and the operator's own Secrets, others for the metadata of all
// other Secrets, reduced to what identifies them, since clusters have thousands that do not concern the operator. They call stop if the
// API server forbids a list or a watch.
func (ns *namespace) newCaches(ctx context.Context, stop context.CancelCauseFunc) (own, others cache.Cache, err error) {
	options := ns.optionsWith(stop)
	options.ByObject = map[client.Object]cache.ByObject{
		&v1alpha1.PayUToken{}: {Label: ns.Tokens},
		&corev1.Secret{}:      {Label: OwnSecrets()},
	}
	if own, err = newCache(ctx, ns.config, options, &v1alpha1.PayUToken{}, &corev1.Secret{}); err != nil {
		return nil, nil, err
	}
	options = ns.optionsWith(stop)
	options.DefaultLabelSelector = otherSecrets()
	others, err = newCache(ctx, ns.config, options, secretMetadata())
	return own, others, err
}

func (ns *namespace) optionsWith(stop context.CancelCauseFunc) cache.Options {
	options := ns.options
	options.DefaultUnsafeDisableDeepCopy = ptr.To(true) // the operator never modifies cached objects
	if ns.name == metav1.NamespaceAll {
		return options
	}
	options.DefaultNamespaces = map[string]cache.Config{ns.name: {}}
	options.DefaultWatchErrorHandler = func(ctx context.Context, reflector *toolscache.Reflector, err error) {
		if apierrors.IsForbidden(err) {
			stop(err)
			return
		}
		toolscache.DefaultWatchErrorHandler(ctx, reflector, err)
	}
	return options
}

// newCache returns a cache that watches some kinds of objects once it is started.
func newCache(ctx context.Context, config *rest.Config, options cache.Options, kinds ...client.Object) (cache.Cache, error) {
	c, err := cache.New(config, options)
	if err != nil {
		return nil, err
	}
	for _, kind := range kinds {
		if _, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// secretMetadata returns an empty object to read the metadata of a Secret into.
func secretMetadata() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return o
}

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

func (c *common) compactToken(obj *v1alpha1.PayUToken) {
	// Whoever owns or selects PayUTokens writes the rest, and only the API server looks at it.
	request, requested := obj.Annotations[v1alpha1.AnnotationRefreshRequestedAt]
	obj.Labels, obj.Annotations, obj.OwnerReferences, obj.Finalizers = nil, nil, nil, nil
	if requested {
		obj.Annotations = map[string]string{v1alpha1.AnnotationRefreshRequestedAt: request}
	}
	c.compactMeta(&obj.TypeMeta, &obj.ObjectMeta)
	spec, status := &obj.Spec, &obj.Status
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

// compactSecret drops the data of a Secret that has nothing of the operator's but a label: anybody may write that.
func (c *common) compactSecret(secret *corev1.Secret) {
	if !target.IsSealed(secret) {
		secret.Data = nil
	}
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
