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
	unread bool           // it could not be read
	held   target.Held
	wrote  string // as that of the observation
	failed bool   // the API server did not answer when it was to be renewed
}

// formerOf returns the former target of a PayUToken whose spec.target.name was changed: of several, the one that the status
// names. One that cannot be read is left for the next pass.
func (r *Reconciler) formerOf(ctx context.Context, obj *v1alpha1.PayUToken, left []string) formerTarget {
	for _, name := range append([]string{obj.Status.SecretName}, left...) {
		if name == "" || name == obj.TargetName() {
			continue
		}
		if former := r.formerTarget(ctx, obj, name, r.target); former.secret != nil || former.unread {
			return former
		}
	}
	return formerTarget{}
}

// formerTarget returns the former target of a name; without a Secret if it is gone, or is not this PayUToken's.
func (r *Reconciler) formerTarget(ctx context.Context, obj *v1alpha1.PayUToken, name string, read readSecret) formerTarget {
	key := types.NamespacedName{Namespace: obj.Namespace, Name: name}
	secret, err := read(ctx, key)
	if err != nil {
		return formerTarget{name: name, unread: true}
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
	former := *o
	former.desired, former.template = desiredOf(o.obj, o.former.name)
	former.secret, former.held, former.foreign, former.former = o.former.secret, o.former.held, nil, formerTarget{}
	former.record.refusal = o.record.former
	f := r.actOnToken(ctx, &former, decide(former)) // it is told of once the present target can be written
	owned := r.reownFormer(ctx, &former)
	o.state = former.state
	o.former.secret, o.former.held = former.secret, former.held
	o.former.wrote = former.wrote
	o.former.failed = f.isTransient() || !owned
	o.record.former = former.record.refusal
	o.record.mark, o.record.repairs, o.record.fight = former.record.mark, former.record.repairs, former.record.fight
}

// reownFormer has the owner of the former target agree with the deletion policy. It reports false if that is to be tried again
// soon.
func (r *Reconciler) reownFormer(ctx context.Context, former *observation) bool {
	if former.secret == nil || former.desired.IsOwnedAsAsked(former.secret) || former.record.fights(*former) || !former.record.takeRepair(former) {
		return true
	}
	former.record.noteRepair(former.now)
	live, err := r.liveTarget(ctx, former.targetKey())
	if err != nil || live == nil || live.ResourceVersion != former.targetVersion() {
		return false
	}
	r.reown(ctx, former, live)
	return true
}

// removeFormer removes the former target, once the present one holds a token.
func (r *Reconciler) removeFormer(ctx context.Context, o *observation) *failure {
	if o.former.secret == nil || !o.isReady() {
		return nil
	}
	secret := o.former.secret
	same := client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}
	err := r.Client.Delete(ctx, &corev1.Secret{ObjectMeta: secret.ObjectMeta}, same)
	if client.IgnoreNotFound(err) == nil {
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
