package target

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// Held is what a target Secret says about the token in it.
type Held struct {
	// Token has the times of the token, if the data are whole. Its AccessToken is empty where it cannot be read back.
	Token payu.Token
	// Whole says that the data are as the operator wrote them.
	Whole bool
	// Proven says that the token was made from the present spec and credentials.
	Proven bool
	// Plausible says that nothing speaks against that, where the credentials cannot be read.
	Plausible bool
	// OldSeal says that the seal has the form of the former version, or replaced such a one, which proves less: the token is
	// shared with nobody.
	OldSeal bool
	// InShape says that type, labels, annotations and owner are as the spec asks, and Edited that somebody has changed them
	// since the operator wrote them so.
	InShape, Edited bool
}

// Proof is what a seal is held against: a client's key, the key of the source, and the scope that PayU granted last, if
// that is known.
type Proof struct {
	Key     Key
	Source  payu.Digest
	Granted string
}

// IsSealed reports whether a Secret looks as the operator writes it: it names its PayUToken, and has a seal of some form.
// That proves nothing.
func IsSealed(secret *corev1.Secret) bool {
	parts := strings.Split(secret.Annotations[v1alpha1.AnnotationSource], ".")
	sealed := len(parts) == 4 && parts[0] == sealVersion || len(parts) == oldSealParts
	return sealed && secret.Labels[v1alpha1.LabelTokenUID] != "" && secret.Annotations[v1alpha1.AnnotationTokenName] != ""
}

// IsWritten reports whether a Secret was written by the operator, as far as one mark of it tells: it holds no credentials.
func IsWritten(secret metav1.Object) bool {
	return secret.GetLabels()[v1alpha1.LabelTokenUID] != "" || secret.GetAnnotations()[v1alpha1.AnnotationSource] != ""
}

// Read returns what a Secret of the PayUToken's holds; nothing if secret is nil. proof is nil if the credentials cannot
// be read.
func (d Desired) Read(secret *corev1.Secret, proof *Proof) Held {
	if secret == nil {
		return Held{}
	}
	fetched, expires := secret.Annotations[v1alpha1.AnnotationFetchedAt], secret.Annotations[v1alpha1.AnnotationExpiresAt]
	fetchedAt, err1 := time.Parse(time.RFC3339, fetched)
	expiresAt, err2 := time.Parse(time.RFC3339, expires)
	h := Held{Token: payu.Token{Type: "Bearer", FetchedAt: fetchedAt.UTC(), ExpiresAt: expiresAt.UTC()}}
	if s, ok := parseSeal(secret.Annotations[v1alpha1.AnnotationSource]); ok {
		d.readSeal(&h, secret, s, proof)
		h.InShape = s.shape == d.shape && d.isShaped(secret)
		h.Edited = s.shape == d.shape && !h.InShape
	} else {
		d.readOldSeal(&h, secret, proof)
		h.InShape = !(h.OldSeal && h.Proven) && d.isShaped(secret)
	}
	if err1 != nil || err2 != nil || !h.Whole {
		return Held{InShape: h.InShape, Edited: h.Edited}
	}
	h.Token.AccessToken, _ = d.template.Token(d.ownData(secret), d.fields(h.Token))
	return h
}

// readSeal fills in what a seal of this version tells.
func (d Desired) readSeal(h *Held, secret *corev1.Secret, s seal, proof *Proof) {
	fetched, expires := secret.Annotations[v1alpha1.AnnotationFetchedAt], secret.Annotations[v1alpha1.AnnotationExpiresAt]
	complete := s.data == dataDigest(d.ownData(secret), fetched, expires)
	h.Whole = complete || s.data == dataDigest(secret.Data, fetched, expires) // made from another template
	granted := d.grantedScopes(secret)
	h.Token.Scope = granted[0]
	h.Plausible = h.Whole && len(d.ownData(secret)) == len(texts(d.obj)) && covers(granted[0], Scopes(d.obj))
	if !complete || proof == nil {
		return
	}
	content := contentDigest(d.ownData(secret), fetched, expires)
	for _, scope := range append(granted, proof.Granted) {
		stated := statement{scopes: Scopes(d.obj), granted: scope, templates: d.templates}
		unstated := stated
		unstated.lifeUnstated = true
		proves := func(key Key, what statement) bool { return s.mac.equal(key.mac(content, what)) }
		switch {
		case proves(proof.Key, stated):
		case proves(proof.Key, unstated):
			h.Token.LifeUnstated = true
		case proves(proof.Key.old(), stated):
			h.OldSeal = true
		default:
			continue
		}
		h.Proven, h.Token.Scope = true, scope
		return
	}
}

// grantedScopes returns what PayU may have granted, the likeliest first. Where a template leaves the scope out of the
// data, the status knows it, or it is what was asked for.
func (d Desired) grantedScopes(secret *corev1.Secret) (scopes []string) {
	asked := strings.Join(Scopes(d.obj), " ")
	for _, scope := range []string{string(secret.Data[v1alpha1.KeyScope]), d.obj.Status.Scope, asked} {
		if scope != "" && !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

func covers(granted string, asked []string) bool {
	have := strings.Fields(granted)
	return !slices.ContainsFunc(asked, func(scope string) bool { return !slices.Contains(have, scope) })
}

// ownData returns the data under the keys that the spec asks for; others may add keys of their own.
func (d Desired) ownData(secret *corev1.Secret) map[string][]byte {
	data := map[string][]byte{}
	for key := range texts(d.obj) {
		if value, ok := secret.Data[key]; ok {
			data[key] = value
		}
	}
	return data
}

// isShaped reports whether the type, the labels, the annotations and the owner are as the spec asks.
func (d Desired) isShaped(secret *corev1.Secret) bool {
	template := d.obj.Spec.Target.Template.Metadata
	return secret.Type == typeOf(d.obj) && d.IsOwnedAsAsked(secret) && contains(secret.Labels, d.labels()) && contains(secret.Labels, template.Labels) &&
		contains(secret.Annotations, template.Annotations) &&
		secret.Annotations[v1alpha1.AnnotationTokenName] == d.obj.Name
}

// IsOwnedAsAsked reports whether the Secret goes with its PayUToken if, and only if, the spec asks for that.
func (d Desired) IsOwnedAsAsked(secret *corev1.Secret) bool {
	if isRetained(d.obj) { // the garbage collector does not ask who is the controller
		return !slices.ContainsFunc(secret.OwnerReferences, func(owner metav1.OwnerReference) bool { return owner.UID == d.obj.UID })
	}
	owner := metav1.GetControllerOf(secret)
	return owner != nil && owner.UID == d.obj.UID
}

func contains(m, part map[string]string) bool {
	for key, value := range part {
		if got, ok := m[key]; !ok || got != value {
			return false
		}
	}
	return true
}
