package controller

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// credentials reads the client credentials of PayUTokens. This is the one place that knows where they come from. Of
// each version of a Secret it keeps digests only; a client secret lives as long as the pass that read it.
type credentials struct {
	own    client.Reader // the operator's own Secrets, from a cache
	others client.Reader // the metadata of all others, from a cache
	live   client.Reader // the API server
	// requireLabel has only Secrets with v1alpha1.LabelCredentials used.
	requireLabel bool

	mu      sync.Mutex
	known   map[types.NamespacedName]map[clientReference]clientKeys // by the Secret's name
	reading singleflight.Group
}

// clientReference is how a PayUToken names its client.
type clientReference struct {
	secret           types.NamespacedName
	environment      v1alpha1.Environment
	idKey, secretKey v1alpha1.SecretKey
}

func referenceOf(obj *v1alpha1.PayUToken) clientReference {
	ref := obj.Spec.CredentialsSecretRef
	return clientReference{secret: credentialsKey(obj), environment: obj.Spec.Environment, idKey: ref.ClientIDKey, secretKey: ref.ClientSecretKey}
}

// with returns the reference together with a version, as one string: no name and no key of a Secret holds a slash.
func (ref clientReference) with(v version) string {
	return strings.Join([]string{ref.secret.Namespace, ref.secret.Name, string(ref.environment), string(ref.idKey), string(ref.secretKey),
		string(v.uid), v.resourceVersion}, "/")
}

// clientKeys is what is kept of the credentials: what tells sources apart, and what seals are made with.
type clientKeys struct {
	version version
	client  payu.Digest
	seal    target.Key
	// oddities says what about the credentials looks wrong, without a character of them.
	oddities string
}

// version identifies a state of the credentials Secret; zero if there is none.
type version struct {
	uid             types.UID
	resourceVersion string
}

func versionOf(secret metav1.Object) version {
	return version{uid: secret.GetUID(), resourceVersion: secret.GetResourceVersion()}
}

// keys returns the keys of a PayUToken's client. Credentials that were read for it come with them, else nil.
func (c *credentials) keys(ctx context.Context, obj *v1alpha1.PayUToken) (clientKeys, *payu.Credentials, *failure) {
	v, err := c.peek(ctx, obj)
	if err != nil {
		return clientKeys{}, nil, unreadable(obj, err)
	}
	c.mu.Lock()
	keys, ok := c.known[credentialsKey(obj)][referenceOf(obj)]
	c.mu.Unlock()
	if ok && keys.version == v {
		return keys, nil, nil
	}
	return c.read(ctx, obj, v)
}

// peek returns the version that the credentials have in the caches, zero if the Secret is not there.
func (c *credentials) peek(ctx context.Context, obj *v1alpha1.PayUToken) (version, error) {
	other := secretMetadata()
	err := c.others.Get(ctx, credentialsKey(obj), other)
	if !apierrors.IsNotFound(err) {
		return versionOf(other), err
	}
	labelled := &corev1.Secret{} // as the operator labels its own
	err = c.own.Get(ctx, credentialsKey(obj), labelled)
	return versionOf(labelled), client.IgnoreNotFound(err)
}

// reading is what one GET of a credentials Secret gave.
type reading struct {
	keys        clientKeys
	credentials *payu.Credentials // nil with a failure
	failure     *failure
}

// read reads the credentials from the API server, once for all that want them at the same time and have seen the same version:
// an answer that is on its way since before an edit is not for those whom the edit has woken.
func (c *credentials) read(ctx context.Context, obj *v1alpha1.PayUToken, seen version) (clientKeys, *payu.Credentials, *failure) {
	ref := referenceOf(obj)
	result, _, _ := c.reading.Do(ref.with(seen), func() (any, error) { return c.readNow(ctx, obj, ref), nil })
	read := result.(reading)
	return read.keys, read.credentials, read.failure
}

func (c *credentials) readNow(ctx context.Context, obj *v1alpha1.PayUToken, ref clientReference) reading {
	secret := &corev1.Secret{}
	err := c.live.Get(ctx, ref.secret, secret)
	if apierrors.IsNotFound(err) {
		return reading{failure: c.missing(ref.secret)}
	}
	if err != nil {
		return reading{failure: unreadable(obj, err)}
	}
	found, f := c.in(secret, ref)
	keys := clientKeys{version: versionOf(secret)}
	if f != nil {
		return reading{keys: keys, failure: f}
	}
	keys.client = payu.ClientKey(string(ref.environment), found)
	keys.seal = target.KeyFor(string(ref.environment), found)
	keys.oddities = odditiesOf(found, ref)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[ref.secret] == nil {
		c.known[ref.secret] = map[clientReference]clientKeys{}
	}
	c.known[ref.secret][ref] = keys
	return reading{keys: keys, credentials: &found}
}

