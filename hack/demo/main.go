// Command demo is a tour of the operator in about a minute, on one machine and without PayU: a real Kubernetes API
// server, a simulator of PayU's token server, and the operator between them.
//
//	go run ./hack/demo          the tour; exits with 0 if all promises were kept
//	go run ./hack/demo --keep   the tour, then everything keeps running until Ctrl-C
//
// It always stops every process that it started and removes its files. Only after a failure it keeps the logs of the
// operator and the simulator, and says where.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

var keep = pflag.Bool("keep", false, "keep everything running after the tour, until Ctrl-C")

func main() {
	lab.Main("shows the operator at work, in about a minute.", func(ctx context.Context, end context.CancelCauseFunc) error {
		run, err := lab.NewRun(ctx, "payu-demo")
		if err != nil {
			return err
		}
		t := &tour{Run: run, screen: newScreen(os.Stdout), end: end}
		stop := context.AfterFunc(ctx, func() { t.interruption(context.Cause(ctx)) })
		err = t.walk()
		stop()
		return t.close(err)
	})
}

// walk is the tour. It ends with the first step that fails, or with ctx.
func (t *tour) walk() error {
	t.title("payu-token-operator", "a tour of about a minute, on this machine only. It sends nothing to PayU.")
	for n, step := range []struct {
		name string
		do   func()
	}{
		{"Start a Kubernetes control plane", t.startControlPlane},
		{"Build the operator and the simulator", t.build},
		{"Start a simulator of PayU's token server", t.startSimulator},
		{"Install and start the operator", t.startOperator},
		{"Request tokens", t.requestTokens},
		{"Look into the Secret", t.lookIntoSecret},
		{"See the token renewed, twice", t.seeRenewals},
		{"Delete the Secret by hand", t.deleteSecret},
		{"Break the credentials", t.breakCredentials},
		{"Correct the credentials", t.correctCredentials},
	} {
		t.heading(n+1, step.name)
		if err := t.Try(step.do); err != nil {
			return lab.Outcome(t.Context(), fmt.Errorf("step %d: %w", n+1, err))
		}
	}
	err := t.Try(t.summarize)
	if err == nil && *keep {
		err = t.keepRunning()
	}
	return err
}

// close stops and removes everything, except the logs after a failure. It returns the error of the tour and its own.
func (t *tour) close(failure error) error {
	if failure != nil && !errors.Is(failure, lab.ErrInterrupted) && t.simulator != nil {
		return t.Clean(fmt.Errorf("%w (logs: %s)", failure, t.Dir))
	}
	err := errors.Join(t.Clean(failure), os.RemoveAll(t.Dir))
	if err == nil {
		t.heading(0, "All promises were kept. Everything is stopped and removed.")
	}
	return err
}
