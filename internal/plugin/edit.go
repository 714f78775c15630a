package plugin

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// edit is what the commands that change PayUTokens share.
type edit struct {
	*plugin
	selection
	print *genericclioptions.PrintFlags
}

func (p *plugin) newEdit() *edit {
	return &edit{plugin: p, print: genericclioptions.NewPrintFlags("").WithTypeSetter(scheme)}
}

func (e *edit) addFlags(command *cobra.Command) {
	e.selection.addFlags(command)
	addPrintFlags(command, e.print)
}

// addPrintFlags adds -o and related flags. The help hides the rare ones.
func addPrintFlags(command *cobra.Command, print *genericclioptions.PrintFlags) {
	print.AddFlags(command)
	for _, rare := range []string{"template", "allow-missing-template-keys", "show-managed-fields"} {
		command.Flag(rare).Hidden = true
	}
}

// start validates the flags and finds the PayUTokens: if one is missing, none is changed.
func (e *edit) start(ctx context.Context, names []string) (*cluster, []v1alpha1.PayUToken, error) {
	if err := e.validate(names); err != nil {
		return nil, nil, err
	}
	if _, err := e.print.ToPrinter(); err != nil {
		return nil, nil, err
	}
	c, err := e.connect()
	if err != nil {
		return nil, nil, err
	}
	tokens, err := e.find(ctx, c)
	return c, tokens, err
}

// say prints the operation, as kubectl does, or the PayUToken in the format of -o.
func (e *edit) say(token *v1alpha1.PayUToken, operation string) error {
	if e.allNamespaces {
		operation += " in namespace " + token.Namespace
	}
	e.print.NamePrintFlags.Operation = operation
	printer, err := e.print.ToPrinter()
	if err != nil {
		return err
	}
	return printer.PrintObj(token.DeepCopy(), e.Out)
}

// named returns the name of a PayUToken, with its namespace if several may have that name.
func (e *edit) named(token *v1alpha1.PayUToken) string {
	if e.allNamespaces {
		return fmt.Sprintf("PayUToken %q in namespace %q", token.Name, token.Namespace)
	}
	return fmt.Sprintf("PayUToken %q", token.Name)
}

// patch changes only what the patch contains.
func (c *cluster) patch(ctx context.Context, token *v1alpha1.PayUToken, patch any) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return c.Patch(ctx, token, client.RawPatch(types.MergePatchType, data), client.FieldOwner(name))
}
