// Package docs_test keeps the documentation true: links lead somewhere, names exist, commands run, and print what the
// pages say.
package docs_test

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

	_ "github.com/payu-token-operator/payu-token-operator/internal/controller" // a change of it is to run these tests anew
	_ "github.com/payu-token-operator/payu-token-operator/internal/kubeauth"
)

const root = "../.."

// patience bounds every wait for something that will come: a busy machine may take its time.
const patience = 60 * time.Second

var (
	update   = flag.Bool("update", false, "write what commands print into the pages")
	programs string // a folder with the manager and the simulator
)

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetLogger(logr.Discard()) // what the tests' own clients have to say
	os.Exit(func() int {
		err := build()
		defer os.RemoveAll(programs)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func build() (err error) {
	if programs, err = os.MkdirTemp("", "docs-test-"); err != nil {
		return err
	}
	command := exec.Command("go", "build", "-trimpath", "-o", programs, "./cmd/manager", "./cmd/payu-simulator")
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build has it: what is compiled for that is not compiled again
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	// The go command takes a former result for good unless a file has changed that the test itself has looked at.
	for _, folder := range []string{"cmd/manager", "cmd/payu-simulator", "config/rbac", "config/crd/bases", "examples/readers/go", "examples/readers/node", "examples/readers/python"} {
		_, failure := os.ReadDir(filepath.Join(root, folder))
		err = errors.Join(err, failure)
	}
	return err
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
