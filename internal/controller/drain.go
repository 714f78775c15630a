package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	byNamespace := map[string][]grant.Member{}
	for _, name := range r.Grants.Unsettled() {
		byNamespace[name.Namespace] = append(byNamespace[name.Namespace], name)
	}
	for _, names := range byNamespace {
		all.Go(func() { r.handOn(ctx, names) })
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

// handOn reconciles those of one namespace, since a webhook of another may hang, until all have dealt with the outcome of the last
// request.
func (r *Reconciler) handOn(ctx context.Context, names []grant.Member) {
	_ = wait.PollUntilContextCancel(ctx, drainPause, true, func(ctx context.Context) (bool, error) {
		r.handOnOnce(ctx, names)
		names = slices.DeleteFunc(names, r.Grants.IsSettled)
		return len(names) == 0, nil
	}) // what is left is counted
}

func (r *Reconciler) handOnOnce(ctx context.Context, names []grant.Member) {
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
