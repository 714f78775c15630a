package controller

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// formerTarget is the Secret that was the target before spec.target.name was changed.
type formerTarget struct {
	name   string
	secret *corev1.Secret // nil if it is gone, or is not this PayUToken's
	unread *failure       // why it could not be read, nil if it was
	held   target.Held
	wrote  string // as that of the observation
	failed bool   // the API server did not answer when it was to be renewed
}

// findFormer finds the former target: of several, the one that the status names. What a cache does not show is looked for once
// more, since the cache may be behind.
func (r *Reconciler) findFormer(ctx context.Context, o *observation) {
	r.findLost(ctx, o)
	for _, name := range append([]string{o.obj.Status.SecretName}, o.record.left...) {
		if name == "" || name == o.obj.TargetName() {
			continue
		}
		if o.former = r.formerTarget(ctx, o.obj, name, r.target); o.former.isGone() {
			o.former = r.formerTarget(ctx, o.obj, name, r.liveTarget)
		}
		if !o.former.isGone() {
			return
		}
		o.record.left = slices.DeleteFunc(slices.Clone(o.record.left), func(gone string) bool { return gone == name })
	}
	o.former = formerTarget{}
}

// findLost finds, at a process's first look at a PayUToken, Secrets of its own that a former process could not note in the status.
func (r *Reconciler) findLost(ctx context.Context, o *observation) {
	status := o.obj.Status
	if o.record.looked || status.ObservedGeneration == o.obj.Generation && status.SecretName == o.obj.TargetName() {
		o.record.looked = true
		return
	}
	var own corev1.SecretList
	if err := r.Client.List(ctx, &own, client.InNamespace(o.obj.Namespace), client.MatchingLabels{v1alpha1.LabelTokenUID: string(o.obj.UID)}); err != nil {
		return
	}
	o.record.looked = true
	for _, secret := range own.Items {
		o.record.leave(secret.Name)
	}
}

func (f formerTarget) isGone() bool { return f.secret == nil && f.unread == nil }

// formerTarget returns the former target of a name; without a Secret if it is gone, or is not this PayUToken's.
func (r *Reconciler) formerTarget(ctx context.Context, obj *v1alpha1.PayUToken, name string, read readSecret) formerTarget {
	key := types.NamespacedName{Namespace: obj.Namespace, Name: name}
	secret, err := read(ctx, key)
	if err != nil {
		return formerTarget{name: name, unread: failedTo("read", name, err)}
	}
	if secret == nil || target.Owner(secret, append(r.references.claims(key), claimOf(obj))) != obj.Name {
		return formerTarget{name: name}
	}
	return formerTarget{name: name, secret: secret}
}

// renewFormer keeps the former target fresh while the present one cannot be written.
func (r *Reconciler) renewFormer(ctx context.Context, o *observation) {
	if o.former.secret == nil || o.isReady() {
		return
	}
	former := o.ofFormer()
	f := r.actOnToken(ctx, &former, decide(former)) // it is told of once the present target can be written
	o.tookCareOf(former)
	o.former.failed = f.isTransient()
}

// ofFormer returns the observation as it would be if the former target were the present one.
func (o *observation) ofFormer() observation {
	former := *o
	former.desired, former.template = desiredOf(o.obj, o.former.name)
	former.secret, former.held, former.foreign, former.former = o.former.secret, o.former.held, nil, formerTarget{}
	former.record.refusal = o.record.former
	return former
}

// tookCareOf takes over what became of the former target.
func (o *observation) tookCareOf(former observation) {
	o.state, o.pace = former.state, former.pace
	o.former.secret, o.former.held = former.secret, former.held
	if former.wrote != "" {
		o.former.wrote = former.wrote
	}
	o.record.former = former.record.refusal
	o.record.mark, o.record.repairs, o.record.fight = former.record.mark, former.record.repairs, former.record.fight
}

// reownFormer has the owner of the former target agree with the deletion policy, as long as there is one.
func (r *Reconciler) reownFormer(ctx context.Context, o *observation) {
	if o.former.secret == nil {
		return
	}
	former := o.ofFormer()
	if former.desired.IsOwnedAsAsked(former.secret) || former.record.fights(former) || !former.record.takeRepair(&former) {
		return
	}
	if live, f := r.unchanged(ctx, &former); f != nil || !r.reown(ctx, &former, live) {
		o.former.failed, o.pace = true, former.pace
		return
	}
	former.record.noteRepair(former.now)
	o.tookCareOf(former)
}

// removeFormer removes the former target, once the present one holds a token.
func (r *Reconciler) removeFormer(ctx context.Context, o *observation) *failure {
	if o.former.secret == nil || !o.isReady() {
		return nil
	}
	secret := o.former.secret
	same := client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}
	err := r.Client.Delete(ctx, &corev1.Secret{ObjectMeta: secret.ObjectMeta}, same)
	if client.IgnoreNotFound(err) == nil && !isDenial(err) {
		o.record.left = slices.DeleteFunc(slices.Clone(o.record.left), func(name string) bool { return name == secret.Name })
		o.former = formerTarget{}
		return nil
	}
	if isConflict(err) {
		return conflict
	}
	f := failedTo("remove", o.former.name, err)
	f.transient = !f.stalled
	return f
}
