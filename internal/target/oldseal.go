package target

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// oldSealParts is how many parts a seal of the former version has.
const oldSealParts = 5

// readOldSeal fills in what a seal of the former version tells: five digests, of the source, the version of the
// credentials, the spec, the shape and the data. Remove it once nobody upgrades from v0.1.
func (d Desired) readOldSeal(h *Held, secret *corev1.Secret, proof *Proof) {
	parts := strings.Split(secret.Annotations[v1alpha1.AnnotationSource], ".")
	if len(parts) != oldSealParts {
		return
	}
	fetched, expires := secret.Annotations[v1alpha1.AnnotationFetchedAt], secret.Annotations[v1alpha1.AnnotationExpiresAt]
	list := []string{"data", fetched, expires}
	own := map[string]string{}
	for key, value := range d.ownData(secret) {
		own[key] = string(value)
	}
	list = append(list, flatten("", own)[1:]...)
	h.OldSeal = true
	h.Whole = parts[4] == payu.DigestOf(list...).String()
	h.Plausible = h.Whole && parts[2] == d.oldSpec()
	h.Proven = h.Plausible && proof != nil && parts[0] == proof.Source.String()
	h.Token.Scope = d.grantedScopes(secret)[0]
}

// oldSpec is the digest of what of the spec the source and the data are made from.
func (d Desired) oldSpec() string {
	ref := d.obj.Spec.CredentialsSecretRef
	inputs := []string{"inputs", string(d.obj.Spec.Environment), string(ref.Name), string(ref.ClientIDKey), string(ref.ClientSecretKey)}
	inputs = append(inputs, sorted(Scopes(d.obj))...)
	return payu.DigestOf(append([]string{"spec", payu.DigestOf(inputs...).String()}, flatten("", texts(d.obj))[1:]...)...).String()
}
