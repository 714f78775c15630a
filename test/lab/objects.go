package lab

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// Edit changes a PayUToken.
type Edit func(*v1alpha1.PayUToken)

// NewToken is a PayUToken for payment links of the environment Test, with the credentials "payu-credentials", unless edits say
// otherwise.
func NewToken(namespace, name string, edits ...Edit) *v1alpha1.PayUToken {
	token := &v1alpha1.PayUToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.EnvironmentTest,
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "payu-credentials"},
			Scopes:               []v1alpha1.Scope{"create_payment_links", "read_payment_links"},
		},
	}
	for _, edit := range edits {
		edit(token)
	}
	return token
}

// Of names the environment.
func Of(environment v1alpha1.Environment) Edit {
	return func(token *v1alpha1.PayUToken) { token.Spec.Environment = environment }
}

// With names the credentials.
func With(credentials string) Edit {
	return func(token *v1alpha1.PayUToken) {
		token.Spec.CredentialsSecretRef.Name = v1alpha1.SecretName(credentials)
	}
}

// For names the scopes.
func For(scopes ...string) Edit {
	return func(token *v1alpha1.PayUToken) {
		token.Spec.Scopes = nil
		for _, scope := range scopes {
			token.Spec.Scopes = append(token.Spec.Scopes, v1alpha1.Scope(scope))
		}
	}
}

// Into names the target Secret.
func Into(secret string) Edit {
	return func(token *v1alpha1.PayUToken) { token.Spec.Target.Name = v1alpha1.SecretName(secret) }
}

// Labelled adds a label.
func Labelled(key, value string) Edit {
	return func(token *v1alpha1.PayUToken) { metav1.SetMetaDataLabel(&token.ObjectMeta, key, value) }
}

// Refresh asks for a new token.
func Refresh(value string) Edit {
	return func(token *v1alpha1.PayUToken) {
		metav1.SetMetaDataAnnotation(&token.ObjectMeta, v1alpha1.AnnotationRefreshRequestedAt, value)
	}
}

// NewCredentials is a Secret with the client ID and secret of a client.
func NewCredentials(namespace, name, id, secret string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string][]byte{"client_id": []byte(id), "client_secret": []byte(secret)},
	}
}

// AccessToken is the token that a Secret holds.
func AccessToken(secret *corev1.Secret) string { return string(secret.Data[v1alpha1.KeyAccessToken]) }

// Conditions shows conditions in short, and in order: "Ready=True/TokenValid Refreshed=True/Succeeded".
func Conditions(conditions []metav1.Condition) string {
	var short []string
	for _, c := range conditions {
		short = append(short, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
	}
	slices.Sort(short)
	return strings.Join(short, " ")
}
