package plugin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

const (
	// documentedAtOnce is how many scopes PayU documents for one token of payment links.
	documentedAtOnce = 3
	// typo is the edit distance up to which an unknown scope is taken for a misspelled one.
	typo = 2
)

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
		if similar := similarTo(string(scope), known); similar != "" {
			hints = append(hints, hint+"did you mean "+similar+"?")
		} else {
			hints = append(hints, hint+"it is passed on as it is")
		}
	}
	return hints
}

// similarTo returns the known word that resembles a word most, empty if none does.
func similarTo(word string, known []string) (similar string) {
	closest := typo + 1
	for _, candidate := range known {
		if d := editDistance(word, candidate); d < closest {
			similar, closest = candidate, d
		}
	}
	return similar
}

// editDistance counts the bytes to insert, delete or replace to turn one word into the other (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1) // the distances of a[:i] to each b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
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
