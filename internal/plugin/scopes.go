package plugin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// documentedAtOnce is how many scopes PayU documents for one token of payment links.
const documentedAtOnce = 3

// scopeHints returns what may be wrong with scopes. PayU alone decides.
func scopeHints(scopes []v1alpha1.Scope) (hints []string) {
	if len(scopes) > documentedAtOnce {
		hints = append(hints, fmt.Sprintf("%d scopes for one token: PayU documents up to three for payment links; "+
			"if it answers invalid_scope, split them over several PayUTokens", len(scopes)))
	}
	known := payu.Scopes()
	for _, scope := range scopes {
		if slices.Contains(known, string(scope)) {
			continue
		}
		hint := fmt.Sprintf("PayU documents no scope %q: ", scope)
		if similar := payu.SimilarScope(string(scope)); similar != "" {
			hints = append(hints, hint+"did you mean "+similar+"?")
		} else {
			hints = append(hints, hint+"it is passed on as it is")
		}
	}
	return hints
}

// completeScopes completes the last scope of a list separated by commas. Shells show the product next to each.
func completeScopes(_ *cobra.Command, _ []string, typed string) (completions []string, _ cobra.ShellCompDirective) {
	before := typed[:strings.LastIndex(typed, ",")+1]
	given := strings.Split(before, ",")
	for _, product := range payu.Products {
		for _, scope := range product.Scopes {
			if !slices.Contains(given, scope) && strings.HasPrefix(before+scope, typed) {
				completions = append(completions, cobra.CompletionWithDesc(before+scope, product.Name))
			}
		}
	}
	return completions, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
