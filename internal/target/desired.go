// Package target knows the Secret that a PayUToken's token goes to: what it should be (Desired), what the one that is
// there holds (Held), and whose it is (Owner). All of it is pure.
package target

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payload"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// Desired is the Secret that a PayUToken asks for, all but the token.
type Desired struct {
	// Name is the name of the Secret: that of the target, or of the former one.
	Name string

	obj       *v1alpha1.PayUToken
	template  payload.Template
	templates digest
	shape     digest
}

// For returns the Secret of a name that a PayUToken asks for. An error says what is wrong with the template: with it,
// Read works as always, and Secret must not be called.
func For(obj *v1alpha1.PayUToken, name string) (Desired, error) {
	d := Desired{Name: name, obj: obj, templates: digestOf(flatten("templates", texts(obj))...), shape: shapeOf(obj)}
	if len(obj.Spec.Target.Template.Data) == 0 {
		d.template = defaultTemplate
		return d, nil
	}
	var err error
	if d.template, err = payload.Parse(texts(obj)); err != nil {
		return d, fmt.Errorf("spec.target.template.data: %w", err)
	}
	return d, nil
}

// defaultTemplate renders the default keys. It is parsed once for all PayUTokens without a template.
var defaultTemplate = func() payload.Template {
	template, err := payload.Parse(defaultTexts)
	if err != nil {
		panic(err)
	}
	return template
}()

var defaultTexts = map[string]string{
	v1alpha1.KeyAccessToken: "{{ .AccessToken }}",
	v1alpha1.KeyTokenType:   "{{ .TokenType }}",
	v1alpha1.KeyScope:       "{{ .Scope }}",
	v1alpha1.KeyExpiresAt:   "{{ .ExpiresAt }}",
}

// texts returns the templates of the target's data by key.
func texts(obj *v1alpha1.PayUToken) map[string]string {
	if len(obj.Spec.Target.Template.Data) == 0 {
		return defaultTexts
	}
	m := make(map[string]string, len(obj.Spec.Target.Template.Data))
	for key, text := range obj.Spec.Target.Template.Data {
		m[key] = string(text)
	}
	return m
}

// shapeOf is the digest of all of the target but its data.
func shapeOf(obj *v1alpha1.PayUToken) digest {
	template := obj.Spec.Target.Template
	parts := []string{"shape", string(typeOf(obj)), strconv.FormatBool(isRetained(obj)), string(obj.UID)}
	parts = append(parts, flatten("labels", template.Metadata.Labels)...)
	return digestOf(append(parts, flatten("annotations", template.Metadata.Annotations)...)...)
}

// isRetained reports whether the Secret outlives its PayUToken. Without spec.target there is no default in the policy.
func isRetained(obj *v1alpha1.PayUToken) bool {
	return obj.Spec.Target.DeletionPolicy == v1alpha1.DeletionPolicyRetain
}

func typeOf(obj *v1alpha1.PayUToken) corev1.SecretType {
	if obj.Spec.Target.Template.Type == "" {
		return corev1.SecretTypeOpaque
	}
	return corev1.SecretType(obj.Spec.Target.Template.Type)
}

// Secret returns the whole Secret with a token, sealed with the key of the credentials that the token was made from. An
// error says which key cannot be rendered.
func (d Desired) Secret(token payu.Token, key Key) (*corev1.Secret, error) {
	data, err := d.template.Render(d.fields(token))
	if err != nil {
		return nil, fmt.Errorf("spec.target.template.data: %w", err)
	}
	s := d.seal(data, rfc3339(token.FetchedAt), rfc3339(token.ExpiresAt), d.statement(token), key)
	secret := d.Shaped(map[string]string{
		v1alpha1.AnnotationTokenName: d.obj.Name,
		v1alpha1.AnnotationFetchedAt: rfc3339(token.FetchedAt),
		v1alpha1.AnnotationExpiresAt: rfc3339(token.ExpiresAt),
		v1alpha1.AnnotationSource:    s.String(),
	})
	secret.Data = data
	return secret, nil
}

// statement returns what is to be proven of a token.
func (d Desired) statement(token payu.Token) statement {
	return statement{scopes: Scopes(d.obj), granted: token.Scope, lifeUnstated: token.LifeUnstated, templates: d.templates}
}

// seal returns the seal of data with a token.
func (d Desired) seal(data map[string][]byte, fetchedAt, expiresAt string, c statement, key Key) seal {
	return seal{
		data:  dataDigest(data, fetchedAt, expiresAt),
		mac:   key.mac(contentDigest(data, fetchedAt, expiresAt), c),
		shape: d.shape,
	}
}

