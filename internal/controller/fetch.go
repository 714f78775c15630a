package controller

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// fetch begins a request for a new token, once it is known that the target can be written: where PayU revokes the
// previous token, one that cannot be written has ended the one that pods use. The pass after the request's end finds
// the token in the state of the source.
func (r *Reconciler) fetch(ctx context.Context, o *observation) *failure {
	if f := r.tryWrite(ctx, o); f != nil {
		return f
	}
	source, f := r.source(ctx, o)
	if f == nil && source.Key() == o.key { // else the credentials were changed: the event of that begins another pass
		o.adopt(r.Grants.Ask(ctx, client.ObjectKeyFromObject(o.obj), source, o.state.Ended))
	}
	return f
}

// tryWrite finds out whether the API server would accept the target.
func (r *Reconciler) tryWrite(ctx context.Context, o *observation) *failure {
	placeholder, err := o.desired.Secret(target.Placeholder(o.obj, o.now), o.keys.seal)
	if err != nil {
		return stalled(v1alpha1.ReasonTemplateInvalid, "%v", err)
	}
	_, f := r.apply(ctx, o, placeholder, client.DryRunAll)
	return o.noteRefusal(f)
}

// source returns what the token is made from. The credentials are read again unless this pass has read them.
func (r *Reconciler) source(ctx context.Context, o *observation) (payu.Source, *failure) {
	if o.read == nil {
		if _, o.read, o.unusable = r.credentials.read(ctx, o.obj, o.keys.version); o.unusable != nil {
			return payu.Source{}, o.unusable
		}
	}
	return payu.Source{Environment: string(o.obj.Spec.Environment), Credentials: *o.read, Scopes: target.Scopes(o.obj)}, nil
}
