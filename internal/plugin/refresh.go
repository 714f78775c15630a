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
)

type refreshOptions struct {
	*edit
	wait    bool
	timeout time.Duration
	// request is the value of the annotation, which the operator echoes once it has handled it.
	request string
}

func (p *plugin) refresh() *cobra.Command {
	o := &refreshOptions{edit: p.newEdit()}
	command := &cobra.Command{
		Use:        "refresh (NAME... | -l LABELS | --all)",
		SuggestFor: []string{"renew", "rotate"},
		Short:      "Request new tokens now",
		Long: `Request new tokens now, with the annotation ` + v1alpha1.AnnotationRefreshRequestedAt + `.

With --wait, wait for the results: the exit code is 2 if a PayUToken got no new token, and 3 if one has no result within
--timeout.`,
		Example: `  kubectl payutoken refresh payment-links --wait
  kubectl payutoken refresh --all -A`,
		ValidArgsFunction: p.completeNames,
		RunE: func(command *cobra.Command, args []string) error {
			if command.Flags().Changed("timeout") && !o.wait {
				return errors.New("--timeout has no meaning without --wait: add --wait")
			}
			return o.run(command.Context(), args)
		},
	}
	o.addFlags(command)
	command.Flags().BoolVar(&o.wait, "wait", false, "wait until the operator has handled the request, and print the result")
	command.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait with --wait")
	return command
}

func (o *refreshOptions) run(ctx context.Context, names []string) error {
	if o.timeout <= 0 {
		return errors.New("--timeout must be greater than 0")
	}
	c, tokens, err := o.start(ctx, names)
	if err != nil {
		return err
	}
	asked, err := o.ask(ctx, c, tokens)
	if err == nil && o.wait && len(asked) > 0 {
		err = (&waiter{edit: o.edit, timeout: o.timeout, outcome: o.outcome}).await(ctx, c, asked)
	}
	if err == nil && len(asked) < len(tokens) {
		return exitFailed
	}
	return err
}

// ask requests new tokens. It skips suspended PayUTokens, for which nothing would happen.
func (o *refreshOptions) ask(ctx context.Context, c *cluster, tokens []v1alpha1.PayUToken) (asked []*v1alpha1.PayUToken, err error) {
	o.request = o.Clock.Now().UTC().Format(time.RFC3339Nano)
	annotations := map[string]string{v1alpha1.AnnotationRefreshRequestedAt: o.request}
	patch := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	for i := range tokens {
		token := &tokens[i]
		if token.Spec.Suspend {
			o.complain(fmt.Errorf("PayUToken %q in namespace %q is suspended: resume it first", token.Name, token.Namespace))
			continue
		}
		if err := c.patch(ctx, token, patch); err != nil {
			return nil, err
		}
		asked = append(asked, token)
		if o.wait {
			continue
		}
		if err := o.say(token, "refresh requested"); err != nil {
			return nil, err
		}
	}
	return asked, nil
}

// outcome reports whether the request was handled, and prints the result or returns it as an error.
func (o *refreshOptions) outcome(now *v1alpha1.PayUToken) (done bool, err error) {
	if now.Status.LastHandledRefreshAt != o.request {
		return false, nil
	}
	switch c := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionRefreshed); {
	case c == nil: // the operator always sets it
		return false, nil
	case c.Status != metav1.ConditionTrue:
		return true, fmt.Errorf("%s got no new token: %s: %s", o.named(now), c.Reason, c.Message)
	case c.Reason == v1alpha1.ReasonTokenReused:
		return true, o.say(now, "unchanged: "+c.Message)
	default:
		return true, o.say(now, "refreshed")
	}
}
