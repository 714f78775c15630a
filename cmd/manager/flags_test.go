package main_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// contractFlags are the flags of the contract with their defaults.
var contractFlags = map[string]string{
	"kubeconfig":                "",
	"test-base-url":             `"https://uat-accounts.payu.in"`,
	"production-base-url":       `"https://accounts.payu.in"`,
	"ca-file":                   "",
	"token-request-timeout":     "10s",
	"propagation-margin":        "2m0s",
	"require-credentials-label": "",
	"max-concurrent-reconciles": "8",
	"kube-api-qps":              "-1",
	"kube-api-burst":            "-1",
	"watch-namespaces":          "",
	"watch-label-selector":      "",
	"leader-elect":              "",
	"leader-election-id":        `"payu-token-operator"`,
	"leader-election-namespace": "",
	"metrics-bind-address":      `":8443"`,
	"metrics-secure":            "true",
	"health-probe-bind-address": `":8081"`,
	"pprof-bind-address":        `"0"`,
	"log-level":                 `"info"`,
	"log-format":                `"json"`,
	"version":                   "",
}

var helpLine = regexp.MustCompile(`^ +--([a-z-]+) (?:\S+)? {2,}(.*?)(?: \(default (.*)\))?$`)

func TestHelpExplainsEveryFlagOfTheContractAndNoOther(t *testing.T) {
	help := runToEnd(t, nil, "--help")
	if help.code != 0 || help.stderr != "" {
		t.Errorf("exit code %d, stderr %q", help.code, help.stderr)
	}
	_, list, found := strings.Cut(help.stdout, "Flags:\n")
	if !found {
		t.Fatalf("no flags in:\n%s", help.stdout)
	}
	flags := map[string]string{}
	for line := range strings.Lines(list) {
		parts := helpLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if parts == nil {
			t.Errorf("not understood: %q", line)
			continue
		}
		flags[parts[1]] = parts[3]
		if len(strings.Fields(parts[2])) < 3 {
			t.Errorf("--%s is not explained: %q", parts[1], parts[2])
		}
	}
	if diff := cmp.Diff(contractFlags, flags); diff != "" {
		t.Errorf("flags and defaults (-contract +help):\n%s", diff)
	}
}

func TestVersionIsTheOneThatWasBuilt(t *testing.T) {
	said := runToEnd(t, nil, "--version")
	want := regexp.MustCompile(`^payu-token-operator ` + lab.Version + ` \(commit ` + lab.Commit + `, go1\.\S+, \w+/\w+\)\n$`)
	if said.code != 0 || said.stderr != "" || !want.MatchString(said.stdout) {
		t.Errorf("exit code %d, stdout %q, stderr %q", said.code, said.stdout, said.stderr)
	}
}

// refusal is a start that cannot work, and words of the line that the manager says then.
type refusal struct {
	env  []string
	args []string
	says []string
}

// expect checks that the program says one line that names what is wrong, and ends soon and badly.
func (r refusal) expect(t *testing.T, limit time.Duration) {
	t.Helper()
	got := runToEnd(t, r.env, r.args...)
	if got.code != 1 {
		t.Errorf("exit code %d, want 1", got.code)
	}
	if got.took > limit {
		t.Errorf("took %s, want %s at most", got.took, limit)
	}
	if got.stdout != "" || strings.Count(got.stderr, "\n") != 1 || !strings.HasPrefix(got.stderr, "manager: ") {
		t.Errorf("want one line on stderr and nothing on stdout, got\n%s%s", got.stdout, got.stderr)
	}
	for _, words := range r.says {
		if !strings.Contains(got.stderr, words) {
			t.Errorf("%q is not in %q", words, got.stderr)
		}
	}
}

// soon is when a start that cannot work must have ended where nothing has to be waited for.
const soon = 10 * time.Second

