package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// Merchant is the ID of a client of PayU. Its secret has all that is odd in a form.
const (
	Merchant       = "merchant"
	MerchantSecret = "s3cr3t+%26=/one"
)

// RunPayU runs a PayU for the duration of a test. It knows the merchant, unless it is told whom it knows.
func RunPayU(t *testing.T, config payutest.Config) *payutest.Running {
	t.Helper()
	if config.Clients == nil {
		config.Clients = []payutest.Client{{ID: Merchant, Secret: MerchantSecret}}
	}
	return payutest.Run(t, config)
}

// Asking returns the flags with which the operator asks that PayU.
func Asking(payu *payutest.Running) []string {
	return []string{"--test-base-url=" + payu.URL, "--ca-file=" + payu.CAFile}
}

// Shop is a namespace, and what its people do in it. They are administrators.
type Shop struct {
	*testing.T
	*Cluster
	Namespace string
}

// NewShop creates a namespace for a test.
func (c *Cluster) NewShop(t *testing.T) *Shop {
	t.Helper()
	return c.ShopIn(t, Must(c.Namespace(t.Context()))(t))
}

// ShopIn is a shop in a namespace that there is.
func (c *Cluster) ShopIn(t *testing.T, namespace string) *Shop {
	return &Shop{T: t, Cluster: c, Namespace: namespace}
}

// Operate runs an operator that works in this shop only and asks that PayU.
func (s *Shop) Operate(payu *payutest.Running, flags ...string) *RunningOperator {
	s.Helper()
	return RunOperator(s.T, nil, s.Kubeconfig, append(append(Asking(payu), "--watch-namespaces="+s.Namespace), flags...)...)
}

// Credentials creates a Secret with the client ID and secret of a client.
func (s *Shop) Credentials(name, id, secret string) {
	s.Helper()
	Check(s, s.Client.Create(s.Context(), NewCredentials(s.Namespace, name, id, secret)))
}

// Create creates a PayUToken.
func (s *Shop) Create(name string, edits ...Edit) *v1alpha1.PayUToken {
	s.Helper()
	token := NewToken(s.Namespace, name, edits...)
	Check(s, s.Client.Create(s.Context(), token))
	return token
}

// Change edits a PayUToken as a user does.
func (s *Shop) Change(name string, edit Edit) {
	s.Helper()
	token := s.Token(name)
	stored := token.DeepCopy()
	edit(token)
	Check(s, s.Client.Patch(s.Context(), token, client.MergeFrom(stored)))
}

// Key is the name of an object of the shop, with the namespace.
func (s *Shop) Key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: s.Namespace, Name: name}
}

// Token reads a PayUToken.
func (s *Shop) Token(name string) *v1alpha1.PayUToken {
	s.Helper()
	token := &v1alpha1.PayUToken{}
	Check(s, s.Client.Get(s.Context(), s.Key(name), token))
	return token
}

// Secret reads a Secret, nil if there is none.
func (s *Shop) Secret(name string) *corev1.Secret {
	s.Helper()
	secret := &corev1.Secret{}
	err := s.Client.Get(s.Context(), s.Key(name), secret)
	if err == nil {
		return secret
	}
	Check(s, client.IgnoreNotFound(err))
	return nil
}

// AccessToken is the token that a Secret holds, which must be there.
func (s *Shop) AccessToken(name string) string {
	s.Helper()
	secret := s.Secret(name)
	if secret == nil {
		s.Fatalf("there is no Secret %s", name)
	}
	return AccessToken(secret)
}

// AwaitCondition waits for "Ready=True/TokenValid" and the like.
func (s *Shop) AwaitCondition(name, want string) {
	s.Helper()
	AwaitTrue(s, want+" on "+name, func() bool { return strings.Contains(Conditions(s.Token(name).Status.Conditions)+" ", want+" ") })
}

// AwaitReady waits until a PayUToken is Ready.
func (s *Shop) AwaitReady(name string) {
	s.Helper()
	s.AwaitCondition(name, "Ready=True/TokenValid")
}

// Message is that of a condition, which must be there.
func (s *Shop) Message(name, condition string) string {
	s.Helper()
	c := meta.FindStatusCondition(s.Token(name).Status.Conditions, condition)
	if c == nil {
		s.Fatalf("%s has no condition %s", name, condition)
	}
	return c.Message
}

// MustKubectl runs kubectl, which must succeed.
func (s *Shop) MustKubectl(args ...string) string {
	s.Helper()
	return Must(s.Kubectl(s.Context(), args...))(s)
}

// File writes a file for the test and returns its path.
func File(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	Check(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}
