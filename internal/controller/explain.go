package controller

import (
	"fmt"
	"slices"
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
			clientIDIn(ref.ClientIDKey).name(), clientSecretIn(ref.ClientSecretKey).name(), ref.Name, o.obj.Namespace, inParentheses(o.keys.oddities), retryOf(o.obj, atPayU))
	case payu.InvalidScope:
		return fmt.Sprintf("%s for %s: correct spec.scopes%s, or ask PayU to allow them for this client; %s", err.Detail,
			strings.Join(scopes, " "), inParentheses(scopeHints(scopes)), retryOf(o.obj, atPayU))
	case payu.ScopeReduced:
		return fmt.Sprintf("%s of %s: correct spec.scopes, or ask PayU to allow them for this client; %s", err.Detail, strings.Join(scopes, " "), retryOf(o.obj, atPayU))
	case payu.UnauthorizedClient:
		return fmt.Sprintf("%s: ask PayU to allow the client credentials grant for this client; %s", err.Detail, retryOf(o.obj, atPayU))
	case payu.InvalidRequest, payu.UnsupportedGrantType:
		return fmt.Sprintf("%s: check the operator's base URL for the environment; %s", err.Detail, retryOf(o.obj, "a change of it or on PayU's side"))
	case payu.InvalidResponse:
		return err.Detail + ": check that the operator's base URL and proxy lead to PayU"
	case payu.LifetimeUnknown:
		return fmt.Sprintf("%s: set spec.assumedLifetime to the lifetime that PayU configured for this client, or less, for example 1h: the token is written at once; %s",
			err.Detail, retryOf(o.obj, atPayU))
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

const atPayU = "a change on PayU's side"

// retryOf returns the command that has PayU asked again at once after a change that causes no pass.
func retryOf(obj *v1alpha1.PayUToken, change string) string {
	return fmt.Sprintf(`after %s, run: kubectl annotate payutoken %s -n %s --overwrite %s="$(date)"`,
		change, obj.Name, obj.Namespace, v1alpha1.AnnotationRefreshRequestedAt)
}

// scopeHints says what looks wrong about scopes that PayU refuses: one is a list, or is not documented by PayU, which documents one that
// resembles it, or they are of several products.
func scopeHints(scopes []string) string {
	var hints []string
	for _, scope := range scopes {
		if strings.Contains(scope, ",") {
			hints = append(hints, "write each scope of "+scope+" as an item of its own")
		}
		if similar := payu.SimilarScope(scope); similar != "" {
			hints = append(hints, fmt.Sprintf("instead of %s, did you mean %s?", scope, similar))
		}
	}
	if products := severalProducts(scopes); products != "" {
		hints = append(hints, products)
	}
	return strings.Join(hints, " ")
}

// severalProducts names one scope of each product if the scopes are of more than one, else nothing.
func severalProducts(scopes []string) string {
	var products, parts []string
	for _, scope := range scopes {
		product := payu.ProductOf(scope)
		if product == "" || slices.Contains(products, product) {
			continue
		}
		products = append(products, product)
		parts = append(parts, scope+" of "+product)
	}
	if len(parts) < 2 {
		return ""
	}
	parts[0] = strings.Replace(parts[0], " of ", " is a scope of ", 1)
	all := "both"
	if len(parts) > 2 {
		all = "all of them"
	}
	return fmt.Sprintf("%s: is this client enabled for %s?", strings.Join(parts, ", "), all)
}

func inParentheses(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