func TestABadFlagIsRefusedInOneLine(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	lab.Check(t, os.WriteFile(garbage, []byte("no certificate\n"), 0o600))
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for name, test := range map[string]refusal{
		"an unknown flag":                           {args: []string{"--nonsense"}, says: []string{"--nonsense", "--help"}},
		"an argument":                               {args: []string{"start"}, says: []string{`"start"`, "flags only"}},
		"a flag without its value":                  {args: []string{"--ca-file"}, says: []string{"--ca-file", "--help"}},
		"a duration without a unit":                 {args: []string{"--token-request-timeout=10"}, says: []string{"--token-request-timeout", `"10"`}},
		"a timeout of nothing":                      {args: []string{"--token-request-timeout=0s"}, says: []string{"--token-request-timeout", "positive"}},
		"a negative timeout":                        {args: []string{"--token-request-timeout=-1s"}, says: []string{"--token-request-timeout", "positive"}},
		"a negative margin":                         {args: []string{"--propagation-margin=-1m"}, says: []string{"--propagation-margin", "negative"}},
		"no workers":                                {args: []string{"--max-concurrent-reconciles=0"}, says: []string{"--max-concurrent-reconciles", "at least 1"}},
		"words where a number belongs":              {args: []string{"--kube-api-qps=many"}, says: []string{"--kube-api-qps", `"many"`}},
		"an unknown log level":                      {args: []string{"--log-level=chatty"}, says: []string{"--log-level", `"chatty"`, "debug, info, warn or error"}},
		"an unknown log format":                     {args: []string{"--log-format=xml"}, says: []string{"--log-format", `"xml"`, "json or text"}},
		"a selector that is none":                   {args: []string{"--watch-label-selector=shard in (a"}, says: []string{"--watch-label-selector"}},
		"an empty namespace in the list":            {args: []string{"--watch-namespaces=a,,b"}, says: []string{"--watch-namespaces", `""`}},
		"a space in the list of namespaces":         {args: []string{"--watch-namespaces=a, b"}, says: []string{"--watch-namespaces", `" b"`}},
		"a base URL that would send secrets openly": {args: []string{"--test-base-url=http://payu.example"}, says: []string{"--test-base-url", `"http://payu.example"`, "use https"}},
		"another scheme":                            {args: []string{"--production-base-url=ftp://127.0.0.1"}, says: []string{"--production-base-url", "use https"}},
		"a base URL that is none":                   {args: []string{"--production-base-url=payu.example"}, says: []string{"--production-base-url", `"payu.example"`, "like https://"}},
		"a base URL with a password":                {args: []string{"--test-base-url=https://me:hidden@payu.example"}, says: []string{"--test-base-url", "leave out user", "me:xxxxx@"}},
		"profiles for everybody":                    {args: []string{"--pprof-bind-address=:6060"}, says: []string{"--pprof-bind-address", `":6060"`, "127.0.0.1"}},
		"an empty address":                          {args: []string{"--metrics-bind-address="}, says: []string{"--metrics-bind-address", "or 0"}},
		"leader election outside of a pod":          {args: []string{"--leader-elect"}, says: []string{"--leader-election-namespace"}},
		"a CA file that does not exist":             {args: []string{"--ca-file=" + missing}, says: []string{"--ca-file", missing, "no such file"}},
		"a CA file without a certificate":           {args: []string{"--ca-file=" + garbage}, says: []string{"--ca-file: " + garbage + " contains no PEM certificate"}},
		"a bad base URL beside a good CA file":      {args: []string{"--ca-file=" + anyCAFile(t), "--test-base-url=payu.example"}, says: []string{"--test-base-url", "like https://"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.expect(t, soon)
		})
	}
}

// anyCAFile is a file with a certificate in it.
func anyCAFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	lab.Check(t, os.WriteFile(file, lab.Must(payutest.NewAuthority())(t).PEM(), 0o600))
	return file
}

func TestAnAddressThatCannotBeServedIsRefusedInOneLine(t *testing.T) {
	taken := lab.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { taken.Close() })
	address := taken.Addr().String()
	for name, r := range map[string]refusal{
		"probes, in use":   {args: []string{"--health-probe-bind-address=" + address}, says: []string{"--health-probe-bind-address", address, "address already in use"}},
		"metrics, in use":  {args: []string{"--metrics-bind-address=" + address}, says: []string{"--metrics-bind-address", address, "address already in use"}},
		"metrics, no port": {args: []string{"--metrics-bind-address=localhost"}, says: []string{"--metrics-bind-address", "missing port"}},
		"probes, odd port": {args: []string{"--health-probe-bind-address=:http-alt-x"}, says: []string{"--health-probe-bind-address", "unknown port"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.args = append([]string{"--kubeconfig=" + cluster.Kubeconfig, "--health-probe-bind-address=0", "--metrics-bind-address=0"}, r.args...)
			r.expect(t, soon)
		})
	}
}
