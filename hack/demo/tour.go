package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// patience limits short waits.
const patience = 15 * time.Second

// tour is one run of the demo.
type tour struct {
	options
	*screen
	end context.CancelCauseFunc

	logs      string // a folder that is kept after a failure
	private   string // a folder that is not: credentials
	clients   map[string]payutest.Client
	cluster   *testcluster.Cluster
	client    client.WithWatch
	simulator *simulator
	probes    string // address of the operator's probes
	metrics   string // address of its metrics

	findings []finding
	cleanups []func() error
}

// finding is a promise that was kept.
type finding struct{ promise, seen string }

func newTour(o options, end context.CancelCauseFunc) (*tour, error) {
	t := &tour{options: o, screen: newScreen(os.Stdout), end: end}
	var err error
	if t.logs, err = os.MkdirTemp("", "payu-demo-"); err != nil {
		return nil, err
	}
	t.private = filepath.Join(t.logs, "private")
	t.later(func() error { return os.RemoveAll(t.private) })
	return t, os.Mkdir(t.private, 0o700)
}

type step struct {
	name string
	do   func(context.Context) error
}

func (t *tour) steps() []step {
	steps := []step{
		{"Start a Kubernetes control plane", t.startControlPlane},
		{"Build the operator and the simulator", t.build},
		{"Start a simulator of PayU's token server", t.startSimulator},
		{"Install and start the operator", t.startOperator},
		{"Request tokens", t.askForTokens},
		{"Look into the Secret", t.lookIntoSecret},
		{"See the token renewed, twice", t.seeRenewals},
		{"Delete the Secret by hand", t.deleteSecret},
		{"Break the credentials", t.breakCredentials},
		{"Correct the credentials", t.correctCredentials},
	}
	if t.managerPath != "" && t.simulatorPath != "" {
		steps = slices.Delete(steps, 1, 2) // nothing to build
	}
	return steps
}

// walk runs the steps, until one fails or ctx ends.
func (t *tour) walk(ctx context.Context) error {
	t.title("payu-token-operator", "a tour of about a minute, on this machine only. It sends nothing to PayU.")
	for n, s := range t.steps() {
		t.heading(n+1, s.name)
		err := s.do(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", n+1, err)
		}
	}
	return t.summarize(ctx)
}

// found records that a promise was kept, and shows how.
func (t *tour) found(promise, format string, args ...any) {
	seen := fmt.Sprintf(format, args...)
	t.saw("%s", seen)
	t.findings = append(t.findings, finding{promise, seen})
}

// later defers a function to close, which runs the last one first.
func (t *tour) later(cleanup func() error) { t.cleanups = append(t.cleanups, cleanup) }

// close stops and removes everything, except the logs after a failure. It returns the error of the tour and its own.
func (t *tour) close(failure error) error {
	if failure != nil && !errors.Is(failure, process.ErrInterrupted) && t.simulator != nil {
		failure = fmt.Errorf("%w (logs: %s)", failure, t.logs)
	} else {
		t.cleanups = slices.Insert(t.cleanups, 0, func() error { return os.RemoveAll(t.logs) })
	}
	errs := []error{failure}
	for _, cleanup := range slices.Backward(t.cleanups) {
		errs = append(errs, cleanup())
	}
	return errors.Join(errs...)
}