// forget drops what is kept of a Secret that is gone.
func (c *credentials) forget(secret types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, secret)
}

func unreadable(obj *v1alpha1.PayUToken, err error) *failure {
	name := obj.Spec.CredentialsSecretRef.Name
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return stalled(v1alpha1.ReasonCredentialsUnreadable,
			"The API server does not let the operator read Secret %q: grant it get, list and watch on secrets in namespace %q", name, obj.Namespace)
	}
	return transient(v1alpha1.ReasonCredentialsUnreadable, "The API server failed to read Secret %q: %s", name, wordsOf(err))
}

// missing says that a Secret does not exist.
func (c *credentials) missing(secret types.NamespacedName) *failure {
	with := "the client ID and client secret issued by PayU"
	if c.requireLabel {
		with += fmt.Sprintf(" and the label %s=true, which this operator requires", v1alpha1.LabelCredentials)
	}
	return stalled(v1alpha1.ReasonCredentialsNotFound,
		"Secret %q does not exist in namespace %q: create it with %s, or name a different one in spec.credentialsSecretRef.name", secret.Name, secret.Namespace, with)
}

// checkLabel says that a Secret lacks the label that lets it be used, or has it with another value.
func (c *credentials) checkLabel(secret *corev1.Secret) *failure {
	value, ok := secret.Labels[v1alpha1.LabelCredentials]
	if !c.requireLabel || value == "true" {
		return nil
	}
	wrong := "lacks the label that this operator requires of credentials"
	switch {
	case ok && payu.MayBeCredential(value):
		wrong += ` (its value is not "true")`
	case ok:
		wrong += fmt.Sprintf(` (its value is %q, not "true")`, value)
	}
	return stalled(v1alpha1.ReasonCredentialsInvalid, "Secret %q in namespace %q %s: run: kubectl label secret %s -n %s --overwrite %s=true",
		secret.Name, secret.Namespace, wrong, secret.Name, secret.Namespace, v1alpha1.LabelCredentials)
}

// in returns the credentials in a Secret, or what a person must fix.
func (c *credentials) in(secret *corev1.Secret, ref clientReference) (payu.Credentials, *failure) {
	if target.IsWritten(secret) {
		return payu.Credentials{}, stalled(v1alpha1.ReasonCredentialsInvalid,
			"Secret %q in namespace %q was written by this operator and holds a token: name the Secret with the client ID and client secret in spec.credentialsSecretRef",
			secret.Name, secret.Namespace)
	}
	if f := c.checkLabel(secret); f != nil {
		return payu.Credentials{}, f
	}
	if ref.idKey == ref.secretKey {
		return payu.Credentials{}, stalled(v1alpha1.ReasonCredentialsInvalid,
			"spec.credentialsSecretRef names one key twice: set clientIDKey to the key of the client ID and clientSecretKey to the key of the client secret")
	}
	idField, secretField := clientIDIn(ref.idKey), clientSecretIn(ref.secretKey)
	if f := checkKeys(secret, idField, secretField); f != nil {
		return payu.Credentials{}, f
	}
	id, f := credential(secret, idField)
	if f != nil {
		return payu.Credentials{}, f
	}
	clientSecret, f := credential(secret, secretField)
	return payu.Credentials{ClientID: id, ClientSecret: clientSecret}, f
}

func credential(secret *corev1.Secret, field keyField) (string, *failure) {
	credential, err := payu.ParseCredential(secret.Data[field.key])
	if err == nil {
		return credential, nil
	}
	if payu.MayBeCredential(field.key) {
		return "", stalled(v1alpha1.ReasonCredentialsInvalid,
			"The key of Secret %q in namespace %q that spec.credentialsSecretRef.%s names looks like a credential, and its value %v: write the value issued by PayU under a key such as %s, and name that key",
			secret.Name, secret.Namespace, field.field, err, field.usual)
	}
	return "", stalled(v1alpha1.ReasonCredentialsInvalid, "Key %q of Secret %q in namespace %q %v: write the value issued by PayU",
		field.key, secret.Name, secret.Namespace, err)
}

func credentialsKey(obj *v1alpha1.PayUToken) types.NamespacedName {
	return types.NamespacedName{Namespace: obj.Namespace, Name: string(obj.Spec.CredentialsSecretRef.Name)}
}
