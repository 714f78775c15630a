package plugin_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

const (
	merchant       = "merchant-id"
	merchantSecret = "s3cr3t+%26=/one"
)

func runPayU(t *testing.T, mode payutest.Mode) *payutest.Running {
	t.Helper()
	return payutest.Run(t, payutest.Config{Mode: mode, Clients: []payutest.Client{{ID: merchant, Secret: merchantSecret}}})
}

const manifest = `
apiVersion: auth.payu.in/v1alpha1
kind: PayUToken
metadata: {name: links}
spec:
  environment: Test
  credentialsSecretRef: {name: payu-credentials}
  scopes: [create_payment_links, read_payment_links]
`

const envFile = "# of the merchant\n\nclient_id=" + merchant + "\nclient_secret=" + merchantSecret + "\n"

// check runs the command check against a PayU, and sees that nothing was stored and no secret printed.
func (s *shop) check(server *payutest.Running, args ...string) result {
	s.Helper()
	before := s.contents()
	got := s.run(append([]string{"check", "--test-base-url=" + server.URL, "--ca-file=" + server.CAFile}, args...)...)
	if after := s.contents(); after != before {
		s.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	for _, token := range server.Issued() {
		s.wantHidden(got, token.Token)
	}
	s.wantHidden(got, merchantSecret)
	return got
}

func (s *shop) wantHidden(got result, secret string) {
	s.Helper()
	if strings.Contains(got.stdout+got.stderr, secret) {
		s.Errorf("a secret is printed:\n%s%s", got.stdout, got.stderr)
	}
}

// contents are the versions of all that a check could have stored.
func (s *shop) contents() (versions string) {
	s.Helper()
	for _, list := range []client.ObjectList{&v1alpha1.PayUTokenList{}, &corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.EventList{}} {
		check(s.T, cluster.Client.List(s.Context(), list, client.InNamespace(s.namespace)))
		check(s.T, meta.EachListItem(list, func(o runtime.Object) error {
			versions += fmt.Sprintf("%T %s %s\n", o, o.(client.Object).GetName(), o.(client.Object).GetResourceVersion())
			return nil
		}))
	}
	return versions
}

func TestCheckOfAManifest(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	s.secret("payu-credentials", map[string]string{"client_id": merchant, "client_secret": merchantSecret})
	got := s.check(server, "-f", s.file("links.yaml", manifest))
	got.want(t, 0,
		"✓ schema       accepted by the API server https://",
		`✓ credentials  read from Secret "payu-credentials" in namespace "`+s.namespace+`", keys client_id and client_secret`,
		"✓ PayU         issued a token for create_payment_links read_payment_links that is valid for 120m",
		"Requesting a token from PayU (Test, "+server.URL+") once, from this machine.\nIf PayU revokes")
	if n := server.Counters().Total(); n != 1 {
		t.Errorf("PayU was asked %d times", n)
	}
}

func TestCheckWithAnEnvFile(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	env := s.file("payu.env", envFile)
	s.check(server, "-f", s.file("links.yaml", manifest), "--from-env-file", env).want(t, 0, "✓ credentials  read from "+env, "✓ PayU")
}

func TestCheckFromStandardInput(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	s.in = manifest + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n---\n" + strings.Replace(manifest, "links", "payouts", 1)
	s.check(server, "-f", "-", "--from-env-file", s.file("payu.env", envFile)).want(t, 0, "PayUToken links in namespace ", "PayUToken payouts in namespace ")
	s.in = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"
	s.check(server, "-f", "-").wantError(t, "there is no PayUToken (auth.payu.in/v1alpha1) among 1 objects")
}

func TestCheckOfAKustomization(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	folder := t.TempDir()
	check(t, os.WriteFile(filepath.Join(folder, "links.yaml"), []byte(manifest), 0o600))
	check(t, os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte("resources: [links.yaml]\nnamePrefix: my-\n"), 0o600))
	s.check(server, "-k", folder, "--from-env-file", s.file("payu.env", envFile)).want(t, 0, "PayUToken my-links in namespace ", "✓ PayU")
}

