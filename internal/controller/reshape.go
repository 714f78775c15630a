package controller

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// reshape puts the type, labels, annotations and owner of the target right, around the data that it has. A refusal is
// reported in the condition Stalled alone: the token is as good as before.
func (r *Reconciler) reshape(ctx context.Context, o *observation) *failure {
	live, f := r.unchanged(ctx, o)
	if f != nil {
		return o.noteShape(f)
	}
	if o.held.Edited && !o.record.takeRepair(o) {
		return nil // the record says why
	}
	secret := o.desired.Resealed(live, o.held, o.keys.seal)
	secret.Data = ownedPart(live).Data
	written, err := r.patch(ctx, o, secret)
	if err == nil {
		return r.reshaped(ctx, o, written)
	}
	if f = o.noteShape(o.classify(err)); f == nil {
		r.reown(ctx, o, live)
	}
	return f
}

// noteShape has a failed write of the shape repeated later. The condition Stalled tells of it, and so it is no failure of
// the pass.
func (o *observation) noteShape(f *failure) *failure {
	if f == nil || f == conflict || f == namespaceGone {
		return f
	}
	o.record.shape = o.record.shape.refused(o, f)
	return nil
}

// reown puts the owner of a target right whose shape is refused: it decides whether the Secret goes with its PayUToken. If
// that is refused, too, the shape's refusal says why. It reports whether it is right then.
func (r *Reconciler) reown(ctx context.Context, o *observation, live *corev1.Secret) bool {
	if o.desired.IsOwnedAsAsked(live) {
		return true
	}
	asItIs := ownedPart(live)
	asItIs.OwnerReferences = o.desired.Owners()
	written, err := r.patch(ctx, o, asItIs)
	if err != nil {
		return false
	}
	r.complete(ctx, o, written)
	f := r.disown(ctx, o)
	o.record.shape.target = o.targetVersion()
	return f == nil
}

// disown removes the owner reference that another field manager (a backup tool) has written back: an apply leaves it alone.
func (r *Reconciler) disown(ctx context.Context, o *observation) *failure {
	if o.desired.IsOwnedAsAsked(o.secret) || len(o.desired.Owners()) > 0 {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(o.secret.OwnerReferences), func(owner metav1.OwnerReference) bool { return owner.UID == o.obj.UID })
	return r.merge(ctx, o, map[string]any{"metadata": map[string]any{"resourceVersion": o.targetVersion(), "ownerReferences": others}})
}

func (r *Reconciler) reshaped(ctx context.Context, o *observation, written *corev1.Secret) *failure {
	if o.held.Edited {
		o.wrote = v1alpha1.EventRepaired
		o.record.noteRepair(o.now)
	}
	o.record.shape = attempt{}
	r.complete(ctx, o, written)
	return o.noteShape(r.disown(ctx, o))
}