// Resealed returns the Secret in the desired shape around the data that the held one has. A seal of the former version
// becomes one of this version, which takes the key.
func (d Desired) Resealed(secret *corev1.Secret, held Held, key Key) *corev1.Secret {
	annotations := map[string]string{v1alpha1.AnnotationTokenName: d.obj.Name}
	for _, name := range []string{v1alpha1.AnnotationFetchedAt, v1alpha1.AnnotationExpiresAt, v1alpha1.AnnotationSource} {
		if value, ok := secret.Annotations[name]; ok {
			annotations[name] = value
		}
	}
	if s, ok := parseSeal(secret.Annotations[v1alpha1.AnnotationSource]); ok {
		s.shape = d.shape
		annotations[v1alpha1.AnnotationSource] = s.String()
	} else if held.OldSeal && held.Proven {
		fetched, expires := secret.Annotations[v1alpha1.AnnotationFetchedAt], secret.Annotations[v1alpha1.AnnotationExpiresAt]
		annotations[v1alpha1.AnnotationSource] = d.seal(d.ownData(secret), fetched, expires, d.statement(held.Token), key.old()).String()
	}
	return d.Shaped(annotations)
}

// Leftovers returns the keys of the Secret that is there now which the operator wrote into the one before, as its seal proves,
// and which the spec no longer asks for.
func (d Desired) Leftovers(before, now *corev1.Secret) (keys []string) {
	if before == nil {
		return nil
	}
	s, ok := parseSeal(before.Annotations[v1alpha1.AnnotationSource])
	if !ok || s.data != dataDigest(before.Data, before.Annotations[v1alpha1.AnnotationFetchedAt], before.Annotations[v1alpha1.AnnotationExpiresAt]) {
		return nil
	}
	for key := range before.Data {
		if _, wanted := texts(d.obj)[key]; !wanted && now.Data[key] != nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// Unshaped returns the operator's own annotations of a Secret to be applied, with the shape that the seal of the one on
// the API server tells: so it stays known that the shape is not as it should be.
func (d Desired) Unshaped(live, secret *corev1.Secret) map[string]string {
	own := map[string]string{}
	for _, name := range []string{v1alpha1.AnnotationTokenName, v1alpha1.AnnotationFetchedAt, v1alpha1.AnnotationExpiresAt} {
		own[name] = secret.Annotations[name]
	}
	s, _ := parseSeal(secret.Annotations[v1alpha1.AnnotationSource])
	present, _ := parseSeal(live.Annotations[v1alpha1.AnnotationSource])
	if s.shape = present.shape; s.shape == d.shape {
		s.shape = digest{}
	}
	own[v1alpha1.AnnotationSource] = s.String()
	return own
}

// Shaped returns the Secret in the desired shape, without data, with the operator's own annotations.
func (d Desired) Shaped(own map[string]string) *corev1.Secret {
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, d.obj.Spec.Target.Template.Metadata.Labels)
	maps.Copy(labels, d.labels())
	maps.Copy(annotations, d.obj.Spec.Target.Template.Metadata.Annotations)
	maps.Copy(annotations, own)
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.obj.Namespace, Name: d.Name, Labels: labels, Annotations: annotations, OwnerReferences: d.Owners(),
		},
		Type: typeOf(d.obj),
	}
}

// Owners returns the owner references: one that has the Secret deleted with its PayUToken, or none with Retain.
func (d Desired) Owners() []metav1.OwnerReference {
	if isRetained(d.obj) {
		return nil
	}
	return []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "PayUToken", Name: d.obj.Name, UID: d.obj.UID, Controller: ptr.To(true),
	}}
}

// labels returns the labels by which the operator knows its own Secrets.
func (d Desired) labels() map[string]string {
	return map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedBy,
		v1alpha1.LabelTokenUID:  string(d.obj.UID),
	}
}

func (d Desired) fields(token payu.Token) payload.Fields {
	return payload.Fields{
		AccessToken: token.AccessToken,
		TokenType:   token.Type,
		Scope:       token.Scope,
		ExpiresAt:   rfc3339(token.ExpiresAt),
		Environment: string(d.obj.Spec.Environment),
	}
}

// Scopes returns the scopes that a PayUToken asks for.
func Scopes(obj *v1alpha1.PayUToken) []string {
	list := make([]string, len(obj.Spec.Scopes))
	for i, s := range obj.Spec.Scopes {
		list[i] = string(s)
	}
	return list
}

// Placeholder returns a token that has the form of a real one and is none, to try a write with.
func Placeholder(obj *v1alpha1.PayUToken, now time.Time) payu.Token {
	return payu.Token{
		AccessToken: strings.Repeat("0", 64), Type: "Bearer", Scope: strings.Join(Scopes(obj), " "),
		FetchedAt: now.Truncate(time.Second), ExpiresAt: now.Truncate(time.Second).Add(time.Hour),
	}
}

// flatten returns a title and the pairs of a map in the order of its keys.
func flatten(title string, m map[string]string) []string {
	parts := []string{title}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, key, m[key])
	}
	return parts
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }
