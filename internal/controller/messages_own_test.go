package controller

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// message returns the message of a condition, empty if it is absent.
func (w *world) message(name, kind string) string {
	w.Helper()
	if c := meta.FindStatusCondition(w.token(name).Status.Conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

// Two PayUTokens share a client, whose secret is wrong. After a restart of the operator one of them shows the message of the
// other: the wrong name of the Secret (of any namespace), the wrong keys, and a command for the wrong PayUToken.
func TestAfterARestartEachPayUTokenSpeaksOfItsOwnSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("first-credentials", "merchant", "wrong")
	w.credentials("second-credentials", "merchant", "wrong")
	w.create("first", readsFrom("first-credentials"))
	w.create("second", readsFrom("second-credentials"))
	w.run()
	w.restart()
	w.run()
	for _, name := range []string{"first", "second"} {
		for _, kind := range []string{v1alpha1.ConditionRefreshed, v1alpha1.ConditionStalled} {
			if m := w.message(name, kind); !strings.Contains(m, name+"-credentials") || !strings.Contains(m, "payutoken "+name+" -n") {
				t.Errorf("PayUToken %s says in %s: %s", name, kind, m)
			}
		}
	}
}

// After a restart the rate limit, and who is to wait, is as before; and the message of another reason than the sharer's own. Here: the
// oddities of one PayUToken's credentials are told of the other's, whose values are in order but for PayU.
func TestAfterARestartOdditiesAreOfTheOwnCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	for name, keys := range map[string][2]string{"first-credentials": {"client_id", "client_secret"}, "second-credentials": {"id", "secret"}} {
		w.apply(&corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
			Data: map[string][]byte{keys[0]: []byte(issuedID), keys[1]: []byte(`"` + issuedSecret + `"`)}})
	}
	w.create("first", readsFrom("first-credentials"))
	w.create("second", readsFrom("second-credentials"), func(p *v1alpha1.PayUToken) {
		p.Spec.CredentialsSecretRef.ClientIDKey, p.Spec.CredentialsSecretRef.ClientSecretKey = "id", "secret"
	})
	w.run()
	before := map[string]string{"first": w.message("first", "Stalled"), "second": w.message("second", "Stalled")}
	w.restart()
	w.run()
	for name, want := range before {
		if got := w.message(name, "Stalled"); got != want {
			t.Errorf("PayUToken %s says after a restart:\n%s\nand said before:\n%s", name, got, want)
		}
	}
}

// The same over namespaces: after a restart a team reads the name of another team's namespace, Secret, keys and PayUToken, what looks odd
// about its values, and a command that it must not run.
func TestAfterARestartNoMessageNamesAnotherNamespace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", "wrong")
	w.create("links")
	other := w.elsewhere("links")
	both := func() {
		w.run()
		for range 3 {
			_, err := w.operator.Reconcile(w.ctx, inNamespace(other, "links"))
			w.must(err)
			w.settle()
		}
		w.drainQueue()
	}
	both()
	w.restart()
	both()
	token := &v1alpha1.PayUToken{}
	w.must(w.user.Get(w.ctx, client.ObjectKey{Namespace: other, Name: "links"}, token))
	c := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionStalled)
	if c == nil || strings.Contains(c.Message, w.namespace) {
		t.Errorf("PayUToken links in namespace %s says: %v", other, c)
	}
}

// PayU answers invalid_scope with a Retry-After for one PayUToken. The user of another one of the client, for whose scopes PayU was never
// asked, reads that PayU refused these, and that a person must act.
func TestAWaitOfTheClientBlamesNoOtherScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Error: "invalid_scope", Header: map[string]string{"Retry-After": "120"}})
	w.create("bad", scopes("refer_child_merchant"))
	w.run()
	w.payu.ClearFaults()
	w.create("links", scopes("create_payment_links"))
	w.run()
	w.pass(10 * time.Second)
	w.expectRequests(1)
	if got := w.message("links", v1alpha1.ConditionRefreshed); strings.Contains(got, "invalid_scope for create_payment_links") {
		t.Errorf("%s: %s", w.conditions("links"), got)
	}
}