func TestCheckOfAPayUToken(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.RevokePrevious)
	s := newShop(t)
	s.secret("payu-credentials", map[string]string{"client_id": merchant, "client_secret": merchantSecret})
	s.create("links", s.ready(time.Minute))
	s.check(server, "links").want(t, 0, "PayUToken links in namespace "+s.namespace+"\n",
		"✓ schema       accepted by the API server when it was applied", "✓ PayU", "refresh the PayUTokens with these scopes afterwards")
}

func TestCheckOfAPayUTokenWithAFormerLife(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	server.Inject(payutest.Fault{Omit: []string{"expires_in"}})
	s := newShop(t)
	s.secret("payu-credentials", map[string]string{"client_id": merchant, "client_secret": merchantSecret})
	s.create("links", s.ready(time.Minute))
	s.check(server, "links").want(t, 0, "states no lifetime: the operator takes that of the token in the target Secret")
}

func TestProbe(t *testing.T) {
	t.Parallel()
	for mode, want := range map[payutest.Mode]string{
		payutest.Default:        "✓ probe        PayU does not reuse tokens",
		payutest.RevokePrevious: "✓ probe        PayU does not reuse tokens",
		payutest.Reuse:          "✓ probe        PayU reuses tokens",
	} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			server := runPayU(t, mode)
			s := newShop(t)
			got := s.check(server, "-f", s.file("links.yaml", manifest), "--from-env-file", s.file("payu.env", envFile), "--probe")
			got.want(t, 0, ") twice, from this machine.", want)
			if n := server.Counters().Total(); n != 2 {
				t.Errorf("PayU was asked %d times", n)
			}
		})
	}
}

func TestCheckSaysWhyThereIsNoToken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault payutest.Fault
		env   string
		want  string
	}{
		"a wrong secret":    {env: "client_id=" + merchant + "\nclient_secret=wrong\n", want: "InvalidClient: PayU answered invalid_client. PayU does not know the client ID"},
		"a forbidden scope": {fault: payutest.Fault{Error: "invalid_scope"}, want: "InvalidScope: PayU answered invalid_scope. The client is not allowed to have one of the scopes."},
		"a limit":           {fault: payutest.Fault{Error: "rate_limit_exceeded"}, want: "RateLimited: PayU answered rate_limit_exceeded."},
		"less than asked":   {fault: payutest.Fault{Grant: []string{"read_payment_links"}}, want: `ScopeReduced: PayU did not grant the scope "create_payment_links"`},
		"no lifetime": {fault: payutest.Fault{Omit: []string{"expires_in"}},
			want: "LifetimeUnknown: issued a token for create_payment_links read_payment_links, and states no lifetime: set spec.assumedLifetime"},
		"quotes":         {env: `client_id="merchant"` + "\nclient_secret=x\n", want: "! credentials  client_id is in quotes: compare with what PayU issued"},
		"a proxy's page": {fault: payutest.Fault{Status: 502, Body: "<html>Bad Gateway</html>"}, want: "ServerError: PayU answered HTTP 502"},
		"no answer":      {fault: payutest.Fault{Break: payutest.BreakReset}, want: "Unreachable: no answer from 127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := runPayU(t, payutest.Default)
			server.Inject(test.fault)
			s := newShop(t)
			env := test.env
			if env == "" {
				env = envFile
			}
			got := s.check(server, "-f", s.file("links.yaml", manifest), "--from-env-file", s.file("payu.env", env))
			got.want(t, 2, "✗ PayU", test.want)
			if n := server.Counters().Total(); n != 1 {
				t.Errorf("PayU was asked %d times", n)
			}
		})
	}
}

