package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// absent is a resourceVersion that no object has: applying with it creates the Secret or fails with a conflict.
const absent = "1"

// write writes the token of the source into the target.
func (r *Reconciler) write(ctx context.Context, o *observation) *failure {
	token := o.state.Token
	secret, err := o.desired.Secret(token, o.keys.seal)
	if err != nil {
		return stalled(v1alpha1.ReasonTemplateInvalid, "%v", err)
	}
	return o.noteRefusal(r.put(ctx, o, secret, o.markOf(token)))
}

// put applies the target, and notes what it holds then.
func (r *Reconciler) put(ctx context.Context, o *observation, secret *corev1.Secret, m mark) *failure {
	repair := m == o.record.mark
	if repair && o.record.isOverRepaired(o.now) {
		if _, f := r.unchanged(ctx, o); f != nil {
			return conflict // the cache may be behind, and the edit undone already
		}
	}
	if repair && !o.record.takeRepair(o) {
		return nil // the record says why
	}
	written, f := r.apply(ctx, o, secret)
	if f != nil {
		return f
	}
	if !holdsSameData(o.secret, written) {
		r.deliver(o)
	}
	o.wrote = v1alpha1.ConditionRefreshed
	if repair {
		o.wrote = v1alpha1.EventRepaired
		o.record.noteRepair(o.now)
	}
	o.record.mark, o.record.refusal = m, attempt{}
	o.record.leave(o.desired.Name)
	o.record.leftovers = o.desired.Leftovers(o.secret, written)
	r.complete(ctx, o, written)
	return r.removeLeftovers(ctx, o)
}

// removeLeftovers removes keys of a former template that another field manager (a backup tool) has written back: an apply leaves
// them alone, and they hold an old token.
func (r *Reconciler) removeLeftovers(ctx context.Context, o *observation) *failure {
	if len(o.record.leftovers) == 0 || o.foreign != nil || o.secret == nil {
		return nil
	}
	remove := map[string]any{}
	for _, key := range o.record.leftovers {
		remove[key] = nil
	}
	f := r.merge(ctx, o, map[string]any{"metadata": map[string]any{"resourceVersion": o.targetVersion()}, "data": remove})
	if f == nil {
		o.record.leftovers = nil
	}
	return f
}

// merge changes what an apply cannot, because another field manager has it, too.
func (r *Reconciler) merge(ctx context.Context, o *observation, change map[string]any) *failure {
	patch, err := json.Marshal(change)
	if err != nil {
		return failedTo("write", o.desired.Name, err)
	}
	written := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.obj.Namespace, Name: o.desired.Name}}
	err = r.Client.Patch(ctx, written, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(v1alpha1.ManagedBy))
	o.notePace(err)
	if err != nil {
		return o.classify(err)
	}
	r.complete(ctx, o, written)
	return nil
}

// noteRefusal keeps a refused write from being repeated at full speed.
func (o *observation) noteRefusal(f *failure) *failure {
	if f != nil && f.reason == v1alpha1.ReasonTargetWriteFailed && f.stalled {
		o.record.refusal = o.record.refusal.refused(o, f)
	}
	return f
}

// apply sends the whole target in one server-side apply, on the condition that the Secret is still the one that the
// decision was made from, and returns what the API server has then. Where it does not take the Secret in its new shape, it
// is applied in the shape that it has: what concerns only the shape never keeps the data from being renewed.
func (r *Reconciler) apply(ctx context.Context, o *observation, secret *corev1.Secret, options ...client.PatchOption) (*corev1.Secret, *failure) {
	isDryRun := len(options) > 0
	written, err := r.patch(ctx, o, secret, options...)
	if err != nil && !isConflict(err) && !isGone(err) && o.secret != nil && !o.held.InShape {
		refusal := o.classify(err)
		written, f := r.applyAsItIs(ctx, o, secret, options...)
		switch {
		case f != nil && f.stalled:
			f = refusal
		case f == nil && !isDryRun:
			o.record.shape = o.record.shape.refused(o, refusal)
			o.record.shape.target = written.ResourceVersion
		}
		return written, f
	}
	if err != nil {
		return nil, o.classify(err)
	}
	if !isDryRun {
		o.record.shape = attempt{}
	}
	return written, nil
}

// applyAsItIs applies the data of a Secret in the shape that the one on the API server has.
func (r *Reconciler) applyAsItIs(ctx context.Context, o *observation, secret *corev1.Secret, options ...client.PatchOption) (*corev1.Secret, *failure) {
	live, f := r.unchanged(ctx, o)
	if f != nil {
		return nil, f
	}
	asItIs := ownedPart(live)
	asItIs.Data = secret.Data
	maps.Copy(asItIs.Annotations, o.desired.Unshaped(live, secret))
	written, err := r.patch(ctx, o, asItIs, options...)
	if err != nil {
		return nil, o.classify(err)
	}
	return written, nil
}

// notePace notes how the API server answered a write.
func (o *observation) notePace(err error) {
	switch {
	case isDeadline(err):
		o.pace = hung
	case o.pace != hung:
		o.pace = brisk
	}
}

// patch sends one apply. The API server answers a patch in protobuf, and client.Apply in JSON, which is more work for both.
func (r *Reconciler) patch(ctx context.Context, o *observation, secret *corev1.Secret, options ...client.PatchOption) (*corev1.Secret, error) {
	secret = secret.DeepCopy()
	secret.UID, secret.ResourceVersion = "", absent
	if o.secret != nil {
		secret.UID, secret.ResourceVersion = o.secret.UID, o.secret.ResourceVersion
	}
	whole, err := json.Marshal(secret)
	if err != nil {
		return nil, err
	}
	err = r.Client.Patch(ctx, secret, client.RawPatch(types.ApplyPatchType, whole), append(options, client.FieldOwner(v1alpha1.ManagedBy), client.ForceOwnership)...)
	o.notePace(err)
	return secret, err
}

// holdsSameData reports whether a write has left the data of a Secret as they were.
func holdsSameData(before, after *corev1.Secret) bool {
	return before != nil && maps.EqualFunc(before.Data, after.Data, bytes.Equal)
}
