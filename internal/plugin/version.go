package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// operatorLabels select the pods of operators, however they were installed.
var operatorLabels = client.MatchingLabels{"app.kubernetes.io/name": "payu-token-operator"}

func (p *plugin) version() *cobra.Command {
	onlyPlugin := false
	command := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this plugin and of the operator",
		Long: `Print the version of this plugin, and the images of the operators that run in the cluster. If you are not allowed to list
pods in all namespaces, only those of the current namespace are looked at.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if _, err := fmt.Fprintf(p.Out, "%s\n", p.VersionText); err != nil || onlyPlugin {
				return err
			}
			return p.showOperators(command.Context())
		},
	}
	command.Flags().BoolVar(&onlyPlugin, "client", false, "only the version of this plugin: no request is sent")
	return command
}

// showOperators prints which operators run. That nobody can tell is no failure of the command.
func (p *plugin) showOperators(ctx context.Context) error {
	operators, err := p.operators(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		_, err = fmt.Fprintf(p.Out, "operator unknown: %s\n", explain(err))
		return err
	case len(operators) == 0:
		_, err = fmt.Fprintf(p.Out, "operator not found: no pod that you may see has the label app.kubernetes.io/name=payu-token-operator\n")
		return err
	}
	for _, line := range slices.Sorted(maps.Keys(operators)) {
		if _, err := fmt.Fprintf(p.Out, "operator %s, %d pods\n", line, operators[line]); err != nil {
			return err
		}
	}
	return nil
}

// operators counts the pods of operators by image and namespace.
func (p *plugin) operators(ctx context.Context) (map[string]int, error) {
	c, err := p.connect()
	if err != nil {
		return nil, err
	}
	pods := &corev1.PodList{}
	if err := c.List(ctx, pods, operatorLabels); err != nil {
		if c.List(ctx, pods, operatorLabels, client.InNamespace(c.namespace)) != nil {
			return nil, err
		}
	}
	operators := map[string]int{}
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			operators[fmt.Sprintf("%s in namespace %s", container.Image, pod.Namespace)]++
		}
	}
	return operators, nil
}
