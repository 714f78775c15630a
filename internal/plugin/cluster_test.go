package plugin_test

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestOnAClusterOfItsOwn does what the other tests' cluster would not survive.
func TestOnAClusterOfItsOwn(t *testing.T) {
	t.Parallel()
	own := must(lab.StartCluster())(t)
	t.Cleanup(func() { check(t, own.Stop()) })
	t.Run("the watch outlives the API server", func(t *testing.T) { testOutlivesTheAPIServer(t, own) })
	t.Run("without the CRD", func(t *testing.T) { testWithoutTheCRD(t, own) })
}

func testOutlivesTheAPIServer(t *testing.T, own *lab.Cluster) {
	s := newShop(t)
	s.kubeconfig, s.namespace = own.Kubeconfig, must(own.Namespace(t.Context()))(t)
	s.terminal = &plugin.Terminal{Size: func() (int, int) { return 100, 30 }}
	ctx, stop := context.WithCancel(t.Context())
	p := s.start(ctx, "list", "-w")
	last := func(text string) string { return text[max(0, strings.LastIndex(text, "\x1b[H")):] }
	p.awaitOutput("the first picture", func(text string) bool { return strings.Contains(last(text), "no PayUTokens") })
	check(t, own.StopAPIServer())
	p.awaitOutput("the trouble", func(text string) bool { return strings.Contains(last(text), "Not up to date: the API server https://") })
	check(t, own.StartAPIServer())
	token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "late"}, Spec: v1alpha1.PayUTokenSpec{
		Environment: v1alpha1.EnvironmentTest, Scopes: []v1alpha1.Scope{"a"}, CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "c"}}}
	check(t, own.Client.Create(t.Context(), token))
	p.awaitOutput("what happened since", func(text string) bool {
		return strings.Contains(last(text), "late") && !strings.Contains(last(text), "Not up to date")
	})
	stop()
	p.await().want(t, 130)
}

func testWithoutTheCRD(t *testing.T, own *lab.Cluster) {
	must(own.Kubectl(t.Context(), "delete", "crd", "payutokens.auth.payu.in"))(t)
	s := newShop(t)
	s.kubeconfig, s.namespace = own.Kubeconfig, "default"
	for _, line := range everyCommand {
		s.run(strings.Fields(line)...).wantError(t, "this cluster has no PayUTokens (auth.payu.in/v1alpha1): install the operator with its CRD")
	}
}
