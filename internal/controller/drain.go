package controller

import (
	"context"
	"errors"
	"fmt"
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainPatience)
	defer cancel()
	var all sync.WaitGroup
	for namespace := range r.unsettled() {
		all.Go(func() { r.handOn(ctx, namespace) })
	}
	go func() {
		all.Wait()
		cancel()
	}()
	<-ctx.Done() // and no longer, though a write hangs
	if left := len(r.Grants.Unsettled()); left > 0 {
		return fmt.Errorf("%d PayUTokens were not handed their token", left)
	}
	return nil
}

// unsettled returns those that have not dealt with the outcome of the last request yet, by namespace.
func (r *Reconciler) unsettled() map[string][]grant.Member {
	byNamespace := map[string][]grant.Member{}
	for _, name := range r.Grants.Unsettled() {
		byNamespace[name.Namespace] = append(byNamespace[name.Namespace], name)
	}
	return byNamespace
}

// handOn reconciles those of a namespace, until all have dealt with the outcome. Each namespace is by itself, since a webhook of one
// may hang.
func (r *Reconciler) handOn(ctx context.Context, namespace string) {
	_ = wait.PollUntilContextCancel(ctx, drainPause, true, func(ctx context.Context) (bool, error) {
		r.handOnTo(ctx, r.unsettled()[namespace])
		return len(r.unsettled()[namespace]) == 0, nil
	}) // what is left is counted
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
