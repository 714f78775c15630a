package main_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// warnings counts those that an API server sends.
type warnings struct{ atomic.Int32 }

func (w *warnings) HandleWarningHeaderWithContext(context.Context, int, string, string) { w.Add(1) }

// TestWarningsOfAPolicyDoNotBetrayAToken: an admission webhook, or a policy with validationActions [Warn], sends words with an
// answer that is no error. controller-runtime's client logs them as they are unless it is told not to.
func TestWarningsOfAPolicyDoNotBetrayAToken(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.warnOfSecrets()
	server := lab.RunPayU(t, payutest.Config{})
	o := s.operate(server, "--log-level=info")
	s.create("links")
	s.AwaitReady("links")
	o.Stop()
	said := o.Log.Text()
	for _, issued := range server.Issued() {
		for _, form := range []string{issued.Token, base64.StdEncoding.EncodeToString([]byte(issued.Token))} {
			if at := strings.Index(said, form); at >= 0 {
				t.Errorf("the token is in the log: …%s…", said[max(0, at-200):at+len(form)])
			}
		}
	}
}

// warnOfSecrets has a policy warn of the Secrets of this namespace, and quote them.
func (s *shop) warnOfSecrets() {
	s.Helper()
	fail := admissionv1.Fail
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: s.Namespace},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
			}}}},
			Validations: []admissionv1.Validation{{
				Expression:        "!has(object.data) || !('access_token' in object.data)",
				MessageExpression: "'keep tokens in Vault, and not here: ' + string(object.data['access_token'])",
			}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.Namespace},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: s.Namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Warn},
			MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.Namespace}}},
		},
	}
	for _, o := range []client.Object{policy, binding} {
		lab.Check(s.T, cluster.Client.Create(s.Context(), o))
		s.Cleanup(func() { lab.Check(s.T, cluster.Client.Delete(context.WithoutCancel(s.Context()), o)) })
	}
	heard := &warnings{}
	config := rest.CopyConfig(cluster.Config)
	config.WarningHandlerWithContext = heard
	probing := lab.Must(client.New(config, client.Options{Scheme: cluster.Client.Scheme()}))(s.T)
	lab.AwaitTrue(s.T, "a warning of the policy", func() bool {
		probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "probe"}, StringData: map[string]string{"access_token": "abcd"}}
		lab.Check(s.T, probing.Create(s.Context(), probe, client.DryRunAll))
		return heard.Load() > 0
	})
}

// TestANamespaceThatIsNamedTwiceDoesNotEndTheMetrics: its metric has one series, or the flag is refused. Two series of one name
// are an error of the scrape as a whole.
func TestANamespaceThatIsNamedTwiceDoesNotEndTheMetrics(t *testing.T) {
	t.Parallel()
	s, address := newShop(t), lab.Must(lab.FreeAddress())(t)
	launch(t, cluster.Kubeconfig, fmt.Sprintf("--watch-namespaces=%s,%[1]s", s.Namespace), "--metrics-bind-address="+address, "--metrics-secure=false")
	var status int
	var body string
	lab.AwaitTrue(t, "an answer to a scrape", func() bool {
		status, body = get(plainClient(t), "http://"+address+"/metrics", "")
		return status != 0
	})
	if status != http.StatusOK {
		t.Errorf("status %d: %.300s", status, body)
	}
}
