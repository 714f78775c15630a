// Package plugin implements kubectl payutoken, which inspects, checks and refreshes PayUTokens. It reads and changes
// objects; package screen formats what people read.
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

// name is the name of the program, and the field manager of its writes.
const name = "kubectl-payutoken"

// exit carries an exit code; everything has been printed already.
type exit int

const (
	exitFailed      exit = 1   // the command failed
	exitNotWell     exit = 2   // it succeeded, and found a problem
	exitTimedOut    exit = 3   // no outcome within --timeout
	exitInterrupted exit = 130 // by Ctrl-C, as in a shell
)

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Env is the world around the plugin.
type Env struct {
	genericiooptions.IOStreams
	Clock clock.WithTicker
	// Terminal shows Out; nil if Out is a file or a pipe.
	Terminal *Terminal
	// VersionText is the output of the command version, Version part of the user agent.
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

// complain prints an error in one line.
func (p *plugin) complain(err error) {
	line := strings.Join(strings.Fields(explain(err)), " ")
	fmt.Fprintf(p.ErrOut, "error: %s\n", printers.EscapeTerminal(line))
}

const help = `Inspect, check and refresh PayUTokens.

A PayUToken keeps a PayU access token in a Secret: see https://github.com/payu-token-operator/payu-token-operator.

Exit codes:
  0    success; status, wait, refresh --wait and check found no problem
  1    failure: bad flags, no such PayUToken, no permission, no response, ...
  2    a problem was found: no valid token (status), none without a person's help (wait), no new token (refresh --wait), a manifest
       or client that does not work (check)
  3    no result within --timeout
  130  interrupted`

func (p *plugin) root() *cobra.Command {
	root := &cobra.Command{
		Use:           name,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl payutoken"},
		Short:         "Inspect, check and refresh PayUTokens",
		Long:          help,
		Args:          noSuchCommand,
		RunE:          func(command *cobra.Command, _ []string) error { return command.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,
		Version:                    p.VersionText,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return fmt.Errorf("%w (%s --help explains the flags)", err, command.CommandPath())
	})
	p.addClusterFlags(root)
	root.AddCommand(p.list(), p.status(), p.wait(), p.refresh(), p.suspend(), p.resume(), p.check(), p.create(), p.version())
	p.addCompletion(root)
	return root
}

// noSuchCommand refuses the arguments of a command that only has subcommands.
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

// addClusterFlags adds kubectl's flags for the connection to a cluster. The help hides the rare ones.
func (p *plugin) addClusterFlags(root *cobra.Command) {
	p.kube.CacheDir = nil // nothing is cached on disk
	flags := root.PersistentFlags()
	p.kube.AddFlags(flags)
	shown := []string{"namespace", "context", "kubeconfig", "as", "token", "server"}
	flags.VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(shown, f.Name) })
}
