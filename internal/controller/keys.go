package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// keyField is a field of spec.credentialsSecretRef that names a key of the Secret.
type keyField struct {
	field string
	key   string
	holds string
	usual string // the default key
}

func clientIDIn(key v1alpha1.SecretKey) keyField {
	return keyField{field: "clientIDKey", key: string(key), holds: "the client ID", usual: "client_id"}
}

func clientSecretIn(key v1alpha1.SecretKey) keyField {
	return keyField{field: "clientSecretKey", key: string(key), holds: "the client secret", usual: "client_secret"}
}

// name is how messages name the value: by its key, or by what it holds if the key may be a credential itself.
func (f keyField) name() string {
	if payu.MayBeCredential(f.key) {
		return f.holds
	}
	return f.key
}

// checkKeys says which of the keys that a PayUToken names its Secret does not have.
func checkKeys(secret *corev1.Secret, fields ...keyField) *failure {
	var missing, mistaken []keyField
	for _, f := range fields {
		if _, ok := secret.Data[f.key]; ok {
			continue
		}
		missing = append(missing, f)
		if payu.MayBeCredential(f.key) {
			mistaken = append(mistaken, f)
		}
	}
	message := ""
	switch {
	case len(mistaken) == 1:
		message = fmt.Sprintf("has no key as spec.credentialsSecretRef.%s names it, which looks like a credential: write the key's name there (%s)",
			mistaken[0].field, keysOf(secret))
	case len(mistaken) == 2:
		message = fmt.Sprintf("has no keys as spec.credentialsSecretRef.%s and %s name them, which look like credentials: write the keys' names there (%s)",
			mistaken[0].field, mistaken[1].field, keysOf(secret))
	case len(missing) == 1:
		message = fmt.Sprintf("has no key %q (%s): add it, or name a different key in spec.credentialsSecretRef.%s",
			missing[0].key, keysOf(secret), missing[0].field)
	case len(missing) == 2:
		message = fmt.Sprintf("has neither key %q nor key %q (%s): add both, or name different keys in spec.credentialsSecretRef.%s and %s",
			missing[0].key, missing[1].key, keysOf(secret), missing[0].field, missing[1].field)
	default:
		return nil
	}
	return stalled(v1alpha1.ReasonCredentialsNotFound, "Secret %q in namespace %q %s", secret.Name, secret.Namespace, message)
}

// keysOf lists the keys that a Secret has, but for those that may be credentials.
func keysOf(secret *corev1.Secret) string {
	const most = 8
	keys := slices.Sorted(maps.Keys(secret.Data))
	names := slices.DeleteFunc(slices.Clone(keys), payu.MayBeCredential)
	var parts []string
	switch {
	case len(keys) == 0:
		return "it has no keys"
	case len(names) > most:
		parts = []string{strings.Join(names[:most], ", "), fmt.Sprintf("%d more", len(names)-most)}
	case len(names) > 0:
		parts = []string{strings.Join(names, ", ")}
	}
	switch hidden := len(keys) - len(names); hidden {
	case 0:
	case 1:
		parts = append(parts, "1 that looks like a value")
	default:
		parts = append(parts, fmt.Sprintf("%d that look like values", hidden))
	}
	return "it has " + strings.Join(parts, " and ")
}

// odditiesOf says what may be wrong with credentials that PayU refuses, without a character of them.
func odditiesOf(c payu.Credentials, ref clientReference) string {
	if odd := payu.Oddities(c, clientIDIn(ref.idKey).name(), clientSecretIn(ref.secretKey).name()); odd != "" || !c.AsIssued() {
		return odd
	}
	return "if both are right, they may be swapped"
}
