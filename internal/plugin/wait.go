package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
)

func (p *plugin) wait() *cobra.Command {
	w := &waiter{edit: p.newEdit()}
	w.outcome = w.ready
	command := &cobra.Command{
		Use:   "wait (NAME... | -l LABELS | --all)",
		Short: "Wait until PayUTokens are ready, or a person must act",
		Long: `Wait until the Secrets of PayUTokens hold valid tokens for the current specs. If a person must act first, the command does not
wait: it prints the reason, and the exit code is 2. It is 3 if a PayUToken is not ready within --timeout.`,
		Example: `  kubectl payutoken wait payment-links -n shop
  kubectl payutoken wait --all --timeout=2m`,
		ValidArgsFunction: p.completeNames,
		RunE:              func(command *cobra.Command, args []string) error { return w.run(command.Context(), args) },
	}
	w.addFlags(command)
	command.Flags().DurationVar(&w.timeout, "timeout", time.Minute, "how long to wait")
	return command
}

// waiter waits until each of some PayUTokens has an outcome.
type waiter struct {
	*edit
	timeout time.Duration
	// outcome reports whether a PayUToken, as it is now, has one, and prints it or returns it as an error.
	outcome func(now *v1alpha1.PayUToken) (done bool, err error)
}

func (w *waiter) run(ctx context.Context, names []string) error {
	if w.timeout <= 0 {
		return errors.New("--timeout must be greater than 0")
	}
	c, tokens, err := w.start(ctx, names)
	if err != nil {
		return err
	}
	waiting := make([]*v1alpha1.PayUToken, len(tokens))
	for i := range tokens {
		waiting[i] = &tokens[i]
	}
	return w.await(ctx, c, waiting)
}

// ready is the outcome that the command wait is for.
func (w *waiter) ready(now *v1alpha1.PayUToken) (done bool, err error) {
	verdict := screen.Judge(now, w.Clock.Now())
	switch {
	case now.Status.ObservedGeneration != now.Generation:
		return false, nil
	case verdict.Health == screen.Failed:
		return true, fmt.Errorf("%s is not ready, and a person must act: %s: %s", w.named(now), verdict.Reason, verdict.Message)
	case verdict.Valid:
		return true, w.say(now, "ready")
	default:
		return false, nil
	}
}

// await prints each outcome as soon as it is known.
func (w *waiter) await(ctx context.Context, c *cluster, waiting []*v1alpha1.PayUToken) error {
	within, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	feed, err := c.follow(within, w.options(c)...)
	switch {
	case err != nil && within.Err() != nil:
		return w.giveUp(ctx, nil, waiting)
	case err != nil:
		return err
	}
	failed := false
	for {
		var bad bool
		waiting, bad = w.report(feed, waiting)
		failed = failed || bad
		switch {
		case len(waiting) == 0 && failed:
			return exitNotWell
		case len(waiting) == 0:
			return nil
		}
		select {
		case <-feed.changed:
		case err := <-feed.trouble:
			if isFinal(err) {
				return err
			}
		case <-within.Done():
			return w.giveUp(ctx, feed, waiting)
		}
	}
}

// report prints outcomes, and returns the PayUTokens that have none yet.
func (w *waiter) report(feed *feed, waiting []*v1alpha1.PayUToken) (open []*v1alpha1.PayUToken, failed bool) {
	for _, token := range waiting {
		done, err := true, fmt.Errorf("%s was deleted", w.named(token))
		if now := feed.token(token); now != nil {
			done, err = w.outcome(now)
		}
		if err != nil {
			w.complain(err)
			failed = true
		}
		if !done {
			open = append(open, token)
		}
	}
	return open, failed
}

// giveUp says why there may be no outcome, unless the user interrupted. The feed may be nil.
func (w *waiter) giveUp(ctx context.Context, feed *feed, waiting []*v1alpha1.PayUToken) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, token := range waiting {
		w.complain(fmt.Errorf("no result for %s within %s: %s", w.named(token), w.timeout, excuse(feed, token)))
	}
	return exitTimedOut
}

// excuse says why there may be no outcome yet.
func excuse(feed *feed, token *v1alpha1.PayUToken) string {
	now := token
	if feed != nil {
		now = feed.token(token)
	}
	if now == nil {
		return "it was deleted"
	}
	if c := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionRefreshed); c != nil && c.Status == metav1.ConditionFalse {
		return fmt.Sprintf("%s: %s", c.Reason, c.Message)
	}
	return fmt.Sprintf("check that the operator runs, and watches namespace %q", token.Namespace)
}
