package plugin_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestVersionNamesTheOperator(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	if got := s.run("--version"); got.stdout != "kubectl-payutoken v1.2.3-test\n" || got.code != 0 {
		t.Errorf("--version: %d, %q", got.code, got.stdout)
	}
	if got := s.run("version", "--client"); got.stdout != "kubectl-payutoken v1.2.3-test\n" || got.code != 0 {
		t.Errorf("version --client: %d, %q", got.code, got.stdout)
	}
	s.somebody("[{apiGroups: [''], resources: [pods], verbs: [list]}, {apiGroups: [auth.payu.in], resources: [payutokens], verbs: [get]}]")
	s.run("version").want(t, 0, "kubectl-payutoken v1.2.3-test\noperator not found: no pod that you may see has the label")
	for _, name := range []string{"one", "two"} {
		check(t, cluster.Client.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/name": "payu-token-operator"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "manager", Image: "registry.example.com/payu-token-operator:v0.1.0"}}}}))
	}
	s.run("version").want(t, 0, "operator registry.example.com/payu-token-operator:v0.1.0 in namespace "+s.namespace+", 2 pods\n")
	s.kubeconfig = s.file("config", "")
	s.run("version").want(t, 0, "operator unknown: no cluster is configured")
}
