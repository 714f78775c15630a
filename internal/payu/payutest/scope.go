package payutest

import (
	"slices"
	"strings"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// KnownScopes are the scopes that PayU documents. A client registered without scopes may have any of them.
var KnownScopes = payu.Scopes()

// ScopeSet returns the scopes sorted, without duplicates and separated by spaces. Two requests with the same ScopeSet
// ask for the same token, whatever the order (RFC 6749 section 3.3).
func ScopeSet(scopes []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(scopes))), " ")
}

// parseScope splits a scope parameter at white space and drops duplicates, keeping the order, as Doorkeeper's
// Scopes.from_string does.
func parseScope(scope string) []string {
	var scopes []string
	for _, s := range strings.Fields(scope) {
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// grant names what a token is for: reuse, revocation and the count of requests in flight go by client and scope set.
type grant struct {
	clientID string
	scopes   string
}

func grantFor(clientID string, scopes []string) grant {
	return grant{clientID: clientID, scopes: ScopeSet(scopes)}
}
