package main_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestAWebhookThatHangsDelaysNoOtherNamespace has 100 PayUTokens whose Secrets an admission webhook does not answer for, and
// renews one in another namespace again and again beside them.
func TestAWebhookThatHangsDelaysNoOtherNamespace(t *testing.T) {
	t.Parallel()
	hangs, well := newShop(t), newShop(t)
	hangs.askAWebhook(silentServer(t))
	server := lab.RunPayU(t, payutest.Config{})
	well.operate(server, "--watch-namespaces="+hangs.Namespace+","+well.Namespace)
	well.create("links")
	well.AwaitReady("links")
	for n := range 100 {
		hangs.create(fmt.Sprintf("token-%02d", n))
	}
	hangs.AwaitCondition("token-00", "Ready=False/"+v1alpha1.ReasonTargetWriteFailed)
	var longest time.Duration
	for n := range 3 { // two requests for a client are 5 s apart
		value, began := well.AccessToken("links"), time.Now()
		well.Change("links", lab.Refresh(strconv.Itoa(n)))
		lab.AwaitTrue(t, "the Secret has a new token", func() bool { return well.AccessToken("links") != value })
		longest = max(longest, time.Since(began))
	}
	t.Logf("renewals beside 100 PayUTokens whose webhook hangs took %s at most, of which PayU's floor is 5 s", longest)
	if longest > 8*time.Second {
		t.Errorf("a renewal took %s", longest)
	}
}

// askAWebhook has the API server ask a webhook about the Secrets of this namespace that the operator makes.
func (s *shop) askAWebhook(address string) {
	s.Helper()
	hook := &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: s.Namespace},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "hangs.example.com", SideEffects: ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionv1.WebhookClientConfig{URL: ptr.To("https://" + address + "/validate")},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.Namespace}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
			}},
		}},
	}
	lab.Check(s.T, cluster.Client.Create(s.Context(), hook))
	s.Cleanup(func() { lab.Check(s.T, cluster.Client.Delete(context.WithoutCancel(s.Context()), hook)) })
}
