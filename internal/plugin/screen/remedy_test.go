package screen_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
)

const command = `kubectl annotate payutoken payment-links -n shop --overwrite auth.payu.in/refresh-requested-at="$(date)"`

// A command can be copied from a terminal of any width, wherever the message is shown.
func TestCommandsAreNotBroken(t *testing.T) {
	token := well("payment-links", ready(metav1.ConditionFalse, v1alpha1.ReasonUnauthorizedClient,
		"PayU answered unauthorized_client: ask PayU to allow it; after a change on PayU's side, run: "+command))
	for width := 20; width <= 200; width += 20 {
		text := screen.Status(screen.Report{Token: &token}, now, width).String()
		if !strings.Contains(text, "run:\n    "+command+"\n") {
			t.Errorf("on a screen of %d:\n%s", width, text)
		}
	}
}

// No reason has credentials written into a Secret of a token, or that Secret labelled as one of credentials.
func TestNoAdviceWritesCredentialsIntoATarget(t *testing.T) {
	for _, reason := range reasonsOfTheAPI(t) {
		token := well("payment-links", ready(metav1.ConditionFalse, reason, "it lacks the label that this operator requires"))
		text := screen.Status(screen.Report{Token: &token, CredentialsAreATarget: true}, now, 100).String()
		if strings.Contains(text, "kubectl create secret") || strings.Contains(text, "kubectl label") && reason == v1alpha1.ReasonCredentialsInvalid || strings.Contains(text, "issued by PayU to Secret") {
			t.Errorf("%s:\n%s", reason, text)
		}
	}
}
