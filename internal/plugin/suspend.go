package plugin

import (
	"context"

	"github.com/spf13/cobra"
)

func (p *plugin) suspend() *cobra.Command {
	o := p.newEdit()
	command := &cobra.Command{
		Use:   "suspend (NAME... | -l LABELS | --all)",
		Short: "Stop requests and writes for PayUTokens",
		Long: `Stop requests to PayU and writes of the Secret, by spec.suspend. The token that is there stays, and is not renewed.

Where the PayUToken comes from Git, set it there. Flux undoes this at its next reconciliation even if Git says nothing of
spec.suspend; Argo CD undoes it only if Git does.`,
		Example:           "  kubectl payutoken suspend payment-links -n shop",
		ValidArgsFunction: p.completeNames,
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), args, map[string]any{"suspend": true}, "suspended")
		},
	}
	o.addFlags(command)
	return command
}

func (p *plugin) resume() *cobra.Command {
	o := p.newEdit()
	command := &cobra.Command{
		Use:   "resume (NAME... | -l LABELS | --all)",
		Short: "Go on with PayUTokens that were suspended",
		Long: `Go on with PayUTokens that were suspended: spec.suspend is taken out.

Where Git says what spec.suspend is, set it there: whatever applies the manifest would undo this.`,
		Example:           "  kubectl payutoken resume --all -n shop",
		ValidArgsFunction: p.completeNames,
		RunE: func(command *cobra.Command, args []string) error {
			return o.run(command.Context(), args, map[string]any{"suspend": nil}, "resumed")
		},
	}
	o.addFlags(command)
	return command
}

func (e *edit) run(ctx context.Context, names []string, spec map[string]any, operation string) error {
	c, tokens, err := e.start(ctx, names)
	if err != nil {
		return err
	}
	for i := range tokens {
		if err := c.patch(ctx, &tokens[i], map[string]any{"spec": spec}); err != nil {
			return err
		}
		if err := e.say(&tokens[i], operation); err != nil {
			return err
		}
	}
	return nil
}
