package plugin_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// TestBadInput: whatever is wrong, one clear line says it, and the exit code is 1.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.ready(time.Minute))
	for line, want := range map[string]string{
		"lst":                               `unknown command "lst": did you mean list?`,
		"frobnicate":                        `unknown command "frobnicate": kubectl payutoken --help lists the commands`,
		"get":                               "unknown command \"get\": did you mean list?",
		"describe links":                    "unknown command \"describe\": did you mean status?",
		"events links":                      "unknown command \"events\": did you mean status?",
		"renew links":                       "unknown command \"renew\": did you mean refresh?",
		"refresh links --timeout=5s":        "--timeout has no meaning without --wait: add --wait",
		"status links -o wide":              "-o wide: status has the formats json and yaml",
		"list links":                        `unknown command "links" for "kubectl payutoken list"`,
		"list --bogus":                      "unknown flag: --bogus (kubectl payutoken list --help explains the flags)",
		"list -o bogus":                     `output format "bogus"`,
		"list -l a=(b":                      `-l "a=(b"`,
		"list --context nobody":             `context "nobody" does not exist`,
		"status":                            "give the name of one PayUToken",
		"status links other":                "give the name of one PayUToken",
		"status other":                      `there is no PayUToken "other" in namespace "` + s.namespace + `"`,
		"refresh":                           "no PayUTokens selected: give names, -l or --all",
		"refresh links --all":               "give only one of names, -l and --all",
		"refresh links -l a=b":              "give only one of names, -l and --all",
		"refresh --all -l a=b":              "give only one of names, -l and --all",
		"refresh links -A":                  "a name is in one namespace",
		"refresh other":                     `there is no PayUToken "other"`,
		"refresh -l a=b":                    "there is no PayUToken with labels a=b",
		"refresh links --wait --timeout=0s": "--timeout must be greater than 0",
		"suspend":                           "no PayUTokens selected:",
		"suspend links -o bogus":            `output format "bogus"`,
		"resume links --all":                "give only one of",
		"resume --all -n nowhere":           `there is no PayUToken in namespace "nowhere"`,
		"check":                             "nothing to check: give the name of a PayUToken, -f or -k",
		"check links -f links.yaml":         "give either one name, or -f or -k",
		"check links other":                 "give either one name, or -f or -k",
		"check other":                       `there is no PayUToken "other"`,
		"check -f /no/such.yaml":            `the path "/no/such.yaml" does not exist`,
		"check links --test-base-url http://example.com":                             "would send the client secret unencrypted",
		"check links --ca-file /no/such.pem":                                         "--ca-file: open /no/such.pem",
		"check links --from-env-file /no/such.env":                                   "open /no/such.env",
		"check links --token-request-timeout 0s":                                     "--token-request-timeout must be greater than 0",
		"create links":                                                               `required flag(s) "environment", "scopes" not set`,
		"create --environment Test --scopes a":                                       "give the name of one PayUToken",
		"create links --environment UAT --scopes a":                                  "spec.environment should be one of [Test Production]",
		"create links --environment Test --scopes a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q": "spec.scopes should have at most 16 items",
		"create links --environment Test --scopes a -o bogus":                        `output format "bogus"`,
		"completion basic":                                                           `unknown command "basic"`,
		"version please":                                                             `unknown command "please"`,
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			on := *s
			on.T = t
			got := on.run(strings.Fields(line)...)
			if strings.HasPrefix(line, "check links --") && strings.Contains(line, "env") {
				got.stdout = "" // the steps that came before
			}
			got.wantError(t, want)
		})
	}
}

// everyCommand asks the API server.
var everyCommand = []string{"list", "list -w", "status links", "refresh links", "refresh --all --wait", "suspend links", "resume --all", "check links"}

func TestWithoutPermission(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.ready(time.Minute))
	s.somebody("")
	for _, line := range everyCommand {
		s.run(strings.Fields(line)...).wantError(t, "is forbidden: User \"user-of-"+s.namespace+"\" cannot", `resource "payutokens"`)
	}
}

func TestWithoutAServer(t *testing.T) {
	t.Parallel()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	address := l.Addr().String()
	check(t, l.Close()) // nothing listens there now
	s := newShop(t)
	s.kubeconfig = writeKubeconfig(t, &rest.Config{Host: "https://" + address})
	for _, line := range everyCommand {
		s.run(strings.Fields(line)...).wantError(t, fmt.Sprintf("the API server https://%s cannot be reached: ", address), "connection refused")
	}
}

