package main_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestAStory is what a team does with the plugin, from the first manifest to a failure and back, with a real operator.
func TestAStory(t *testing.T) {
	s := newShop(t)
	operator := s.Operate(s.payu)
	env := lab.File(s, "payu.env", "client_id="+lab.Merchant+"\nclient_secret="+lab.MerchantSecret+"\n")
	asPayU := []string{"--test-base-url=" + s.payu.URL, "--ca-file=" + s.payu.CAFile}

	// A manifest is created, checked, and applied with its credentials.
	made := s.exactly("", "payutoken", "create", "links", "--environment=Test", "--scopes=create_payment_links,read_payment_links", "--target=links-token", "--from-env-file="+env)
	made.want(t, 0)
	manifest := lab.File(s, "links.yaml", made.stdout)
	s.kubectl("", append([]string{"payutoken", "check", "-f", manifest, "--from-env-file=" + env}, asPayU...)...).
		want(t, 0, "accepted by the API server", "✓ PayU         issued a token for create_payment_links read_payment_links that is valid for 120m")
	s.kubectl("", "apply", "-f", manifest).want(t, 0)
	s.kubectl("", "wait", "--for=condition=Ready", "payutoken/links", "--timeout=60s").want(t, 0)

	// All is well.
	s.kubectl("", "payutoken", "list").want(t, 0, "links  Test         True   TokenValid  ░")
	s.kubectl("", "payutoken", "status", "links").want(t, 0, "Ready: Secret links-token holds a token",
		"access_token, expires_at, scope, token_type", "Refreshed  Wrote the token into Secret \"links-token\"")

	// A new token is requested, and comes.
	before := s.accessToken("links-token")
	s.kubectl("", "payutoken", "refresh", "links", "--wait").want(t, 0, "payutoken.auth.payu.in/links refreshed\n")
	if after := s.accessToken("links-token"); after == before {
		t.Error("the Secret holds the token that it held before the refresh")
	}

	// PayU's behaviour changes.
	s.payu.SetMode(payutest.Reuse)
	s.kubectl("", "payutoken", "refresh", "--all", "--wait").want(t, 0, "payutoken.auth.payu.in/links unchanged: PayU issued the same token again")
	s.kubectl("", append([]string{"payutoken", "check", "links", "--probe"}, asPayU...)...).want(t, 0, "PayU reuses tokens")
	s.payu.SetMode(payutest.Default)
	s.payu.PutClient(payutest.Client{ID: lab.Merchant, Secret: "rotated"})
	s.kubectl("", "payutoken", "refresh", "links", "--wait").
		want(t, 2, `PayUToken "links" got no new token: InvalidClient: PayU answered invalid_client: correct client_id and client_secret in Secret "payu-credentials"`)
	s.kubectl("", "payutoken", "status", "links").want(t, 0, "Ready, but the last request for a token failed (InvalidClient)", "What to do")

	// The remedy that status names fixes it.
	rotated := lab.File(s, "payu.env", "client_id="+lab.Merchant+"\nclient_secret=rotated\n")
	secret := s.kubectl("", "create", "secret", "generic", "payu-credentials", "--from-env-file="+rotated, "--dry-run=client", "-o", "yaml")
	s.kubectl(secret.stdout, "apply", "-f", "-").want(t, 0)
	s.kubectl("", "wait", "--for=condition=Refreshed", "payutoken/links", "--timeout=60s").want(t, 0)
	s.kubectl("", "payutoken", "list").want(t, 0, "TokenValid")

	// A pause.
	s.kubectl("", "payutoken", "suspend", "links").want(t, 0, "links suspended")
	s.kubectl("", "wait", "--for=jsonpath={.status.conditions[?(@.type==\"Refreshed\")].reason}=Suspended", "payutoken/links", "--timeout=60s").want(t, 0)
	requests := s.payu.Counters().Total()
	s.kubectl("", "payutoken", "refresh", "links", "--wait").want(t, 1, "is suspended: resume it first")
	s.kubectl("", "payutoken", "resume", "links").want(t, 0, "links resumed")
	s.kubectl("", "wait", "--for=condition=Refreshed", "payutoken/links", "--timeout=60s").want(t, 0)
	s.kubectl("", "payutoken", "refresh", "links", "--wait").want(t, 0, "links refreshed")
	if more := s.payu.Counters().Total() - requests; more != 1 {
		t.Errorf("a pause and a refresh made %d requests", more)
	}

	// No operator responds.
	operator.Stop()
	s.kubectl("", "payutoken", "refresh", "links", "--wait", "--timeout=1s").want(t, 3, "check that the operator runs")
}

