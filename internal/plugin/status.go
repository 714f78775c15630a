package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

const (
	lastEvents = 5
	// widest is the maximum width of prose that is easy to read.
	widest = 100
)

func (p *plugin) status() *cobra.Command {
	output := ""
	command := &cobra.Command{
		Use:        "status NAME",
		SuggestFor: []string{"describe", "events", "show", "explain"},
		Short:      "Explain the state of one PayUToken, and what to do about it",
		Long: `Explain the state of one PayUToken: what it requests, what its Secret holds (names, never values), when the token was
fetched, expires and is renewed, which pods use it and whether renewals reach them, what happened, and what to do about a
problem.

The exit code is 2 if there is no valid token.`,
		Example:           "  kubectl payutoken status payment-links -n shop",
		Args:              oneName,
		ValidArgsFunction: p.completeName,
		RunE: func(command *cobra.Command, args []string) error {
			return p.runStatus(command.Context(), args[0], output)
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "", "json or yaml, for programs")
	return command
}

func oneName(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("give the name of one PayUToken")
	}
	return nil
}

func (p *plugin) runStatus(ctx context.Context, arg, output string) error {
	name, err := nameIn(arg)
	if err != nil {
		return err
	}
	encode, known := encodings[output]
	if !known {
		return fmt.Errorf("-o %s: status has the formats json and yaml", output)
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	token, err := c.token(ctx, name)
	if err != nil {
		return err
	}
	report, err := c.report(ctx, token)
	if err != nil {
		return err
	}
	now := p.Clock.Now()
	if encode == nil {
		err = p.show(screen.Status(report, now, p.width()))
	} else {
		err = p.showEncoded(screen.Summarize(report, now), encode)
	}
	if err != nil {
		return err
	}
	if !screen.Judge(token, now).Valid {
		return exitNotWell
	}
	return nil
}

// encodings are the formats for programs.
var encodings = map[string]func(any) ([]byte, error){"": nil, "json": marshalJSON, "yaml": yaml.Marshal}

func marshalJSON(o any) ([]byte, error) {
	content, err := json.MarshalIndent(o, "", "    ")
	return append(content, '\n'), err
}

func (p *plugin) showEncoded(o any, encode func(any) ([]byte, error)) error {
	content, err := encode(o)
	if err == nil {
		_, err = p.Out.Write(content)
	}
	return err
}

// width is that of prose.
func (p *plugin) width() int {
	if p.Terminal == nil {
		return widest
	}
	columns, _ := p.Terminal.Size()
	return min(widest, columns)
}

// report gathers what is known about a PayUToken. It leaves out what the user is not allowed to read.
func (c *cluster) report(ctx context.Context, token *v1alpha1.PayUToken) (screen.Report, error) {
	report := screen.Report{Token: token, Unseen: map[screen.Part]string{}}
	parts := map[screen.Part]func(context.Context, *screen.Report) error{
		screen.SecretPart: c.gatherSecret,
		screen.UsesPart:   c.gatherUses,
		screen.EventsPart: c.gatherEvents,
	}
	for part, gather := range parts {
		if err := gather(ctx, &report); ctx.Err() != nil {
			return report, err
		} else if err != nil {
			report.Unseen[part] = explain(err)
		}
	}
	c.gatherCredentials(ctx, &report)
	return report, ctx.Err()
}

// gatherCredentials finds what the credentials Secret is, without its values. Whoever may not see that may not write the Secret
// either, and the operator's message still tells.
func (c *cluster) gatherCredentials(ctx context.Context, report *screen.Report) {
	namespace, name := report.Token.Namespace, string(report.Token.Spec.CredentialsSecretRef.Name)
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret); err == nil {
		report.CredentialsExist, report.CredentialsFrom = true, toolOf(secret)
		report.CredentialsAreATarget = target.IsWritten(secret)
	}
	tokens := &v1alpha1.PayUTokenList{}
	_ = c.List(ctx, tokens, client.InNamespace(namespace))
	if slices.ContainsFunc(tokens.Items, func(t v1alpha1.PayUToken) bool { return t.TargetName() == name }) {
		report.CredentialsAreATarget = true
	}
}

// toolOf returns which tool makes an object and would undo what others write to it, empty if none can be seen.
func toolOf(object metav1.Object) string {
	owners := map[string]string{"ExternalSecret": "External Secrets", "SealedSecret": "Sealed Secrets", "VaultStaticSecret": "Vault Secrets Operator"}
	for _, owner := range object.GetOwnerReferences() {
		if tool := owners[owner.Kind]; tool != "" {
			return tool
		}
	}
	for _, mark := range []struct{ key, tool string }{
		{"reconcile.external-secrets.io/managed", "External Secrets"},
		{"kustomize.toolkit.fluxcd.io/name", "Flux"},
		{"helm.toolkit.fluxcd.io/name", "Flux"},
		{"argocd.argoproj.io/tracking-id", "Argo CD"},
		{"meta.helm.sh/release-name", "Helm"},
	} {
		if object.GetLabels()[mark.key] != "" || object.GetAnnotations()[mark.key] != "" {
			return mark.tool
		}
	}
	return ""
}

// gatherSecret reads the target Secret. It drops the values.
func (c *cluster) gatherSecret(ctx context.Context, report *screen.Report) error {
	report.Secret.Name = report.Token.TargetName()
	secret := &corev1.Secret{}
	err := c.Get(ctx, client.ObjectKey{Namespace: report.Token.Namespace, Name: report.Secret.Name}, secret)
	if apierrors.IsNotFound(err) {
		report.Secret.Missing = true
		return nil
	}
	report.Secret.Type = string(secret.Type)
	report.Secret.Keys = slices.Sorted(maps.Keys(secret.Data))
	report.Secret.Foreign = secret.Labels[v1alpha1.LabelTokenUID] != string(report.Token.UID)
	return err
}

func (c *cluster) gatherUses(ctx context.Context, report *screen.Report) error {
	pods := &corev1.PodList{}
	err := c.List(ctx, pods, client.InNamespace(report.Token.Namespace))
	report.Uses = screen.UsesOf(report.Token.TargetName(), pods.Items)
	return err
}

func (c *cluster) gatherEvents(ctx context.Context, report *screen.Report) error {
	events := &corev1.EventList{}
	err := c.List(ctx, events, client.InNamespace(report.Token.Namespace), client.MatchingFields{"involvedObject.uid": string(report.Token.UID)})
	slices.SortStableFunc(events.Items, func(a, b corev1.Event) int {
		return cmp.Or(screen.LastSeen(b).Compare(screen.LastSeen(a)), cmp.Compare(b.ResourceVersion, a.ResourceVersion))
	})
	report.Events = events.Items[:min(len(events.Items), lastEvents)]
	return err
}