func TestWithoutBeingKnown(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	config := rest.AnonymousClientConfig(cluster.Config)
	config.BearerToken = "of-yesterday"
	s.kubeconfig = writeKubeconfig(t, config)
	for _, line := range everyCommand {
		got := s.run(strings.Fields(line)...)
		got.wantError(t, "the API server does not know you: log in again")
		if strings.Contains(got.stderr, "of-yesterday") {
			t.Errorf("it prints the user's own token: %s", got.stderr)
		}
	}
}

func TestWithoutAConfiguration(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.kubeconfig = s.file("config", "")
	for _, line := range everyCommand {
		s.run(strings.Fields(line)...).wantError(t, "no cluster is configured: set KUBECONFIG, or use --kubeconfig")
	}
}

// writeKubeconfig writes a file for a configuration without client certificates.
func writeKubeconfig(t *testing.T, config *rest.Config) string {
	t.Helper()
	file := clientcmdapi.NewConfig()
	file.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	file.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	file.CurrentContext = "x"
	path := t.TempDir() + "/config"
	check(t, clientcmd.WriteToFile(*file, path))
	return path
}

func TestHelp(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, args := range [][]string{{}, {"--help"}, {"help"}} {
		s.run(args...).want(t, 0, "Exit codes:", "refresh", "--context")
	}
	if got := s.run("list", "--help"); strings.Contains(got.stdout, "--insecure-skip-tls-verify") || strings.Contains(got.stdout, "--template") {
		t.Errorf("the help is full of rare flags:\n%s", got.stdout)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.ready(time.Minute))
	s.create("payouts", s.ready(time.Minute))
	for line, want := range map[string][]string{
		"status ":                                {"links", "payouts"},
		"status p":                               {"payouts"},
		"status links ":                          nil,
		"refresh links ":                         {"payouts"},
		"suspend ":                               {"links", "payouts"},
		"check ":                                 {"links", "payouts"},
		"list -o ":                               {"json", "name", "wide", "yaml"},
		"refresh -o ":                            {"json", "name", "yaml"},
		"list --context ":                        {"envtest"},
		"create x --environment ":                {"Production", "Test"},
		"create x --scopes ":                     payu.Scopes(),
		"create x --scopes read_bills,create_p":  {"read_bills,create_payment_links", "read_bills,create_payout_transactions"},
		"create x --scopes read_bills,read_bill": {"read_bills,read_billers", "read_bills,read_biller_categories"},
		"re":                                     {"refresh", "resume"},
	} {
		args := append([]string{"__complete"}, strings.Split(line, " ")...)
		// Cobra completes the last word: the flags come before the command's own.
		args = append([]string{"__complete", "--kubeconfig=" + s.kubeconfig, "--namespace=" + s.namespace}, args[1:]...)
		got := s.exactly(args...)
		var words []string
		for line := range strings.Lines(got.stdout) {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(word, ":") {
				words = append(words, word)
			}
		}
		if diff := cmp.Diff(sorted(want), sorted(words)); diff != "" {
			t.Errorf("%q -want +got:\n%s\n%s", line, diff, got.stderr)
		}
	}
	if got := s.exactly("__complete", "--kubeconfig="+s.kubeconfig, "list", "-n", "kube-sy"); got.stdout != "kube-system\n:4\n" {
		t.Errorf("namespaces: %s", got.stdout)
	}
	if got := s.exactly("__complete", "create", "x", "--scopes", "verify_b"); !strings.HasPrefix(got.stdout, "verify_bank_account\tbank account verification\n") {
		t.Errorf("no product next to a scope: %s", got.stdout)
	}
	// Without a response there is nothing to complete, and no error on the screen.
	if got := s.exactly("__complete", "--kubeconfig="+s.file("config", ""), "status", ""); got.stdout != ":4\n" {
		t.Errorf("without a cluster: %s", got.stdout)
	}
}

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.run("completion", "kubectl").want(t, 0, "#!/bin/sh\n", `exec kubectl-payutoken __complete "$@"`)
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		s.run("completion", shell).want(t, 0, "kubectl-payutoken")
	}
}
