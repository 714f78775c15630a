package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// patience limits short waits.
const patience = 15 * time.Second

// tour is one run of the demo.
type tour struct {
	*lab.Run // its folder is kept after a failure
	*screen
	end context.CancelCauseFunc

	private   string // a folder that is not: credentials
	clients   map[string]payutest.Client
	cluster   *lab.Cluster
	client    client.WithWatch
	simulator *lab.Simulator
	operator  *lab.Operator

	findings []finding
}

// finding is a promise that was kept.
type finding struct{ promise, seen string }

func newTour(end context.CancelCauseFunc) (*tour, error) {
	run, err := lab.NewRun("payu-demo")
	if err != nil {
		return nil, err
	}
	t := &tour{Run: run, screen: newScreen(os.Stdout), end: end, private: filepath.Join(run.Dir, "private")}
	t.Later(func() error { return os.RemoveAll(t.private) })
	return t, os.Mkdir(t.private, 0o700)
}

type step struct {
	name string
	do   func(context.Context) error
}

func (t *tour) steps() []step {
	return []step{
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

// close stops and removes everything, except the logs after a failure. It returns the error of the tour and its own.
func (t *tour) close(failure error) error {
	keepLogs := failure != nil && !errors.Is(failure, lab.ErrInterrupted) && t.simulator != nil
	if keepLogs {
		failure = fmt.Errorf("%w (logs: %s)", failure, t.Dir)
	}
	err := t.Clean(failure)
	if !keepLogs {
		err = errors.Join(err, os.RemoveAll(t.Dir))
	}
	return err
}
