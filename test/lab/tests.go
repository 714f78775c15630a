package lab

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// RunTests runs the tests of a package on a control plane of their own, which start starts, and builds the programs meanwhile.
func RunTests(m *testing.M, cluster **Cluster, start func(...string) (*Cluster, error)) {
	log.SetLogger(logr.Discard()) // what the tests' own clients say
	code, err := runTests(m, cluster, start)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M, cluster **Cluster, start func(...string) (*Cluster, error)) (code int, err error) {
	go Programs() // who needs them waits for the result
	if *cluster, err = start(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, (*cluster).Stop()) }()
	return m.Run(), nil
}
