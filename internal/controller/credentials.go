package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// credentials reads the client credentials of PayUTokens. This is the one place that knows where they come from.
type credentials struct {
	own    client.Reader // the operator's own Secrets, from a cache
	others client.Reader // the metadata of all others, from a cache
	live   client.Reader // the API server
}

// version identifies a state of the credentials Secret.
type version struct {
	uid             types.UID
	resourceVersion string
}

func versionOf(secret metav1.Object) version {
	return version{uid: secret.GetUID(), resourceVersion: secret.GetResourceVersion()}
}

// peek returns the version that the credentials have in the caches, zero if the Secret is not there.
func (c credentials) peek(ctx context.Context, token *v1alpha1.PayUToken) (version, error) {
	other := &metav1.PartialObjectMetadata{}
	other.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := c.others.Get(ctx, credentialsKey(token), other)
	if !apierrors.IsNotFound(err) {
		return versionOf(other), err
	}
	labelled := &corev1.Secret{} // as the operator labels its own
	err = c.own.Get(ctx, credentialsKey(token), labelled)
	return versionOf(labelled), client.IgnoreNotFound(err)
}

// read returns, from the API server, the source that a token for this PayUToken is made from and the version of
// the credentials in it; or the problem that a person must mend; or an error of the API server.
func (c credentials) read(ctx context.Context, token *v1alpha1.PayUToken) (payu.Source, version, *problem, error) {
	ref := token.Spec.CredentialsSecretRef
	secret := &corev1.Secret{}
	err := c.live.Get(ctx, credentialsKey(token), secret)
	if apierrors.IsNotFound(err) {
		return payu.Source{}, version{}, stalled(v1alpha1.ReasonCredentialsNotFound,
			fmt.Sprintf("Secret %q does not exist: create it with the client ID and client secret that PayU gave to you", ref.Name)), nil
	}
	if err != nil {
		return payu.Source{}, version{}, nil, fmt.Errorf("reading credentials Secret %q: %w", ref.Name, err)
	}
	id, p := credential(secret, string(ref.ClientIDKey))
	if p != nil {
		return payu.Source{}, versionOf(secret), p, nil
	}
	clientSecret, p := credential(secret, string(ref.ClientSecretKey))
	if p != nil {
		return payu.Source{}, versionOf(secret), p, nil
	}
	return payu.Source{
		Environment: string(token.Spec.Environment),
		Credentials: payu.Credentials{ClientID: id, ClientSecret: clientSecret},
		Scopes:      scopes(token),
	}, versionOf(secret), nil, nil
}

func credential(secret *corev1.Secret, key string) (string, *problem) {
	value, ok := secret.Data[key]
	if !ok {
		return "", stalled(v1alpha1.ReasonCredentialsNotFound,
			fmt.Sprintf("Secret %q has no key %q: add it, or name another key in spec.credentialsSecretRef", secret.Name, key))
	}
	credential, err := payu.ParseCredential(value)
	if err != nil {
		return "", stalled(v1alpha1.ReasonCredentialsInvalid,
			fmt.Sprintf("Key %q of Secret %q %v: write the value that PayU gave to you", key, secret.Name, err))
	}
	return credential, nil
}

func credentialsKey(token *v1alpha1.PayUToken) types.NamespacedName {
	return types.NamespacedName{Namespace: token.Namespace, Name: string(token.Spec.CredentialsSecretRef.Name)}
}

func scopes(token *v1alpha1.PayUToken) []string {
	list := make([]string, len(token.Spec.Scopes))
	for i, s := range token.Spec.Scopes {
		list[i] = string(s)
	}
	return list
}
