// Package gitops_test holds what Flux and Argo CD see of the operator, which runs as a process of its own on a real API
// server: the health of a PayUToken in every state, by Flux's own libraries and in the Lua engine of Argo CD, and that
// nothing which they applied is ever changed.
package gitops_test

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

var (
	manager string // the program
	cluster *testcluster.Cluster
)

// patience bounds every wait for something that will come: a busy machine may take its time.
const patience = time.Minute

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // what the tests' own clients have to say
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gitops-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		built := make(chan error, 1)
		go func() { built <- build(dir) }()
		cluster, err = testcluster.Start()
		if err == nil {
			defer cluster.Stop()
		}
		if err = errors.Join(err, <-built); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		flag.Parse()
		flag.Set("test.parallel", "8") // the tests wait more than they work
		return m.Run()
	}())
}

func build(dir string) error {
	manager = filepath.Join(dir, "manager")
	command := exec.Command("go", "build", "-o", manager, "../../cmd/manager")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building the manager: %w\n%s", err, out)
	}
	return nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must ends the test unless err is nil.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return value
	}
}
