package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payload"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// seal is the annotation auth.payu.in/source of a target Secret: digests of what the Secret was made from. It lets
// a restarted operator see, from caches alone, that a Secret is as it should be.
type seal struct {
	source      payu.Digest // payu.Key.Source
	credentials payu.Digest // the version of the credentials Secret
	spec        payu.Digest // what of the spec the source and the data are made from
	shape       payu.Digest // the rest of the Secret: type, labels, annotations, owner
	data        payu.Digest // the data as written
}

// String returns the seal as it stands in the annotation.
func (s seal) String() string {
	return fmt.Sprintf("%v.%v.%v.%v.%v", s.source, s.credentials, s.spec, s.shape, s.data)
}

// parseSeal reads the annotation. If it is none that the operator wrote, the seal is zero, which fits no Secret.
func parseSeal(annotation string) seal {
	var s seal
	parts := strings.Split(annotation, ".")
	digests := []*payu.Digest{&s.source, &s.credentials, &s.spec, &s.shape, &s.data}
	if len(parts) != len(digests) {
		return seal{}
	}
	for i, d := range digests {
		var err error
		if *d, err = payu.ParseDigest(parts[i]); err != nil {
			return seal{}
		}
	}
	return s
}

func (v version) digest() payu.Digest {
	return payu.DigestOf("credentials", string(v.uid), v.resourceVersion)
}

// blueprint is what the spec of a PayUToken asks for, worked out once for each of its generations.
type blueprint struct {
	generation          int64
	inputs, spec, shape payu.Digest
	// problem is what is wrong with the template, nil if nothing is.
	problem *problem
}

// study brings the blueprint up to date.
func (m *memory) study(token *v1alpha1.PayUToken) {
	if m.blueprint.generation == token.Generation {
		return
	}
	m.blueprint = blueprint{
		generation: token.Generation, inputs: inputsDigest(token), spec: specDigest(token), shape: shapeDigest(token, string(token.UID)),
	}
	_, m.blueprint.problem = templateOf(token)
}

// inputsDigest covers what decides the source, given a version of the credentials.
func inputsDigest(token *v1alpha1.PayUToken) payu.Digest {
	ref := token.Spec.CredentialsSecretRef
	parts := []string{"inputs", string(token.Spec.Environment), string(ref.Name), string(ref.ClientIDKey), string(ref.ClientSecretKey)}
	return payu.DigestOf(append(parts, slices.Sorted(slices.Values(scopes(token)))...)...)
}

func specDigest(token *v1alpha1.PayUToken) payu.Digest {
	return payu.DigestOf(append([]string{"spec", inputsDigest(token).String()}, flatten(texts(token))...)...)
}

// shapeDigest covers all of a target but its data, for an owner.
func shapeDigest(token *v1alpha1.PayUToken, owner string) payu.Digest {
	template := token.Spec.Target.Template
	parts := []string{"shape", string(secretType(token)), string(token.Spec.Target.DeletionPolicy), owner}
	parts = append(parts, flatten(template.Metadata.Labels)...)
	return payu.DigestOf(append(append(parts, "annotations"), flatten(template.Metadata.Annotations)...)...)
}

// kindOf returns a digest of what the API server may judge a new target by: its namespace, and all that is not of this
// PayUToken alone.
func kindOf(token *v1alpha1.PayUToken) payu.Digest { return shapeDigest(token, token.Namespace) }

// dataDigest covers the data and, since they say as much about the token, the times in the annotations.
func dataDigest(data map[string][]byte, fetchedAt, expiresAt string) payu.Digest {
	parts := []string{"data", fetchedAt, expiresAt}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		parts = append(parts, key, string(data[key]))
	}
	return payu.DigestOf(parts...)
}

func flatten(m map[string]string) []string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, key, m[key])
	}
	return parts
}

var defaultTexts = map[string]string{
	v1alpha1.KeyAccessToken: "{{ .AccessToken }}",
	v1alpha1.KeyTokenType:   "{{ .TokenType }}",
	v1alpha1.KeyScope:       "{{ .Scope }}",
	v1alpha1.KeyExpiresAt:   "{{ .ExpiresAt }}",
}

// texts returns the templates of the target's data by key.
func texts(token *v1alpha1.PayUToken) map[string]string {
	if len(token.Spec.Target.Template.Data) == 0 {
		return defaultTexts
	}
	m := make(map[string]string, len(token.Spec.Target.Template.Data))
	for key, text := range token.Spec.Target.Template.Data {
		m[key] = string(text)
	}
	return m
}

func secretType(token *v1alpha1.PayUToken) corev1.SecretType {
	if token.Spec.Target.Template.Type == "" {
		return corev1.SecretTypeOpaque
	}
	return corev1.SecretType(token.Spec.Target.Template.Type)
}

// defaultTemplate renders the default keys. It is parsed once for all PayUTokens without a template.
var defaultTemplate = func() payload.Template {
	template, err := payload.Parse(defaultTexts)
	if err != nil {
		panic(err)
	}
	return template
}()

func templateOf(token *v1alpha1.PayUToken) (payload.Template, *problem) {
	if len(token.Spec.Target.Template.Data) == 0 {
		return defaultTemplate, nil
	}
	template, err := payload.Parse(texts(token))
	if err != nil {
		return payload.Template{}, stalled(v1alpha1.ReasonTemplateInvalid, "spec.target.template.data: "+err.Error())
	}
	return template, nil
}

