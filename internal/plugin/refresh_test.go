package plugin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// fieldsOf returns the fields of an object that the plugin owns.
func fieldsOf(t *testing.T, token *v1alpha1.PayUToken) string {
	t.Helper()
	var fields string
	for _, entry := range token.ManagedFields {
		if entry.Manager == "kubectl-payutoken" {
			fields += string(must(yaml.JSONToYAML(entry.FieldsV1.GetRawBytes()))(t))
		}
	}
	return fields
}

func TestRefreshChangesTheAnnotationOnly(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.ready(time.Minute))
	before := s.token("links")
	got := s.run("refresh", "links")
	got.want(t, 0)
	if got.stdout != "payutoken.auth.payu.in/links refresh requested\n" {
		t.Errorf("stdout: %s", got.stdout)
	}
	after := s.token("links")
	requested := after.RefreshRequest()
	if at := must(time.Parse(time.RFC3339Nano, requested))(t); !at.Equal(s.clock.Now()) {
		t.Errorf("requested at %s, and the clock says %s", requested, s.clock.Now())
	}
	if diff := cmp.Diff("f:metadata:\n  f:annotations:\n    .: {}\n    f:auth.payu.in/refresh-requested-at: {}\n", fieldsOf(t, after)); diff != "" {
		t.Errorf("fields of the plugin -want +got:\n%s", diff)
	}
	if after.Generation != before.Generation {
		t.Error("the spec was changed")
	}
	s.clock.Step(time.Millisecond)
	s.run("refresh", "links").want(t, 0)
	if s.token("links").RefreshRequest() == requested {
		t.Error("a second request within a second is the same as the first one")
	}
}

func TestRefreshOfMany(t *testing.T) {
	t.Parallel()
	s, other := newShop(t), newShop(t)
	mine := func(t *v1alpha1.PayUToken) { t.Labels = map[string]string{"test": s.namespace, "name": t.Name} }
	for _, name := range []string{"one", "two"} {
		s.create(name, s.ready(time.Minute), mine)
	}
	other.create("three", other.ready(time.Minute), mine)
	requested := func() (names []string) {
		var list v1alpha1.PayUTokenList
		check(t, cluster.Client.List(t.Context(), &list, client.MatchingLabels{"test": s.namespace}))
		for _, token := range list.Items {
			if token.RefreshRequest() != "" {
				names = append(names, token.Name)
				patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":null}}`))
				check(t, cluster.Client.Patch(t.Context(), &token, patch))
			}
		}
		return names
	}
	for args, want := range map[string][]string{
		"refresh one two":                           {"one", "two"},
		"refresh --all":                             {"one", "two"},
		"refresh -l name=two":                       {"two"},
		"refresh -A -l test=" + s.namespace:         {"one", "two", "three"},
		"refresh -l name=three,test=" + s.namespace: nil,
	} {
		got := s.run(strings.Fields(args)...)
		have := requested()
		if diff := cmp.Diff(sorted(want), sorted(have)); diff != "" {
			t.Errorf("%s -want +got:\n%s", args, diff)
		}
		if (got.code == 0) != (want != nil) {
			t.Errorf("%s: exit code %d\n%s", args, got.code, got.stderr)
		}
	}
	s.run("refresh", "one", "nobody").wantError(t, `no PayUToken "nobody"`)
	if names := requested(); names != nil {
		t.Errorf("of names of which one is wrong, these were refreshed: %s", names)
	}
}

// answer lets the operator take up a request: the test writes what it would.
func (s *shop) answer(name string, changes ...change) {
	s.Helper()
	token := s.token(name)
	token.Status.LastHandledRefreshAt = token.RefreshRequest()
	for _, c := range changes {
		c(token)
	}
	s.writeStatus(token)
}

// awaitRequest waits until a refresh is requested.
func (s *shop) awaitRequest(name string) {
	s.Helper()
	await(s.T, "a request for "+name, func() bool { return s.token(name).RefreshRequest() != "" })
}

func TestRefreshAwaitsTheOutcome(t *testing.T) {
	t.Parallel()
	const reused = "PayU issued the same token again, and issues a new one when it expires"
	for name, test := range map[string]struct {
		outcome        func(*shop) change
		code           int
		stdout, stderr string
	}{
		"a new token": {func(s *shop) change { return s.ready(0) }, 0, "payutoken.auth.payu.in/links refreshed\n", ""},
		"the same token again": {func(s *shop) change {
			return func(t *v1alpha1.PayUToken) {
				s.set(t, v1alpha1.ConditionRefreshed, metav1.ConditionTrue, v1alpha1.ReasonTokenReused, reused)
			}
		}, 0, "payutoken.auth.payu.in/links unchanged: " + reused + "\n", ""},
		"a refusal": {func(s *shop) change { return s.refused("InvalidClient", "PayU answered invalid_client") },
			2, "", "error: PayUToken \"links\" got no new token: InvalidClient: PayU answered invalid_client\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.create("links", s.ready(time.Hour))
			p := s.start(t.Context(), "refresh", "links", "--wait")
			s.awaitRequest("links")
			s.answer("links", func(t *v1alpha1.PayUToken) { t.Status.LastHandledRefreshAt = "a former request" })
			s.answer("links", test.outcome(s))
			got := p.await()
			if got.code != test.code || got.stdout != test.stdout || got.stderr != test.stderr {
				t.Errorf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
			}
		})
	}
}

