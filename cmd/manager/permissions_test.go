package main_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// call is a request to the API server, as its audit log tells.
type call struct {
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	Verb      string `json:"verb"`
	URI       string `json:"requestURI"`
	ObjectRef *struct {
		Group       string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// callsOf returns what a user has asked of the API server.
func callsOf(t *testing.T, user string) []call {
	t.Helper()
	var calls []call
	for line := range strings.Lines(string(lab.Must(os.ReadFile(cluster.AuditLog))(t))) {
		var c call
		if json.Unmarshal([]byte(line), &c) == nil && c.User.Username == user { // the last line may be half written
			calls = append(calls, c)
		}
	}
	if len(calls) == 0 {
		t.Fatalf("the audit log holds nothing of %s", user)
	}
	return calls
}

// expectNothingForbidden checks that a user was never refused, by the API server's own account and by the log.
func (o *operator) expectNothingForbidden(user string) {
	o.Helper()
	for _, c := range callsOf(o.T, user) {
		if c.ResponseStatus.Code == 403 || c.ResponseStatus.Code == 401 {
			o.Errorf("%s %s: %d", c.Verb, c.URI, c.ResponseStatus.Code)
		}
	}
	for line := range strings.Lines(o.Log.Text()) {
		if strings.Contains(strings.ToLower(line), "forbidden") {
			o.Errorf("log: %s", line)
		}
	}
}

// useEverything has the operator do all that it may do: it fetches, renews, repairs and moves tokens.
func (s *shop) useEverything() {
	s.Helper()
	s.create("links")
	s.AwaitReady("links")
	s.Change("links", lab.Refresh("now"))
	lab.AwaitTrue(s.T, "the refresh is handled", func() bool { return s.Token("links").Status.LastHandledRefreshAt == "now" })
	lab.Check(s.T, cluster.Client.Delete(s.Context(), s.Secret("links")))
	lab.AwaitTrue(s.T, "a deleted Secret is back", func() bool { return s.Secret("links") != nil })
	s.Change("links", lab.Into("moved"))
	lab.AwaitTrue(s.T, "the Secret has moved", func() bool { return s.Secret("links") == nil && s.Secret("moved") != nil })
	s.Credentials("wrong", lab.Merchant, "wrong")
	s.create("refused", lab.With("wrong"))
	s.AwaitCondition("refused", "Ready=False/InvalidClient")
}

func TestRolesInTheNamedNamespacesSuffice(t *testing.T) {
	t.Parallel()
	a, b, c := newShop(t), newShop(t), newShop(t)
	user, name := newServiceAccount(t, a.Namespace)
	for _, s := range []*shop{a, b} {
		s.grant(user, name, shippedRules(t))
	}
	server := lab.RunPayU(t, payutest.Config{})
	c.create("links")
	o := launch(t, user.Kubeconfig, append(lab.Asking(server), "--watch-namespaces="+a.Namespace+","+b.Namespace)...)
	b.create("links")
	b.AwaitReady("links")
	a.useEverything()
	awaitEvent(b, "links", "Refreshed")
	awaitEvent(a, "refused", "InvalidClient")
	o.Stop()

	c.expectUntouched("links")
	o.expectNothingForbidden(name)
	for _, call := range callsOf(t, name) {
		switch ref := call.ObjectRef; {
		case ref == nil || ref.Group == "authorization.k8s.io": // discovery, and what it may do
		case ref.Namespace != a.Namespace && ref.Namespace != b.Namespace:
			t.Errorf("%s %s is outside of its namespaces", call.Verb, call.URI)
		}
	}
}

// awaitEvent waits for an event of a PayUToken, as an object of events.k8s.io.
func awaitEvent(s *shop, name, reason string) {
	s.Helper()
	lab.AwaitTrue(s.T, "an event "+reason+" of "+name, func() bool {
		out := lab.Must(cluster.Kubectl(s.Context(), "get", "events.events.k8s.io", "-n", s.Namespace, "-o",
			`jsonpath={range .items[*]}{.regarding.name} {.reason} {.reportingController}{"\n"}{end}`))(s.T)
		return strings.Contains(out, name+" "+reason+" payu-token-operator\n")
	})
}

const operatorNamespace = "payu-token-operator"

// TestTheShippedPermissionsSuffice runs the operator as the ServiceAccount of config/default, with the flags of its
// Deployment.
func TestTheShippedPermissionsSuffice(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	lab.Must(cluster.Kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-k", "../../config/default"))(t)
	args := lab.Must(cluster.Kubectl(ctx, "get", "deployment/payu-token-operator", "-n", operatorNamespace, "-o", "jsonpath={.spec.template.spec.containers[0].args[*]}"))(t)
	user, name := newServiceAccount(t, operatorNamespace)
	for _, rule := range slices.Concat(shippedRules(t), leaderElectionRules(t), metricsRules(t)) {
		awaitPermission(t, user, operatorNamespace, rule)
	}

	s := newShop(t)
	server := lab.RunPayU(t, payutest.Config{})
	metrics := lab.Must(lab.FreeAddress())(t)
	flags := append(lab.Asking(server), "--leader-election-namespace="+operatorNamespace, "--metrics-bind-address="+metrics, "--watch-label-selector=shop="+s.Namespace)
	o := launch(t, user.Kubeconfig, append(strings.Fields(args), flags...)...)
	s.useEverything()
	awaitEvent(s, "links", "Refreshed")
	awaitEvent(s, "refused", "InvalidClient")
	expectScrapes(t, metrics)
	expectSeenByKubectl(s)
	o.Stop()

	o.expectNothingForbidden(name)
	if events := lab.Must(cluster.Kubectl(ctx, "get", "events", "-n", operatorNamespace))(t); !strings.Contains(events, "became leader") {
		t.Errorf("no event tells who leads:\n%s", events)
	}
	for _, unused := range unusedPermissions(t, name) {
		t.Logf("shipped, but not used by this test: %s", unused)
	}
}

// expectSeenByKubectl checks that a user finds what happened where users look.
func expectSeenByKubectl(s *shop) {
	s.Helper()
	described := lab.Must(cluster.Kubectl(s.Context(), "describe", "payutoken/links", "-n", s.Namespace))(s.T)
	for _, words := range []string{"Refreshed", `Wrote the token into Secret "links"`, `Wrote the token into Secret "moved"`} {
		if !strings.Contains(described, words) {
			s.Errorf("kubectl describe does not show %q:\n%s", words, described)
		}
	}
	events := lab.Must(cluster.Kubectl(s.Context(), "get", "events", "-n", s.Namespace))(s.T)
	if !strings.Contains(events, "InvalidClient") || !strings.Contains(events, "payutoken/refused") {
		s.Errorf("kubectl get events:\n%s", events)
	}
	columns := lab.Must(cluster.Kubectl(s.Context(), "get", "payutok", "links", "-n", s.Namespace))(s.T)
	if got := strings.Fields(columns)[:7]; !slices.Equal(got, []string{"NAME", "READY", "REASON", "REFRESHED", "ENVIRONMENT", "SECRET", "EXPIRES"}) {
		s.Errorf("kubectl get payutok:\n%s", columns)
	}
}

// unusedPermissions are those of the shipped roles that the audit log does not show. The API server asks for "create"
// where an apply creates, and logs "patch".
func unusedPermissions(t *testing.T, user string) []string {
	t.Helper()
	unused := map[string]bool{}
	for _, rule := range slices.Concat(shippedRules(t), leaderElectionRules(t), metricsRules(t)) {
		for _, verb := range rule.Verbs {
			unused[verb+" "+rule.APIGroups[0]+"/"+rule.Resources[0]] = true
		}
	}
	for _, c := range callsOf(t, user) {
		if ref := c.ObjectRef; ref != nil {
			delete(unused, c.Verb+" "+strings.TrimSuffix(ref.Group+"/"+ref.Resource+"/"+ref.Subresource, "/"))
		}
	}
	return slices.Sorted(maps.Keys(unused))
}
