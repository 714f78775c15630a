// Package plugin is kubectl payutoken: what people ask of PayUTokens, and do with them, from a terminal. It gathers and
// acts; package screen writes what people read.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/utils/clock"
)

// name is the program's, and the field manager of what it writes.
const name = "kubectl-payutoken"

// exit is an exit code, as an error of which all is said that there is to say.
type exit int

const (
	exitFailed      exit = 1   // it could not be done
	exitNotWell     exit = 2   // it was done, and found trouble
	exitTimedOut    exit = 3   // no outcome within --timeout
	exitInterrupted exit = 130 // by Ctrl-C, as a shell has it
)

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Env is the world around the plugin.
type Env struct {
	genericiooptions.IOStreams
	Clock clock.WithTicker
	// Terminal is what Out is shown on; nil if it goes into a file or another program.
	Terminal *Terminal
	// Version is printed by the command version, and told to the servers that are asked.
	Version, VersionText string
}

// Terminal is a screen.
type Terminal struct {
	Colour bool
	// Size returns the width and height in characters.
	Size func() (width, height int)
}

// plugin is what all commands share.
type plugin struct {
	Env
	kube *genericclioptions.ConfigFlags
}

// Run runs a command line and returns the exit code.
func Run(ctx context.Context, env Env, args []string) int {
	p := &plugin{Env: env, kube: genericclioptions.NewConfigFlags(true)}
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := exitFailed
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		code = exitInterrupted
	case !errors.As(err, &code):
		p.complain(err)
	}
	return int(code)
}

// complain says what went wrong, in one line.
func (p *plugin) complain(err error) {
	line := strings.Join(strings.Fields(explain(err)), " ")
	fmt.Fprintf(p.ErrOut, "error: %s\n", printers.EscapeTerminal(line))
}

const help = `Ask for PayUTokens, understand them and act on them.

A PayUToken keeps a PayU access token in a Secret: see https://github.com/payu-token-operator/payu-token-operator.

Exit codes:
  0    done and, where a command judges something (status, refresh --wait, check), all is well
  1    not done: bad flags, no such PayUToken, no permission, no answer, ...
  2    done, and not well: no valid token (status), no new one (refresh --wait), a manifest or client that does not work (check)
  3    no outcome within --timeout
  130  interrupted`

func (p *plugin) root() *cobra.Command {
	root := &cobra.Command{
		Use:           name,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl payutoken"},
		Short:         "Ask for PayUTokens, understand them and act on them",
		Long:          help,
		Args:          noSuchCommand,
		RunE:          func(command *cobra.Command, _ []string) error { return command.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return fmt.Errorf("%w (%s --help explains the flags)", err, command.CommandPath())
	})
	p.addClusterFlags(root)
	root.AddCommand(p.list(), p.status(), p.refresh(), p.suspend(), p.resume(), p.check(), p.create(), p.version())
	p.addCompletion(root)
	return root
}

// noSuchCommand refuses the arguments of a command that is nothing but its subcommands.
func noSuchCommand(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := command.CommandPath() + " --help lists the commands"
	if similar := command.SuggestionsFor(args[0]); len(similar) > 0 {
		hint = "did you mean " + strings.Join(similar, " or ") + "?"
	}
	return fmt.Errorf("unknown command %q: %s", args[0], hint)
}

// addClusterFlags adds the flags that kubectl has for finding a cluster. The help shows those that people use.
func (p *plugin) addClusterFlags(root *cobra.Command) {
	p.kube.CacheDir = nil // nothing is kept on disk
	flags := root.PersistentFlags()
	p.kube.AddFlags(flags)
	shown := []string{"namespace", "context", "kubeconfig"}
	flags.VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(shown, f.Name) })
}
