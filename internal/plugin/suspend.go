package plugin

import (
	"context"

	"github.com/spf13/cobra"
)

func (p *plugin) suspend() *cobra.Command {
	o := p.newEdit()
	command := &cobra.Command{
		Use:   "suspend (NAME... | -l LABELS | --all)",
		Short: "Suspend the renewal of PayUTokens",
		Long: `Suspend the renewal of PayUTokens with spec.suspend. The present token stays in the Secret until it expires.

If the PayUToken comes from Git, set spec.suspend there. Flux reverts this command at its next reconciliation even if Git
does not set spec.suspend; Argo CD reverts it only if Git sets it.`,
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
		Short: "Resume suspended PayUTokens",
		Long: `Resume suspended PayUTokens: remove spec.suspend.

If Git sets spec.suspend, change it there: the tool that applies the manifest would revert this command.`,
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
