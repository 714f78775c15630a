package plugin

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// tryTarget shows whether the operator would write the target Secret, or leave it to whom it belongs.
func (o *checkOptions) tryTarget(ctx context.Context, token *v1alpha1.PayUToken) bool {
	if o.cluster == nil {
		return true // said of the schema already
	}
	secret, claims, err := o.cluster.claims(ctx, token)
	if err != nil {
		o.step(screen.Note, "target", "whose Secret %q is cannot be seen: %s", token.TargetName(), explain(err))
		return true
	}
	owner := target.Owner(secret, claims)
	switch {
	case owner == token.Name && secret == nil:
		o.step(screen.Good, "target", "Secret %q will be created", token.TargetName())
	case owner == token.Name:
		o.step(screen.Good, "target", "Secret %q belongs to this PayUToken", token.TargetName())
	case owner == "":
		o.step(screen.Bad, "target", "%s: Secret %q exists and does not belong to this PayUToken: name a different Secret in spec.target.name, or delete this one if nothing else needs it",
			v1alpha1.ReasonTargetConflict, token.TargetName())
	default:
		o.step(screen.Bad, "target", "%s: Secret %q belongs to PayUToken %q: name a different Secret in spec.target.name", v1alpha1.ReasonTargetConflict, token.TargetName(), owner)
	}
	return owner == token.Name
}

// claims returns the target Secret of a PayUToken, nil if there is none, and the PayUTokens that name it, this one included.
func (c *cluster) claims(ctx context.Context, token *v1alpha1.PayUToken) (secret *corev1.Secret, claims []target.Claim, err error) {
	secret = &corev1.Secret{}
	err = c.Get(ctx, client.ObjectKey{Namespace: token.Namespace, Name: token.TargetName()}, secret)
	switch {
	case apierrors.IsNotFound(err):
		secret = nil
	case err != nil:
		return nil, nil, err
	}
	list := &v1alpha1.PayUTokenList{}
	if err := c.List(ctx, list, client.InNamespace(token.Namespace)); err != nil {
		return nil, nil, err
	}
	for i := range list.Items {
		if other := &list.Items[i]; other.Name == token.Name || other.TargetName() == token.TargetName() {
			claims = append(claims, target.Claim{Name: other.Name, UID: other.UID, Created: other.CreationTimestamp.Time})
		}
	}
	if !slices.ContainsFunc(claims, func(c target.Claim) bool { return c.Name == token.Name }) {
		claims = append(claims, toBeCreated(token.Name))
	}
	return secret, claims, nil
}

// toBeCreated is the claim of a PayUToken that does not exist yet: no Secret names its UID, and all others are older.
func toBeCreated(name string) target.Claim {
	return target.Claim{Name: name, UID: "to be created", Created: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
}
