package main_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

func TestWithoutAClusterTheManagerEndsInOneLine(t *testing.T) {
	t.Parallel()
	closed := "https://" + lab.Must(lab.FreeAddress())(t)
	silent := "https://" + silentServer(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "<html>Hello</html>") }))
	t.Cleanup(web.Close)
	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(stuck.Close)
	for name, test := range map[string]struct {
		refusal
		limit time.Duration
	}{
		"no kubeconfig at all": {refusal{says: []string{"--kubeconfig", "KUBECONFIG"}}, soon},
		"a kubeconfig that does not exist": {refusal{args: []string{"--kubeconfig=/missing/config"},
			says: []string{"/missing/config", "no such file"}}, soon},
		"KUBECONFIG names the cluster": {refusal{env: []string{"KUBECONFIG=" + kubeconfig(t, closed, "")},
			says: []string{closed, "connection refused"}}, soon},
		"nobody listens there": {refusal{args: []string{"--kubeconfig=" + kubeconfig(t, closed, "")},
			says: []string{closed, "does not respond", "connection refused"}}, soon},
		"a server that accepts and never answers": {refusal{args: []string{"--kubeconfig=" + kubeconfig(t, silent, "")},
			says: []string{silent, "does not respond", "timeout"}}, 20 * time.Second},
		"a server that never answers a request": {refusal{args: []string{"--kubeconfig=" + kubeconfig(t, stuck.URL, "")},
			says: []string{stuck.URL, "does not respond", "no response within 13s"}}, 20 * time.Second},
		"a web server that is no API server": {refusal{args: []string{"--kubeconfig=" + kubeconfig(t, web.URL, "")},
			says: []string{web.URL}}, soon},
		"a user with an OIDC token that the API server does not know": {refusal{args: []string{"--kubeconfig=" + oidcKubeconfig(t)},
			says: []string{cluster.Config.Host, "does not accept the operator's credentials"}}, soon},
		"a token that the API server does not know": {refusal{args: []string{"--kubeconfig=" + kubeconfig(t, cluster.Config.Host, "unknown")},
			says: []string{cluster.Config.Host, "credentials", "kubeconfig"}}, soon},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.expect(t, test.limit)
		})
	}
}

// silentServer accepts connections and says nothing. It returns its address.
func silentServer(t *testing.T) string {
	t.Helper()
	l := lab.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			connection, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { connection.Close() })
		}
	}()
	return l.Addr().String()
}

// kubeconfig writes a file that leads to a server, which is trusted if it is the API server.
func kubeconfig(t *testing.T, server, token string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "x",
"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
"clusters": [{"name": "x", "cluster": {"server": %q, "certificate-authority-data": %q}}],
"users": [{"name": "x", "user": {"token": %q}}]}`, server, base64.StdEncoding.EncodeToString(cluster.Config.CAData), token)
	if !strings.HasPrefix(server, "https") {
		content = strings.Replace(content, "certificate-authority-data", "ignored", 1)
	}
	lab.Check(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

// oidcKubeconfig writes a file for the API server whose user has an OIDC token that does not expire.
func oidcKubeconfig(t *testing.T) string {
	t.Helper()
	part := base64.RawURLEncoding.EncodeToString
	token := part([]byte(`{"alg":"none"}`)) + "." + part([]byte(`{"exp":9999999999}`)) + "." + part([]byte("signature"))
	file := kubeconfig(t, cluster.Config.Host, "")
	content := strings.Replace(string(lab.Must(os.ReadFile(file))(t)), `"token": ""`, fmt.Sprintf(
		`"auth-provider": {"name": "oidc", "config": {"idp-issuer-url": "https://issuer.example", "client-id": "x", "id-token": %q}}`, token), 1)
	lab.Check(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

// TestWithoutTheCRDTheManagerEndsInOneLine is not parallel, so that no other test misses the CRD.
func TestWithoutTheCRDTheManagerEndsInOneLine(t *testing.T) {
	lab.Must(cluster.Kubectl(t.Context(), "delete", "crd/payutokens.auth.payu.in"))(t)
	t.Cleanup(func() { // the test's own context has ended by then
		lab.Must(cluster.Kubectl(context.Background(), "create", "-f", "../../config/crd/bases"))(t)
		lab.Check(t, lab.Await(context.Background(), lab.Patience, "PayUTokens are known again", func(context.Context) error { return lab.So(payUTokensAreKnown()) }))
	})
	lab.AwaitTrue(t, "PayUTokens are no longer known", func() bool { return !payUTokensAreKnown() })
	refusal{args: []string{"--kubeconfig=" + cluster.Kubeconfig, "--health-probe-bind-address=0", "--metrics-bind-address=0"},
		says: []string{"PayUTokens", "install the CRD", "config/crd/bases/auth.payu.in_payutokens.yaml"}}.expect(t, soon)
}

func payUTokensAreKnown() bool {
	return cluster.Client.List(context.Background(), &v1alpha1.PayUTokenList{}) == nil
}

func TestWithoutPermissionsTheManagerEndsInOneLine(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	nobody := newUser(t, "nobody")
	only := newUser(t, "only-here")
	s.grant(only, "only-here", shippedRules(t))
	for name, test := range map[string]refusal{
		"no role at all": {args: []string{"--kubeconfig=" + nobody.Kubeconfig},
			says: []string{"no permission to get, list, watch payutokens.auth.payu.in in all namespaces", "config/rbac"}},
		"a Role, and no flag that names its namespace": {args: []string{"--kubeconfig=" + only.Kubeconfig},
			says: []string{"in all namespaces", "--watch-namespaces"}},
		"no role for the Lease": {args: []string{"--kubeconfig=" + only.Kubeconfig, "--watch-namespaces=" + s.Namespace,
			"--leader-elect", "--leader-election-namespace=" + s.Namespace},
			says: []string{"no permission to get, create, update leases.coordination.k8s.io in namespace", s.Namespace, "leader_election.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.expect(t, soon)
		})
	}
}

// TestEveryPermissionIsMissed takes one verb after the other away from the shipped roles.
func TestEveryPermissionIsMissed(t *testing.T) {
	t.Parallel()
	shipped := slices.DeleteFunc(slices.Concat(shippedRules(t), leaderElectionRules(t)), aboutEvents)
	for i, rule := range shipped {
		for _, verb := range rule.Verbs {
			t.Run("without "+verb+" "+rule.Resources[0], func(t *testing.T) {
				t.Parallel()
				lacking := slices.Clone(shipped)
				lacking[i].Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return v == verb })
				s := newShop(t)
				name := "lacking-" + s.Namespace
				user := newUser(t, name)
				s.grant(user, name, slices.DeleteFunc(lacking, func(r rbacv1.PolicyRule) bool { return len(r.Verbs) == 0 }))
				s.expectMissed(user.Kubeconfig, verb, rule.Resources[0])
			})
		}
	}
}

// expectMissed checks that an operator tells of a right that it lacks. Without rights to its Lease it does not start; without
// others it waits for them.
func (s *shop) expectMissed(kubeconfig, verb, of string) {
	s.Helper()
	if of == "leases" {
		refusal{
			args: append(s.electing(), "--kubeconfig="+kubeconfig, "--watch-namespaces="+s.Namespace),
			says: []string{"no permission to " + verb + " " + of, s.Namespace},
		}.expect(s.T, soon)
		return
	}
	o := launch(s.T, kubeconfig, append(s.electing(), "--watch-namespaces="+s.Namespace)...)
	o.AwaitLog("no permission to " + verb + " " + of)
	o.AwaitLog(`in namespace \"` + s.Namespace + `\": grant the rules of config/rbac/role.yaml there`)
}

func aboutEvents(rule rbacv1.PolicyRule) bool { return rule.Resources[0] == "events" }

// TestWithoutEventsTokensAreKept: nobody should go without a token because nobody may be told of it.
func TestWithoutEventsTokensAreKept(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	user, name := newServiceAccount(t, s.Namespace)
	s.grant(user, name, slices.DeleteFunc(shippedRules(t), aboutEvents))
	launch(t, user.Kubeconfig, append(lab.Asking(lab.RunPayU(t, payutest.Config{})), "--watch-namespaces="+s.Namespace)...)
	s.create("links")
	s.AwaitReady("links")
}
