package controller

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// explain says what PayU's refusal means for the person who reads the condition, and what to do about it.
func (o observation) explain(err *payu.Error) string {
	if message := o.saidBefore(err); message != "" {
		return message
	}
	ref, scopes := o.obj.Spec.CredentialsSecretRef, target.Scopes(o.obj)
	switch err.Reason {
	case payu.InvalidClient:
		return fmt.Sprintf("%s: correct %s and %s in Secret %q in namespace %q%s, or spec.environment; %s", err.Detail,
			ref.ClientIDKey, ref.ClientSecretKey, ref.Name, o.obj.Namespace, inParentheses(o.keys.oddities), retryOf(o.obj))
	case payu.InvalidScope:
		return fmt.Sprintf("%s for %s: correct spec.scopes%s, or ask PayU to allow them for this client; %s", err.Detail,
			strings.Join(scopes, " "), inParentheses(misspelled(scopes)), retryOf(o.obj))
	case payu.ScopeReduced:
		return fmt.Sprintf("%s of %s: correct spec.scopes, or ask PayU to allow them for this client; %s", err.Detail, strings.Join(scopes, " "), retryOf(o.obj))
	case payu.UnauthorizedClient:
		return fmt.Sprintf("%s: ask PayU to allow the client credentials grant for this client; %s", err.Detail, retryOf(o.obj))
	case payu.InvalidRequest, payu.UnsupportedGrantType:
		return err.Detail + ": check the operator's base URL for the environment"
	case payu.InvalidResponse:
		return err.Detail + ": check that the operator's base URL and proxy lead to PayU"
	case payu.LifetimeUnknown:
		return err.Detail + ": set spec.assumedLifetime to the lifetime that PayU configured for this client, or less, for example 1h: the token is written at once"
	default:
		return err.Detail
	}
}

// saidBefore returns what a former process said of a refusal to this PayUToken, empty if it said nothing: what it said to others names
// their Secrets.
func (o observation) saidBefore(err *payu.Error) string {
	refreshed := meta.FindStatusCondition(o.obj.Status.Conditions, v1alpha1.ConditionRefreshed)
	if !err.Restored || refreshed == nil || refreshed.Reason != string(err.Reason) || !o.ofPresentSpec(o.obj.Status) {
		return ""
	}
	return refreshed.Message
}

// retryOf returns the command that has PayU asked again at once: what was corrected at PayU wakes nobody.
func retryOf(obj *v1alpha1.PayUToken) string {
	return fmt.Sprintf(`after a change on PayU's side, run: kubectl annotate payutoken %s -n %s --overwrite %s="$(date)"`,
		obj.Name, obj.Namespace, v1alpha1.AnnotationRefreshRequestedAt)
}

// misspelled says which scopes are lists, or are not documented by PayU, which documents ones that resemble them.
func misspelled(scopes []string) string {
	var hints []string
	for _, scope := range scopes {
		if strings.Contains(scope, ",") {
			hints = append(hints, "write each scope of "+scope+" as an item of its own")
		}
		if similar := payu.SimilarScope(scope); similar != "" {
			hints = append(hints, fmt.Sprintf("instead of %s, did you mean %s?", scope, similar))
		}
	}
	return strings.Join(hints, " ")
}

func inParentheses(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