// dataFor renders the data of the target Secret.
func dataFor(token *v1alpha1.PayUToken, held payu.Token) (map[string][]byte, *problem) {
	template, p := templateOf(token)
	if p != nil {
		return nil, p
	}
	data, err := template.Render(payload.Fields{
		AccessToken: held.AccessToken,
		TokenType:   held.Type,
		Scope:       held.Scope,
		ExpiresAt:   rfc3339(held.ExpiresAt),
		Environment: string(token.Spec.Environment),
	})
	if err != nil {
		return nil, stalled(v1alpha1.ReasonTemplateInvalid, "spec.target.template.data: "+err.Error())
	}
	return data, nil
}

// secretFor returns the target Secret, whole, as it is applied. source is the Key.Source that the token was made from,
// credentials the digest of the version of the credentials.
func (s situation) secretFor(held payu.Token, data map[string][]byte, source, credentials payu.Digest) *corev1.Secret {
	token := s.token
	mark := seal{
		source:      source,
		credentials: credentials,
		spec:        s.memory.blueprint.spec,
		shape:       s.memory.blueprint.shape,
		data:        dataDigest(data, rfc3339(held.FetchedAt), rfc3339(held.ExpiresAt)),
	}
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, token.Spec.Target.Template.Metadata.Labels)
	maps.Copy(labels, ownLabels(token))
	maps.Copy(annotations, token.Spec.Target.Template.Metadata.Annotations)
	maps.Copy(annotations, map[string]string{
		v1alpha1.AnnotationTokenName: token.Name,
		v1alpha1.AnnotationFetchedAt: rfc3339(held.FetchedAt),
		v1alpha1.AnnotationExpiresAt: rfc3339(held.ExpiresAt),
		v1alpha1.AnnotationSource:    mark.String(),
	})
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: token.Namespace, Name: token.TargetName(), Labels: labels, Annotations: annotations},
		Type:       secretType(token),
		Data:       data,
	}
	if token.Spec.Target.DeletionPolicy != v1alpha1.DeletionPolicyRetain {
		secret.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "PayUToken", Name: token.Name, UID: token.UID, Controller: ptr.To(true),
		}}
	}
	return secret
}

func ownLabels(token *v1alpha1.PayUToken) map[string]string {
	return map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedBy,
		v1alpha1.LabelTokenUID:  string(token.UID),
	}
}

// holding is what a target Secret says about the token in it; zero where the Secret is not whole.
type holding struct {
	// token has no AccessToken and Scope where a template hides them.
	token payu.Token
	seal  seal
	// intact is true if the data are as the operator wrote them.
	intact bool
	// marked is true if the operator's labels, annotations and owner reference are all there.
	marked bool
}

// holdingIn reads a target Secret that belongs to the PayUToken. Nil holds nothing.
func holdingIn(secret *corev1.Secret, token *v1alpha1.PayUToken) holding {
	if secret == nil {
		return holding{}
	}
	fetched, expires := secret.Annotations[v1alpha1.AnnotationFetchedAt], secret.Annotations[v1alpha1.AnnotationExpiresAt]
	h := holding{seal: parseSeal(secret.Annotations[v1alpha1.AnnotationSource]), marked: isMarked(secret, token)}
	h.intact = h.seal.data == dataDigest(ownData(secret, token), fetched, expires)
	fetchedAt, err1 := time.Parse(time.RFC3339, fetched)
	expiresAt, err2 := time.Parse(time.RFC3339, expires)
	if err1 != nil || err2 != nil || !h.intact {
		return holding{}
	}
	h.token = payu.Token{Type: "Bearer", FetchedAt: fetchedAt.UTC(), ExpiresAt: expiresAt.UTC()}
	if len(token.Spec.Target.Template.Data) == 0 {
		h.token.AccessToken = string(secret.Data[v1alpha1.KeyAccessToken])
		h.token.Scope = string(secret.Data[v1alpha1.KeyScope])
	}
	return h
}

// ownData returns the data under the keys that the spec asks for; others may add keys of their own.
func ownData(secret *corev1.Secret, token *v1alpha1.PayUToken) map[string][]byte {
	data := map[string][]byte{}
	for key := range texts(token) {
		if value, ok := secret.Data[key]; ok {
			data[key] = value
		}
	}
	return data
}

func isMarked(secret *corev1.Secret, token *v1alpha1.PayUToken) bool {
	template := token.Spec.Target.Template.Metadata
	owner := metav1.GetControllerOf(secret)
	owned := owner != nil && owner.UID == token.UID
	return contains(secret.Labels, ownLabels(token)) && contains(secret.Labels, template.Labels) &&
		contains(secret.Annotations, template.Annotations) &&
		secret.Annotations[v1alpha1.AnnotationTokenName] == token.Name &&
		owned == (token.Spec.Target.DeletionPolicy != v1alpha1.DeletionPolicyRetain)
}

func contains(m, part map[string]string) bool {
	for key, value := range part {
		if got, ok := m[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// belongsTo reports whether a Secret was made for the PayUToken, or for a former one of the same name.
func belongsTo(secret *corev1.Secret, token *v1alpha1.PayUToken) bool {
	owner := metav1.GetControllerOf(secret)
	switch {
	case owner != nil && owner.UID == token.UID, secret.Labels[v1alpha1.LabelTokenUID] == string(token.UID):
		return true
	case owner != nil && (owner.Kind != "PayUToken" || owner.Name != token.Name):
		return false
	default:
		return secret.Annotations[v1alpha1.AnnotationTokenName] == token.Name
	}
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }
