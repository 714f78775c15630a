package plugin_test

import (
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// A name may be given as kubectl prints it.
func TestNamesAsKubectlPrintsThem(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	s.secret("payu-credentials", map[string]string{"client_id": merchant, "client_secret": merchantSecret})
	s.create("links", s.ready(time.Minute))
	for _, name := range []string{"payutoken/links", "payutokens/links", "payutoken.auth.payu.in/links", "payutokens.auth.payu.in/links",
		"payutokens.v1alpha1.auth.payu.in/links", "PayUToken/links", "payutok/links"} {
		s.run("status", name).want(t, 0, "PayUToken links in namespace")
		s.run("refresh", name).want(t, 0, "payutoken.auth.payu.in/links refresh requested")
		s.run("suspend", name).want(t, 0, "payutoken.auth.payu.in/links suspended")
		s.run("resume", name).want(t, 0, "payutoken.auth.payu.in/links resumed")
		s.check(server, name).want(t, 0, "PayUToken links in namespace", "✓ PayU")
		s.run("create", name, "--environment=Test", "--scopes=read_bills").want(t, 0, "  name: links\n")
	}
	for _, name := range []string{"secret/links", "payutoken/", "payutoken/links/x", "payutokens.example.com/links", "/links"} {
		for _, command := range [][]string{{"status"}, {"refresh"}, {"suspend"}, {"resume"}, {"check"}, {"create", "--environment=Test", "--scopes=a"}} {
			s.run(append(command, name)...).wantError(t, `"`+name+`" does not name a PayUToken: write NAME or payutoken/NAME`)
		}
	}
}
