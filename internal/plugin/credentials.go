package plugin

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
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
		case again && payu.MayBeCredential(key):
			return nil, fmt.Errorf("%s: line %d: the key is repeated, and looks like a credential: write lines KEY=VALUE, each key once", path, n)
		case again:
			return nil, fmt.Errorf("%s: line %d: the key %s is repeated: write it once", path, n, key)
		}
		values[key] = []byte(value)
	}
	return values, lines.Err()
}

// readSecret reads the credentials Secret of a PayUToken. One that the operator wrote is not read further: what it holds must
// not leave the cluster.
func (c *cluster) readSecret(ctx context.Context, token *v1alpha1.PayUToken) (origin, error) {
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: token.Namespace, Name: string(token.Spec.CredentialsSecretRef.Name)}
	from := origin{place: fmt.Sprintf("Secret %q in namespace %q", key.Name, key.Namespace)}
	err := c.Get(ctx, key, secret)
	switch {
	case apierrors.IsNotFound(err):
		return from, unusable(v1alpha1.ReasonCredentialsNotFound, "%s does not exist", from.place)
	case err == nil && target.IsWritten(secret):
		return from, unusable(v1alpha1.ReasonCredentialsInvalid,
			"%s was written by this operator and holds a token: name the Secret with the client ID and client secret in spec.credentialsSecretRef", from.place)
	}
	from.values = secret.Data
	return from, err
}

// unusableError says why credentials cannot be used.
type unusableError struct {
	reason string // the operator's
	error
}

func unusable(reason, format string, args ...any) error {
	return unusableError{reason, fmt.Errorf(format, args...)}
}

// origin is where credentials are read from.
type origin struct {
	place  string // in words
	isFile bool
	values map[string][]byte
}

func fileOrigin(path string) (origin, error) {
	values, err := readEnvFile(path)
	return origin{place: path, isFile: true, values: values}, err
}

// credentials returns the client ID and client secret that a PayUToken names, or an unusableError.
func (from origin) credentials(ref v1alpha1.CredentialsSecretRef) (c payu.Credentials, err error) {
	if err := from.misplaced(ref); err != nil {
		return c, err
	}
	lines := fmt.Sprintf("write the lines %s=… and %s=…", ref.ClientIDKey, ref.ClientSecretKey)
	if c.ClientID, err = from.credential(string(ref.ClientIDKey), "clientIDKey", lines); err != nil {
		return c, err
	}
	c.ClientSecret, err = from.credential(string(ref.ClientSecretKey), "clientSecretKey", lines)
	return c, err
}

func (from origin) credential(key, field, lines string) (string, error) {
	raw, ok := from.values[key]
	if !ok {
		advice := "add it, or name a different key in spec.credentialsSecretRef." + field
		if from.isFile {
			advice = lines
		}
		return "", unusable(v1alpha1.ReasonCredentialsNotFound, "%s has no key %q (%s): %s", from.place, key, from.keys(), advice)
	}
	value, err := payu.ParseCredential(raw)
	if err != nil {
		return "", unusable(v1alpha1.ReasonCredentialsInvalid, "key %q of %s %w", key, from.place, err)
	}
	return value, nil
}

// misplaced refuses a PayUToken that has the credentials where their keys belong.
func (from origin) misplaced(ref v1alpha1.CredentialsSecretRef) error {
	for _, key := range []struct{ field, value string }{{"clientIDKey", string(ref.ClientIDKey)}, {"clientSecretKey", string(ref.ClientSecretKey)}} {
		if _, ok := from.values[key.value]; !ok && payu.MayBeCredential(key.value) {
			return unusable(v1alpha1.ReasonCredentialsNotFound, "%s has no key of the name in spec.credentialsSecretRef.%s, which looks like a credential: "+
				"write the name of a key there, for example client_id", from.place, key.field)
		}
	}
	return nil
}

// keys lists the keys that are there, except those that may be a misplaced credential.
func (from origin) keys() string {
	const most = 8
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(from.values)), payu.MayBeCredential)
	var list []string
	list = append(list, keys[:min(len(keys), most)]...)
	if more := len(keys) - most; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	switch hidden := len(from.values) - len(keys); {
	case hidden == 1:
		list = append(list, "1 that looks like a credential")
	case hidden > 1:
		list = append(list, fmt.Sprintf("%d that look like credentials", hidden))
	case len(list) == 0:
		return "it has no keys"
	}
	return "it has the keys " + strings.Join(list, ", ")
}

// credentialsHint says what looks wrong about credentials, without a character of them; empty if nothing does.
func credentialsHint(c payu.Credentials, ref v1alpha1.CredentialsSecretRef) string {
	odd := payu.Oddities(c, string(ref.ClientIDKey), string(ref.ClientSecretKey))
	if odd == "" {
		return ""
	}
	return odd + ": compare with what PayU issued"
}
