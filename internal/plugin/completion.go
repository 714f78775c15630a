package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// completionPatience limits how long the user waits after pressing Tab.
const completionPatience = 3 * time.Second

// forKubectl is the script that kubectl's completion runs for "kubectl payutoken", if it is in PATH.
const forKubectl = `#!/bin/sh
# kubectl runs this script to complete the words after "kubectl payutoken". Save it as kubectl_complete-payutoken in a
# folder of PATH, and make it executable.
exec kubectl-payutoken __complete "$@"
`

// addCompletion adds the command completion, with a subcommand for each of cobra's shells and for kubectl.
func (p *plugin) addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd("completion")
	command, _, _ := root.Find([]string{"completion"})
	command.Args, command.RunE = noSuchCommand, func(command *cobra.Command, _ []string) error { return command.Help() }
	command.Short = "Print shell completion, for kubectl or a shell"
	command.Long = command.Short + `.

kubectl's own completion completes "kubectl payutoken" if the program kubectl_complete-payutoken is in PATH:

  kubectl payutoken completion kubectl > ~/.local/bin/kubectl_complete-payutoken
  chmod +x ~/.local/bin/kubectl_complete-payutoken

The other subcommands are for kubectl-payutoken when you run it by that name.`
	command.AddCommand(&cobra.Command{
		Use:   "kubectl",
		Short: "Print the script kubectl_complete-payutoken",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.Out, "%s", forKubectl)
			return err
		},
	})
	completeFlag(root, "namespace", p.completeNamespaces)
	completeFlag(root, "context", p.completeContexts)
	for _, command := range root.Commands() {
		if command.Flag("output") == nil {
			continue
		}
		formats := []string{"json", "yaml", "name"}
		switch command.Name() {
		case "list":
			formats = append(formats, "wide")
		case "status":
			formats = []string{"json", "yaml"}
		}
		completeFlag(command, "output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	}
}

func completeFlag(command *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := command.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // there is no such flag
	}
}

// completeNames completes the names of PayUTokens that are not among the arguments yet.
func (p *plugin) completeNames(command *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	names := p.complete(command.Context(), &v1alpha1.PayUTokenList{}, typed)
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeName completes one name.
func (p *plugin) completeName(command *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.completeNames(command, args, typed)
}

func (p *plugin) completeNamespaces(command *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return p.complete(command.Context(), &corev1.NamespaceList{}, typed), cobra.ShellCompDirectiveNoFileComp
}

// complete returns the names of objects that begin with the typed text, or none if the API server cannot list them.
func (p *plugin) complete(ctx context.Context, list client.ObjectList, typed string) (names []string) {
	c, err := p.connect()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	if err := c.List(ctx, list, client.InNamespace(c.namespace)); err != nil {
		return nil
	}
	_ = meta.EachListItem(list, func(o runtime.Object) error {
		if name := o.(client.Object).GetName(); strings.HasPrefix(name, typed) {
			names = append(names, name)
		}
		return nil
	})
	return names
}

func (p *plugin) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	config, err := p.kube.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(config.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
