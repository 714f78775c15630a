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

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// options are the flags.
type options struct {
	keep          bool
	managerPath   string
	simulatorPath string
}

func main() {
	var o options
	pflag.BoolVar(&o.keep, "keep", false, "keep everything running after the tour, until Ctrl-C")
	pflag.StringVar(&o.managerPath, "manager", "", "path of a `program` built from cmd/manager; by default the demo builds bin/manager")
	pflag.StringVar(&o.simulatorPath, "simulator", "", "path of a `program` built from cmd/payu-simulator; by default the demo builds bin/payu-simulator")
	pflag.Usage = func() {
		fmt.Fprintf(os.Stderr, "demo shows the operator at work, in about a minute.\n\nFlags:\n%s", pflag.CommandLine.FlagUsages())
	}
	pflag.Parse()
	ctrl.SetLogger(logr.Discard()) // the tour prints what matters
	klog.SetLogger(logr.Discard())

	err := run(o)
	switch {
	case errors.Is(err, process.ErrInterrupted):
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", process.OneLine(err))
		os.Exit(1)
	}
}

// run runs the tour, and cleans up after it.
func run(o options) error {
	ctx, end := context.WithCancelCause(context.Background())
	defer end(nil)
	process.EndOnSignal(end)

	t, err := newTour(o, end)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { t.interruption(context.Cause(ctx)) })
	err = t.walk(ctx)
	if err == nil && o.keep {
		err = t.keepRunning(ctx)
	}
	stop()
	return t.farewell(t.close(err))
}