func TestRefreshAwaitsManyOutcomes(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, name := range []string{"good", "bad", "gone"} {
		s.create(name, s.ready(time.Hour))
	}
	p := s.start(t.Context(), "refresh", "--all", "--wait", "-o", "name")
	for _, name := range []string{"good", "bad", "gone"} {
		s.awaitRequest(name)
	}
	s.answer("good", s.ready(0))
	p.awaitOutput("the first outcome", func(text string) bool { return text == "payutoken.auth.payu.in/good\n" })
	check(t, cluster.Client.Delete(t.Context(), s.token("gone")))
	s.answer("bad", s.refused("InvalidScope", "PayU answered invalid_scope"))
	p.await().want(t, 2, `PayUToken "bad" got no new token: InvalidScope: PayU answered invalid_scope`, `PayUToken "gone" was deleted`)
}

func TestRefreshNamesNamespaces(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.ready(time.Hour), labelled("test", s.namespace))
	p := s.start(t.Context(), "refresh", "-A", "-l", "test="+s.namespace, "--wait")
	s.awaitRequest("links")
	s.answer("links", s.refused("InvalidScope", "…"))
	p.await().want(t, 2, `PayUToken "links" in namespace "`+s.namespace+`" got no new token`)
	s.run("refresh", "-A", "-l", "test="+s.namespace).want(t, 0, "payutoken.auth.payu.in/links refresh requested in namespace "+s.namespace+"\n")
}

func TestRefreshTimesOut(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.ready(time.Hour))
	s.run("refresh", "links", "--wait", "--timeout=2s").want(t, 3, `no result for PayUToken "links" within 2s: check that the operator runs`)
	s.run("refresh", "links", "--wait", "--timeout=1ns").want(t, 3, `no result for PayUToken "links" within 1ns: check that the operator runs`)
	s.create("limited", s.ready(time.Hour), func(t *v1alpha1.PayUToken) {
		s.set(t, v1alpha1.ConditionRefreshed, metav1.ConditionFalse, "RateLimited", "PayU answered rate_limit_exceeded")
	})
	s.run("refresh", "limited", "--wait", "--timeout=2s").want(t, 3, `within 2s: RateLimited: PayU answered rate_limit_exceeded`)
}

// --wait does not wait where nothing would happen.
func TestRefreshOfSuspended(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("paused", s.ready(time.Minute), suspended)
	s.run("refresh", "paused", "--wait").wantError(t, "is suspended: resume it first")
	if request := s.token("paused").RefreshRequest(); request != "" {
		t.Errorf("a suspended PayUToken was asked for a token at %s", request)
	}
	s.create("working", s.ready(time.Minute))
	got := s.run("refresh", "--all")
	got.want(t, 1, "is suspended", "payutoken.auth.payu.in/working refresh requested")
}

// A user who may change PayUTokens, and not watch them, learns it at once.
func TestRefreshWithoutTheRightToWatch(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.ready(time.Hour))
	s.somebody("[{apiGroups: [auth.payu.in], resources: [payutokens], verbs: [get, patch, list]}]")
	s.run("refresh", "links", "--wait").wantError(t, `cannot watch resource "payutokens"`)
}

func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.ready(time.Minute))
	before := s.token("links").Spec
	got := s.run("suspend", "links")
	got.want(t, 0)
	if got.stdout != "payutoken.auth.payu.in/links suspended\n" {
		t.Errorf("stdout: %s", got.stdout)
	}
	token := s.token("links")
	if diff := cmp.Diff("f:spec:\n  f:suspend: {}\n", fieldsOf(t, token)); diff != "" {
		t.Errorf("fields of the plugin -want +got:\n%s", diff)
	}
	if !token.Spec.Suspend {
		t.Error("not suspended")
	}
	s.run("resume", "--all", "-o", "yaml").want(t, 0, "kind: PayUToken")
	token = s.token("links")
	if diff := cmp.Diff(before, token.Spec); diff != "" {
		t.Errorf("spec -before +after:\n%s", diff)
	}
	if fields := fieldsOf(t, token); fields != "" {
		t.Errorf("the plugin still owns\n%s", fields)
	}
}
