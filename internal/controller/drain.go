package controller

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// drain waits until the operator is to stop, lets the requests in flight end, and then reconciles itself the PayUTokens
// that no worker takes from the queue any more: a token that PayU gave at the last moment still reaches its Secrets.
func (r *Reconciler) drain(ctx context.Context) error {
	if err := r.Grants.Drain(ctx); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(context.WithoutCancel(ctx), drainPause, drainPatience, true, func(ctx context.Context) (bool, error) {
		r.handOn(ctx)
		return len(r.Grants.Unsettled()) == 0, nil
	})
}

// handOn reconciles those that have not dealt with the outcome of the last request yet.
func (r *Reconciler) handOn(ctx context.Context) {
	for _, name := range r.Grants.Unsettled() {
		_, err := r.pass(ctx, name)
		switch {
		case errors.Is(err, ErrNamespaceDown):
			r.Grants.Excuse(name)
		case err != nil:
			log.FromContext(ctx).Error(err, "Handing on a token while stopping", "namespace", name.Namespace, "name", name.Name)
		}
	}
}
