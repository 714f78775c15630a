package plugin

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	return &cobra.Command{
		Use:   "status NAME",
		Short: "Explain the state of one PayUToken, and what to do about it",
		Long: `Explain the state of one PayUToken: what it requests, what its Secret holds (names, never values), when the token was
fetched, expires and is renewed, which pods use it and whether renewals reach them, what happened, and what to do about a
problem.

The exit code is 2 if there is no valid token.`,
		Example:           "  kubectl payutoken status payment-links -n shop",
		Args:              oneName,
		ValidArgsFunction: p.completeName,
		RunE:              func(command *cobra.Command, args []string) error { return p.runStatus(command.Context(), args[0]) },
	}
}

func oneName(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("give the name of one PayUToken")
	}
	return nil
}

func (p *plugin) runStatus(ctx context.Context, arg string) error {
	name, err := nameIn(arg)
	if err != nil {
		return err
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
	width := widest
	if p.Terminal != nil {
		columns, _ := p.Terminal.Size()
		width = min(width, columns)
	}
	now := p.Clock.Now()
	if err := p.show(screen.Status(report, now, width)); err != nil {
		return err
	}
	if !screen.Judge(token, now).Valid {
		return exitNotWell
	}
	return nil
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
	report.CredentialsAreATarget = c.isTarget(ctx, token.Namespace, string(token.Spec.CredentialsSecretRef.Name))
	return report, ctx.Err()
}

// isTarget reports whether a Secret holds, or is to hold, a token. Whoever may not see that may not write the Secret either,
// and the operator's message still tells.
func (c *cluster) isTarget(ctx context.Context, namespace, name string) bool {
	secret := &metav1.PartialObjectMetadata{} // no values
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret); err == nil && target.IsWritten(secret) {
		return true
	}
	tokens := &v1alpha1.PayUTokenList{}
	_ = c.List(ctx, tokens, client.InNamespace(namespace))
	return slices.ContainsFunc(tokens.Items, func(t v1alpha1.PayUToken) bool { return t.TargetName() == name })
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