func (s *shop) accessToken(secret string) string {
	s.Helper()
	got := s.kubectl("", "get", "secret", secret, "-o", "jsonpath={.data.access_token}")
	if got.code != 0 || got.stdout == "" {
		s.Fatalf("Secret %s: %s", secret, got.stderr)
	}
	return got.stdout
}

func TestKubectlCompletesThePlugin(t *testing.T) {
	s := newShop(t)
	s.kubectl("apiVersion: auth.payu.in/v1alpha1\nkind: PayUToken\nmetadata: {name: links}\n"+
		"spec: {environment: Test, scopes: [a], credentialsSecretRef: {name: c}}\n", "apply", "-f", "-").want(t, 0)
	for words, want := range map[string]string{
		"status -n " + s.Namespace + " ": "links\n",
		"li":                             "list\t",
		"refresh --ti":                   "--timeout\t",
	} {
		s.exactly("", append([]string{"__complete", "payutoken"}, strings.Split(words, " ")...)...).want(t, 0, want)
	}
}

func TestVersion(t *testing.T) {
	s := newShop(t)
	s.exactly("", "payutoken", "version").want(t, 0, "kubectl-payutoken "+lab.Version+" (commit ")
}

// TestAuthProviders has users whom kubectl supports, or tells what to use instead.
func TestAuthProviders(t *testing.T) {
	s := newShop(t)
	const idToken = "e30.eyJleHAiOjk5OTk5OTk5OTl9.e30" // it does not expire, and the API server does not know it
	for provider, want := range map[string]string{
		`{"name": "oidc", "config": {"idp-issuer-url": "https://issuer.example", "client-id": "x", "id-token": "` + idToken + `"}}`: "log in again",
		`{"name": "azure"}`: "kubelogin",
	} {
		file := lab.File(s, "kubeconfig", `{"apiVersion": "v1", "kind": "Config", "current-context": "x",
"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
"clusters": [{"name": "x", "cluster": {"server": "`+cluster.Config.Host+`", "insecure-skip-tls-verify": true}}],
"users": [{"name": "x", "user": {"auth-provider": `+provider+`}}]}`)
		s.exactly("", "payutoken", "list", "--kubeconfig="+file).want(t, 1, want)
	}
}

// kubectl hands the exit code and Ctrl-C through.
func TestInterrupt(t *testing.T) {
	s := newShop(t)
	command := s.command(t.Context(), "payutoken", "list", "-w", "-n", s.Namespace)
	out, in, err := os.Pipe()
	lab.Check(t, err)
	defer out.Close()
	command.Stdout = in
	lab.Check(t, command.Start())
	lab.Check(t, in.Close())
	s.kubectl("apiVersion: auth.payu.in/v1alpha1\nkind: PayUToken\nmetadata: {name: links}\n"+
		"spec: {environment: Test, scopes: [a], credentialsSecretRef: {name: c}}\n", "apply", "-f", "-").want(t, 0)
	if _, err := out.Read(make([]byte, 1)); err != nil { // it watches
		t.Fatal(err)
	}
	lab.Check(t, command.Process.Signal(syscall.SIGINT))
	command.Wait()
	if code := command.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d", code)
	}
}
