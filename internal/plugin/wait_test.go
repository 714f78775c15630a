package plugin_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

func TestWaitEndsWithTheOutcome(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("ready", s.ready(time.Minute))
	s.run("wait", "ready").want(t, 0, "payutoken.auth.payu.in/ready ready\n")

	s.create("new")
	p := s.start(t.Context(), "wait", "new", "ready", "-o", "name")
	p.awaitOutput("the first outcome", func(text string) bool { return text == "payutoken.auth.payu.in/ready\n" })
	s.answer("new", s.ready(0))
	p.await().want(t, 0, "payutoken.auth.payu.in/new\n")
}

// A person is not kept waiting for what a person must do.
func TestWaitEndsWhereAPersonMustAct(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.refused(v1alpha1.ReasonInvalidClient, "PayU answered invalid_client"))
	s.run("wait", "links", "--timeout=10m").want(t, 2, `error: PayUToken "links" is not ready, and a person must act: InvalidClient: PayU answered invalid_client`)
}

// A status of the former spec is no outcome, whatever it says.
func TestWaitIsForTheCurrentSpec(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for name, status := range map[string]change{"ready": s.ready(time.Minute), "stalled": s.refused(v1alpha1.ReasonInvalidScope, "…")} {
		token := s.create(name, status)
		token.Spec.Scopes = token.Spec.Scopes[:1]
		check(t, cluster.Client.Update(t.Context(), token))
		s.run("wait", name, "--timeout=1s").want(t, 3, `no result for PayUToken "`+name+`" within 1s: `)
	}
	s.run("wait", "ready", "--timeout=0s").wantError(t, "--timeout must be greater than 0")
}

func TestWaitSaysWhatIsRepeated(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", func(p *v1alpha1.PayUToken) {
		for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionRefreshed} {
			s.set(p, kind, metav1.ConditionFalse, v1alpha1.ReasonUnreachable, "PayU cannot be reached")
		}
	})
	s.run("wait", "links", "--timeout=1s").want(t, 3, "within 1s: Unreachable: PayU cannot be reached")
}
