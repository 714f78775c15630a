package controller

import (
	"context"
	"errors"
	"sync"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
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

// handOn reconciles those that have not dealt with the outcome of the last request yet: each namespace by itself, since a
// webhook of one may hang. It does not wait longer than ctx.
func (r *Reconciler) handOn(ctx context.Context) {
	byNamespace := map[string][]grant.Member{}
	for _, name := range r.Grants.Unsettled() {
		byNamespace[name.Namespace] = append(byNamespace[name.Namespace], name)
	}
	var all sync.WaitGroup
	for _, names := range byNamespace {
		all.Go(func() { r.handOnTo(ctx, names) })
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (r *Reconciler) handOnTo(ctx context.Context, names []grant.Member) {
	for _, name := range names {
		_, err := r.pass(ctx, name)
		switch {
		case errors.Is(err, ErrNamespaceDown):
			r.Grants.Excuse(name)
		case err != nil:
			log.FromContext(ctx).Error(err, "Handing on a token while stopping", "namespace", name.Namespace, "name", name.Name)
		}
	}
}
