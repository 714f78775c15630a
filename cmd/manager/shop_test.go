package main_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

const (
	merchant       = "merchant"
	merchantSecret = "s3cr3t+%26=/one"
)

// shop is a namespace of one test, with credentials of one merchant.
type shop struct {
	*testing.T
	ctx       context.Context
	namespace string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{T: t, ctx: t.Context(), namespace: must(cluster.Namespace(t.Context()))(t)}
	s.credentials("payu-credentials", merchant, merchantSecret)
	return s
}

// runPayU starts a PayU that knows the merchant.
func runPayU(t *testing.T, config payutest.Config) *payutest.Running {
	t.Helper()
	config.Clients = []payutest.Client{{ID: merchant, Secret: merchantSecret}}
	return payutest.Run(t, config)
}

// asking returns the flags with which the operator asks that PayU.
func asking(server *payutest.Running) []string {
	return []string{"--test-base-url=" + server.URL, "--ca-file=" + server.CAFile}
}

// operate starts an operator that works in this shop only and asks that PayU.
func (s *shop) operate(server *payutest.Running, args ...string) *operator {
	s.Helper()
	args = append([]string{"--watch-namespaces=" + s.namespace}, args...)
	return launch(s.T, cluster.Kubeconfig, append(asking(server), args...)...)
}

func (s *shop) credentials(name, id, secret string) {
	s.Helper()
	check(s.T, cluster.Client.Create(s.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		StringData: map[string]string{"client_id": id, "client_secret": secret},
	}))
}

type edit func(*v1alpha1.PayUToken)

// create makes a PayUToken for the merchant, labelled so that an operator of the whole cluster can tell whose it is.
func (s *shop) create(name string, edits ...edit) {
	s.Helper()
	token := &v1alpha1.PayUToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{"shop": s.namespace}},
		Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.EnvironmentTest,
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "payu-credentials"},
			Scopes:               []v1alpha1.Scope{"create_payment_links", "read_payment_links"},
		},
	}
	for _, change := range edits {
		change(token)
	}
	check(s.T, cluster.Client.Create(s.ctx, token))
}

func labelled(key, value string) edit {
	return func(p *v1alpha1.PayUToken) { p.Labels[key] = value }
}

func credentialsOf(name v1alpha1.SecretName) edit {
	return func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.Name = name }
}

func target(name v1alpha1.SecretName) edit {
	return func(p *v1alpha1.PayUToken) { p.Spec.Target.Name = name }
}

func refresh(value string) edit {
	return func(p *v1alpha1.PayUToken) {
		p.Annotations = map[string]string{v1alpha1.AnnotationRefreshRequestedAt: value}
	}
}

// change edits a PayUToken as a user does.
func (s *shop) change(name string, change edit) {
	s.Helper()
	token := s.token(name)
	stored := token.DeepCopy()
	change(token)
	check(s.T, cluster.Client.Patch(s.ctx, token, client.MergeFrom(stored)))
}

func (s *shop) token(name string) *v1alpha1.PayUToken {
	s.Helper()
	token := &v1alpha1.PayUToken{}
	check(s.T, cluster.Client.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, token))
	return token
}

// secret returns a Secret, nil if there is none.
func (s *shop) secret(name string) *corev1.Secret {
	s.Helper()
	secret := &corev1.Secret{}
	err := cluster.Client.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, secret)
	if err == nil {
		return secret
	}
	check(s.T, client.IgnoreNotFound(err))
	return nil
}

// value returns the access token that a Secret holds.
func (s *shop) value(name string) string {
	s.Helper()
	secret := s.secret(name)
	if secret == nil {
		s.Fatalf("there is no Secret %s", name)
	}
	return string(secret.Data[v1alpha1.KeyAccessToken])
}

// awaitCondition waits for "Ready=True/TokenValid" and the like.
func (s *shop) awaitCondition(name, want string) {
	s.Helper()
	await(s.T, want+" on "+name, func() bool { return strings.Contains(conditions(s.token(name)), want+" ") })
}

func (s *shop) awaitReady(name string) {
	s.Helper()
	s.awaitCondition(name, "Ready=True/TokenValid")
}

func conditions(token *v1alpha1.PayUToken) string {
	var b strings.Builder
	for _, c := range token.Status.Conditions {
		b.WriteString(c.Type + "=" + string(c.Status) + "/" + c.Reason + " ")
	}
	return b.String()
}

func (s *shop) message(name, condition string) string {
	s.Helper()
	c := meta.FindStatusCondition(s.token(name).Status.Conditions, condition)
	if c == nil {
		s.Fatalf("%s has no condition %s", name, condition)
	}
	return c.Message
}

// expectUntouched checks that no operator has looked at a PayUToken.
func (s *shop) expectUntouched(name string) {
	s.Helper()
	if status := s.token(name).Status; status.ObservedGeneration != -1 || len(status.Conditions) > 0 {
		s.Errorf("%s/%s was handled: %+v", s.namespace, name, status)
	}
	if s.secret(name) != nil {
		s.Errorf("there is a Secret %s/%s", s.namespace, name)
	}
}
