package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// readSecret is target or liveTarget.
type readSecret func(context.Context, types.NamespacedName) (*corev1.Secret, error)

// target returns a Secret, nil if there is none. One that is not among the operator's own, but exists, is read from the
// API server.
func (r *Reconciler) target(ctx context.Context, key types.NamespacedName) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, key, secret)
	switch {
	case err == nil && target.IsSealed(secret):
		return secret, nil
	case err == nil:
		return r.liveTarget(ctx, key) // the cache has no data of it
	case !apierrors.IsNotFound(err):
		return nil, err
	}
	if err = r.Others.Get(ctx, key, secretMetadata()); err == nil {
		return r.liveTarget(ctx, key)
	}
	return nil, client.IgnoreNotFound(err)
}

// liveTarget returns a Secret from the API server, nil if there is none.
func (r *Reconciler) liveTarget(ctx context.Context, key types.NamespacedName) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := r.Live.Get(ctx, key, secret); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return secret, nil
}

// unchanged returns the target from the API server if it is still the one that the decision was made from.
func (r *Reconciler) unchanged(ctx context.Context, o *observation) (*corev1.Secret, *failure) {
	live, err := r.liveTarget(ctx, o.targetKey())
	switch {
	case err != nil:
		return nil, failedTo("read", o.desired.Name, err)
	case live == nil || live.ResourceVersion != o.targetVersion():
		return nil, conflict
	}
	return live, nil
}

// reread reads the targets from the API server, since somebody else has changed one of them.
func (r *Reconciler) reread(ctx context.Context, o *observation) *failure {
	secret, err := r.liveTarget(ctx, o.targetKey())
	if err != nil {
		return failedTo("read", o.desired.Name, err)
	}
	if o.former.secret != nil {
		former := r.formerTarget(ctx, o.obj, o.former.name, r.liveTarget)
		o.former.secret, o.former.unread = former.secret, former.unread
	}
	r.complete(ctx, o, secret)
	return nil
}

// foreign returns why a Secret is not this PayUToken's to write, nil if it is. Of several PayUTokens with the same target,
// exactly one has it.
func (r *Reconciler) foreign(ctx context.Context, obj *v1alpha1.PayUToken, name string, secret *corev1.Secret) *failure {
	claims := append(r.references.claims(types.NamespacedName{Namespace: obj.Namespace, Name: name}), claimOf(obj))
	owner := target.Owner(secret, claims)
	switch {
	case owner == obj.Name:
		return nil
	case secret == nil:
		return stalled(v1alpha1.ReasonTargetConflict,
			"PayUToken %q, which is older, has the same target Secret %q: name a different Secret in spec.target.name", owner, name)
	case owner != "" && r.exists(ctx, obj.Namespace, owner):
		return stalled(v1alpha1.ReasonTargetConflict,
			"Secret %q belongs to PayUToken %q: name a different Secret in spec.target.name", name, owner)
	case owner != "":
		return stalled(v1alpha1.ReasonTargetConflict,
			"Secret %q belongs to PayUToken %q, which does not exist: delete the Secret, or name a different Secret in spec.target.name", name, owner)
	default:
		return stalled(v1alpha1.ReasonTargetConflict,
			"Secret %q exists and does not belong to this PayUToken: name a different Secret in spec.target.name, or delete this one if nothing else needs it", name)
	}
}

func (r *Reconciler) exists(ctx context.Context, namespace, name string) bool {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	if !apierrors.IsNotFound(r.Client.Get(ctx, key, &v1alpha1.PayUToken{})) {
		return true
	}
	return !apierrors.IsNotFound(r.Live.Get(ctx, key, &v1alpha1.PayUToken{})) // another shard's
}