func TestCheckOfBadCredentials(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	file := s.file("links.yaml", manifest)
	s.check(server, "-f", file).want(t, 2, `✗ credentials  CredentialsNotFound: Secret "payu-credentials" in namespace "`+s.namespace+`" does not exist`)
	s.secret("payu-credentials", map[string]string{"client_id": merchant, "secret": merchantSecret})
	s.check(server, "-f", file).want(t, 2, `CredentialsNotFound: Secret "payu-credentials" in namespace "`+s.namespace+`" has no key "client_secret"`)
	for content, want := range map[string]string{
		"client_id=\nclient_secret=x\n":                `CredentialsInvalid: key "client_id" of %s is empty`,
		"client_id=x\nclient_secret=caf\u00e9\n":       `CredentialsInvalid: key "client_secret" of %s holds a byte outside ASCII`,
		"CLIENT_ID=x\nclient_secret=" + merchantSecret: `CredentialsNotFound: %s has no key "client_id"`,
	} {
		env := s.file("payu.env", content)
		s.check(server, "-f", file, "--from-env-file", env).want(t, 2, fmt.Sprintf(want, env))
	}
	for content, want := range map[string]string{
		"client_id=x\njust-the-secret\n":                          "%s: line 2 is not of the form KEY=VALUE",
		"client id=" + merchantSecret:                             "%s: line 1: this is not a key of a Secret",
		"client_secret=" + merchantSecret + "\nclient_secret=y\n": "%s: line 2: the key client_secret is repeated: write it once",
	} {
		env := s.file("payu.env", content)
		got := s.check(server, "-f", file, "--from-env-file", env)
		got.want(t, 1, fmt.Sprintf(want, env))
	}
	if n := server.Counters().Total(); n != 0 {
		t.Errorf("PayU was asked %d times", n)
	}
}

func TestCheckOfABadTemplate(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	withTemplate := func(text string) string {
		return manifest + "  target: {template: {data: {token.env: \"" + text + "\"}}}\n"
	}
	env := s.file("payu.env", envFile)
	s.check(server, "-f", s.file("good.yaml", withTemplate("T={{ .AccessToken }}")), "--from-env-file", env).want(t, 0, "✓ template     creates the keys token.env")
	s.check(server, "-f", s.file("bad.yaml", withTemplate("T={{ .Token }}")), "--from-env-file", env).want(t, 2, "✗ template     TemplateInvalid: key \"token.env\": .Token is not a field: use .AccessToken")
}

// Scopes that PayU does not document, and more than it documents for one token, are named; PayU alone decides.
func TestHintsAtScopes(t *testing.T) {
	t.Parallel()
	const (
		misspelt = `PayU documents no scope "read_payments_link": did you mean read_payment_links?`
		unknown  = `PayU documents no scope "new_scope": it is passed on as it is`
		many     = "4 scopes for one token: PayU documents up to three for payment links; if it answers invalid_scope, split them"
	)
	scopes := []string{"read_payments_link", "new_scope", "read_bills", "read_plans"}
	server := payutest.Run(t, payutest.Config{Clients: []payutest.Client{{ID: merchant, Secret: merchantSecret, Scopes: scopes}}})
	s := newShop(t)
	env := s.file("payu.env", envFile)
	file := s.file("links.yaml", strings.Replace(manifest, "create_payment_links, read_payment_links", strings.Join(scopes, ", "), 1))
	s.check(server, "-f", file, "--from-env-file", env).
		want(t, 0, "! scopes       "+misspelt, "! scopes       "+unknown, "! scopes       "+many, "✓ PayU")
	created := s.exactly("create", "links", "--environment", "Test", "--scopes", strings.Join(scopes, ","))
	created.want(t, 0, "hint: "+misspelt+"\n", "hint: "+unknown+"\n", "hint: "+many)
	if strings.Contains(created.stdout, "hint") || strings.Contains(created.stderr, "read_bills") {
		t.Errorf("stdout:\n%sstderr:\n%s", created.stdout, created.stderr)
	}

	documented := strings.Replace(manifest, "create_payment_links, read", "create_payment_links, update_payment_links, read", 1)
	if got := s.check(server, "-f", s.file("three.yaml", documented), "--from-env-file", env); strings.Contains(got.stdout, "scopes    ") {
		t.Errorf("three documented scopes are no matter for a hint:\n%s", got.stdout)
	}
}

