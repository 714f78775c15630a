package main_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
)

// The tests run the program itself, as `make build` builds it, on a real API server and against servers with real TLS.
var (
	binary   string // the program
	cluster  *testcluster.Cluster
	auditLog string // what the API server writes of each request of a ServiceAccount
)

const builtVersion, builtCommit = "v1.2.3-test", "0123abc"

// patience bounds every wait for something that will come: a busy machine may take its time.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // what the tests' own clients have to say
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "manager-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		built := make(chan error, 1)
		go func() { built <- build(dir) }()
		err = startCluster(dir)
		if err = errors.Join(err, <-built); err != nil {
			fmt.Fprintln(os.Stderr, err)
			if cluster != nil {
				cluster.Stop()
			}
			return 1
		}
		defer cluster.Stop()
		flag.Parse()
		flag.Set("test.parallel", "4") // the tests wait for Leases and timeouts more than they work
		return m.Run()
	}())
}

func build(dir string) error {
	binary = filepath.Join(dir, "manager")
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+builtVersion+" -X main.commit="+builtCommit, "-o", binary, ".")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building the manager: %w\n%s", err, out)
	}
	return nil
}

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts"]
- level: None
`

func startCluster(dir string) (err error) {
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	auditLog = filepath.Join(dir, "audit.log")
	cluster, err = testcluster.Start("audit-policy-file="+policy, "audit-log-path="+auditLog)
	return err
}

// await looks again and again until it sees what is wanted. Each look is a request or a read: nothing tells the test of it.
func await(t *testing.T, what string, look func() bool) {
	t.Helper()
	awaitWithin(t, patience, what, look)
}

func awaitWithin(t *testing.T, limit time.Duration, what string, look func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(limit)
	for !look() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("not seen within %s: %s", limit, what)
		}
	}
}

// must ends the test unless err is nil.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
