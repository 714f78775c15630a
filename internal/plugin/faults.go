package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// objectNameRule is what Kubernetes accepts as the name of an object, in short.
const objectNameRule = "use lower case letters, digits, '-' and '.', with a letter or digit at both ends, for example payment-links"

// validate finds what the API server would refuse by rules that the built-in schema does not have.
func (o *createOptions) validate(token *v1alpha1.PayUToken) error {
	for _, name := range []struct{ of, value string }{
		{"PayUToken", token.Name}, {"Secret (--credentials)", o.credentials}, {"Secret (--target)", token.TargetName()},
	} {
		if len(validation.IsDNS1123Subdomain(name.value)) > 0 {
			return fmt.Errorf("%q cannot be the name of a %s: %s", name.value, name.of, objectNameRule)
		}
	}
	switch {
	case token.Namespace != "" && len(validation.IsDNS1123Label(token.Namespace)) > 0:
		return fmt.Errorf("%q cannot be the name of a namespace: use lower case letters, digits and '-', with a letter or digit at both ends", token.Namespace)
	case token.TargetName() == o.credentials:
		return fmt.Errorf("the target Secret must not be the credentials Secret %q: set --target (default: the name of the PayUToken) or --credentials to another name", o.credentials)
	}
	return validateScopes(o.scopes)
}

func validateScopes(scopes []string) error {
	const example = "for example --scopes create_payment_links,read_payment_links"
	if len(scopes) == 0 {
		return errors.New("--scopes: give at least one scope, " + example)
	}
	for i, scope := range scopes {
		switch {
		case strings.ContainsAny(scope, " \t"):
			return fmt.Errorf("--scopes: %q holds a blank: separate scopes by commas, without blanks, %s", scope, example)
		case strings.ContainsFunc(scope, func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' }):
			return fmt.Errorf("--scopes: %q: a scope holds printable ASCII without space, double quote and backslash", scope)
		case slices.Contains(scopes[:i], scope):
			return fmt.Errorf("--scopes: %s is repeated: write each scope once", scope)
		}
	}
	return nil
}