// mistakes are made in manifests, with what the API server says and, where an OpenAPI schema suffices, the plugin alone.
var mistakes = map[string]struct{ from, to, online, offline string }{
	"another environment": {"Test", "UAT", `supported values: "Test", "Production"`, "spec.environment should be one of [Test Production]"},
	"no scopes":           {"scopes: [create_payment_links, read_payment_links]", "", "spec.scopes: Required value", "spec.scopes is required"},
	"17 scopes": {"[create_payment_links, read_payment_links]", "[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]",
		"must have at most 16 items", "spec.scopes should have at most 16 items"},
	"scopes as a string": {"[create_payment_links, read_payment_links]", "create_payment_links", "must be of type array", "spec.scopes must be of type array"},
	"a percentage":       {"environment: Test", "environment: Test\n  renewalPercent: 95", "less than or equal to 90", "spec.renewalPercent should be less than or equal to 90"},
	"an unknown field":   {"environment: Test", "environment: Test\n  scope: a", `unknown field "spec.scope"`, `unknown field "spec.scope"`},
	"the same Secret":    {"payu-credentials", "links", "the target Secret must not be the credentials Secret", ""},
	"a scope twice":      {"create_payment_links, read", "read_payment_links, read", "a scope is repeated", ""},
}

func TestCheckRefusesMistakes(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	online, offline, again := newShop(t), newShop(t), newShop(t)
	offline.kubeconfig = offline.file("config", "")
	again.create("links", again.ready(time.Minute)) // an existing object must not hide a mistake
	env := online.file("payu.env", envFile)
	for name, m := range mistakes {
		text := strings.Replace(manifest, m.from, m.to, 1)
		if text == manifest {
			t.Fatalf("%s: the manifest was not changed", name)
		}
		file := online.file("links.yaml", text)
		for _, s := range []*shop{online, again} {
			got := s.check(server, "-f", file, "--from-env-file", env)
			got.want(t, 2, "✗ schema       refused by the API server: ", m.online)
			if strings.Contains(got.stdout, "<nil>") {
				t.Errorf("%s:\n%s", name, got.stdout)
			}
		}
		got := offline.check(server, "-f", file, "--from-env-file", env)
		if m.offline == "" {
			got.want(t, 0, "! schema       matches the schema built into this plugin; the CEL rules, which need an API server, were not checked: no cluster is configured")
			continue
		}
		got.want(t, 2, "✗ schema       does not match the schema built into this plugin: ", m.offline)
	}
	again.check(server, "-f", again.file("links.yaml", manifest), "--from-env-file", env).want(t, 0, "✓ schema       accepted by the API server")
	if n := server.Counters().Total(); n != 3 {
		t.Errorf("PayU was asked %d times, for manifests of which 3 are acceptable", n)
	}
}

// TestTheSamplesFit: the schema that is built in takes what the API server does.
func TestTheSamplesFit(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.kubeconfig = s.file("config", "")
	got := s.run("check", "-k", "../../config/samples", "--from-env-file", s.file("payu.env", envFile), "--test-base-url", "http://127.0.0.1:1")
	got.want(t, 2, "PayUToken payment-links", "! schema       matches", "✗ PayU         Unreachable")
	if strings.Contains(got.stdout, "✗ schema") {
		t.Error(got.stdout)
	}
}

func TestCheckWithoutACluster(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	host := "https://" + l.Addr().String()
	check(t, l.Close())
	s.kubeconfig = writeKubeconfig(t, &rest.Config{Host: host})
	file, env := s.file("links.yaml", manifest), s.file("payu.env", envFile)
	s.check(server, "-f", file, "--from-env-file", env).want(t, 0, "! schema", "the API server "+host+" cannot be reached", "✓ PayU")
	s.check(server, "-f", file).want(t, 1, "error: the API server "+host+" cannot be reached")
	s.kubeconfig = s.file("config", "")
	s.check(server, "-f", file).want(t, 1, `error: Secret "payu-credentials" cannot be read, use --from-env-file: no cluster is configured`)
}

// Whoever may not create PayUTokens gets the lesser check, and is told so.
func TestCheckWithFewRights(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	s.somebody("[{apiGroups: [auth.payu.in], resources: [payutokens], verbs: [get]}]")
	s.check(server, "-f", s.file("links.yaml", manifest), "--from-env-file", s.file("payu.env", envFile)).
		want(t, 0, "! schema", "cannot create resource", "✓ PayU")
	s.check(server, "-f", s.file("links.yaml", manifest)).want(t, 1, `cannot get resource "secrets"`)
}

