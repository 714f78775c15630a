package plugin

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// The default keys of a credentials Secret.
const (
	defaultIDKey     = "client_id"
	defaultSecretKey = "client_secret"
)

// readEnvFile reads a file of lines KEY=VALUE, as kubectl create secret --from-env-file does: it skips empty lines and
// lines that begin with #, and quotes are part of a value. An error never contains a value.
func readEnvFile(path string) (map[string][]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := map[string][]byte{}
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimLeft(lines.Text(), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		switch _, again := values[key]; {
		case !found:
			return nil, fmt.Errorf("%s: line %d is not of the form KEY=VALUE", path, n)
		case len(validation.IsConfigMapKey(key)) > 0:
			return nil, fmt.Errorf("%s: line %d: this is not a key of a Secret: use letters, digits, '-', '_' and '.'", path, n)
		case again:
			return nil, fmt.Errorf("%s: line %d: the key %s is repeated: write it once", path, n, key)
		}
		values[key] = []byte(value)
	}
	return values, lines.Err()
}

// readSecret reads the credentials Secret of a PayUToken. A missing Secret is not an error.
func (c *cluster) readSecret(ctx context.Context, token *v1alpha1.PayUToken) (values map[string][]byte, exists bool, err error) {
	secret := &corev1.Secret{}
	err = c.Get(ctx, client.ObjectKey{Namespace: token.Namespace, Name: string(token.Spec.CredentialsSecretRef.Name)}, secret)
	return secret.Data, err == nil, client.IgnoreNotFound(err)
}

// credentialsIn returns the client ID and client secret that a PayUToken names, or the reason why they are unusable and an
// error that names the place of the values.
func credentialsIn(values map[string][]byte, place string, ref v1alpha1.CredentialsSecretRef) (c payu.Credentials, reason string, err error) {
	if c.ClientID, reason, err = credentialIn(values, place, string(ref.ClientIDKey)); err != nil {
		return c, reason, err
	}
	c.ClientSecret, reason, err = credentialIn(values, place, string(ref.ClientSecretKey))
	return c, reason, err
}

func credentialIn(values map[string][]byte, place, key string) (value, reason string, err error) {
	raw, ok := values[key]
	if !ok {
		return "", v1alpha1.ReasonCredentialsNotFound, fmt.Errorf("%s has no key %q", place, key)
	}
	if value, err = payu.ParseCredential(raw); err != nil {
		return "", v1alpha1.ReasonCredentialsInvalid, fmt.Errorf("key %q of %s %w", key, place, err)
	}
	return value, "", nil
}
