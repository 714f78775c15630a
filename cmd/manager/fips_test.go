package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestFIPS builds the operator with Go's validated module, as `make image FIPS=1` does, and has it work where anything else than approved
// algorithms is an error. All is compiled once more for it: so `make test-fips` runs it, which CI does beside the other tests.
func TestFIPS(t *testing.T) {
	t.Parallel()
	if os.Getenv("PAYU_TEST_FIPS") == "" {
		t.Skip("run make test-fips")
	}
	path := filepath.Join(t.TempDir(), "manager")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFIPS140=certified")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said := string(lab.Must(exec.Command(path, "--version").Output())(t))
	if !regexp.MustCompile(`, FIPS 140-3 module v1\.\d+\.\d+\S*\)\n$`).MatchString(said) {
		t.Errorf("--version says %q", said)
	}

	s := newShop(t)
	server := lab.RunPayU(t, payutest.Config{})
	lab.RunOperatorAt(t, path, []string{"GODEBUG=fips140=only"}, cluster.Kubeconfig,
		append(lab.Asking(server), "--watch-namespaces="+s.Namespace, "--metrics-bind-address=127.0.0.1:0", "--metrics-secure=true")...)
	s.create("links")
	s.AwaitReady("links")
	if live := server.Issued(); len(live) != 1 || live[0].Token != string(s.Secret("links").Data["access_token"]) {
		t.Errorf("the Secret does not hold the one token of PayU's")
	}
	if said := string(lab.Must(exec.Command(lab.Must(lab.Program("manager"))(t), "--version").Output())(t)); strings.Contains(said, "FIPS") {
		t.Errorf("--version of a usual build says %q", said)
	}
}