func TestCheckMindsTheNamespace(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s, other := newShop(t), newShop(t)
	other.secret("payu-credentials", map[string]string{"client_id": merchant, "client_secret": merchantSecret})
	file := s.file("links.yaml", strings.Replace(manifest, "{name: links}", "{name: links, namespace: "+other.namespace+"}", 1))
	s.check(server, "-f", file).wantError(t, `PayUToken "links" is in namespace "`+other.namespace+`", not "`+s.namespace+`" as -n says`)
	got := s.exactly("check", "--kubeconfig="+s.kubeconfig, "-f", file, "--test-base-url="+server.URL, "--ca-file="+server.CAFile)
	got.want(t, 0, `in namespace "`+other.namespace+`"`, "✓ PayU")
}

// Ctrl-C while PayU hangs stops the command without an error.
func TestCheckCanBeInterrupted(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	server.Inject(payutest.Fault{Hang: true})
	t.Cleanup(server.ClearFaults)
	s := newShop(t)
	ctx, interrupt := context.WithCancel(t.Context())
	p := s.start(ctx, "check", "-f", s.file("links.yaml", manifest), "--from-env-file", s.file("payu.env", envFile),
		"--test-base-url="+server.URL, "--ca-file="+server.CAFile)
	p.awaitOutput("that credentials were read", func(text string) bool { return strings.Contains(text, "✓ credentials") })
	interrupt()
	got := p.await()
	got.want(t, 130)
	if strings.Contains(got.stdout+got.stderr, "✗") || strings.Contains(got.stderr, "error") {
		t.Errorf("%s%s", got.stdout, got.stderr)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const want = `apiVersion: auth.payu.in/v1alpha1
kind: PayUToken
metadata:
  name: links
spec:
  credentialsSecretRef:
    name: payu-credentials
  environment: Test
  scopes:
  - create_payment_links
  - read_payment_links
`
	args := []string{"create", "links", "--environment", "Test", "--scopes", "create_payment_links,read_payment_links"}
	got := s.exactly(args...)
	if got.stdout != want || got.stderr != "" || got.code != 0 {
		t.Errorf("%d\n%s%s", got.code, got.stdout, got.stderr)
	}
	s.run(append(args, "--target", "token", "--credentials", "mine")...).want(t, 0, "name: token", "name: mine", "namespace: "+s.namespace)
	s.run(append(args, "-o", "json")...).want(t, 0, `"kind": "PayUToken"`)
	if out, err := cluster.Kubectl(t.Context(), "get", "payutokens", "-n", s.namespace, "-o", "name"); out != "" || err != nil {
		t.Errorf("something was created: %s %v", out, err)
	}
}

// What create prints is what kubectl apply takes, and what check finds right.
func TestCreateForKubectlApply(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	got := s.run("create", "links", "--environment", "Test", "--scopes", "read_payment_links",
		"--from-env-file", s.file("payu.env", envFile+"unrelated=value\n"))
	got.want(t, 0)
	must(cluster.Kubectl(t.Context(), "apply", "-f", s.file("links.yaml", got.stdout)))(t)
	secret := &corev1.Secret{}
	check(t, cluster.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "payu-credentials"}, secret))
	if string(secret.Data["client_id"]) != merchant || string(secret.Data["client_secret"]) != merchantSecret || len(secret.Data) != 2 {
		t.Errorf("credentials: %q", secret.Data)
	}
	s.check(server, "links").want(t, 0, "✓ PayU         issued a token for read_payment_links")
}

func TestCreatePrintsNoSecretOnATerminal(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	env := s.file("payu.env", envFile)
	args := []string{"create", "links", "--environment", "Test", "--scopes", "a", "--from-env-file"}
	s.run(append(args, s.file("bad.env", "client_id=x\n"))...).wantError(t, `has no key "client_secret"`)
	s.terminal = &terminal80
	s.run(append(args, env)...).wantError(t, "the client secret is not printed on a terminal")
	s.run(args[:6]...).want(t, 0, "kind: PayUToken")
}

// No flag takes a secret: what is on a command line is in the shell's history and in ps.
func TestNoFlagTakesASecret(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, command := range []string{"check", "create"} {
		help := s.run(command, "--help").stdout
		if strings.Contains(help, "--client-secret") || strings.Contains(help, "--secret") {
			t.Errorf("%s:\n%s", command, help)
		}
	}
}
