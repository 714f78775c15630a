// Command e2e runs what users run, and proves that a workload which mounts its token sees no refusal: the operator from
// its own image and Helm chart, the simulator of PayU's token server behind a Service, and workloads as pods whose token
// file is kept fresh by a real kubelet, while leaders are deleted and killed, the API server and the kubelet restart,
// the operator is upgraded, PayU fails and credentials are rotated:
//
//	go run ./test/e2e                    on a cluster of one node, which it starts itself; needs root on Debian
//	E2E_KUBECONFIG=... go run ./test/e2e on a cluster that is there: see docs/e2e.md
//
// It prints a table and exits with 1 if a promise was broken. Whatever happens, it ends all that it started.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/payu-token-operator/payu-token-operator/test/e2e/node"
	"github.com/payu-token-operator/payu-token-operator/test/e2e/sandbox"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

var (
	// errBroken ends a run that found something. The report has told what.
	errBroken = errors.New("a promise was broken")
	// errUnable ends a run that this machine does not allow.
	errUnable = errors.New("this machine cannot start a node")
)

// options are the flags.
type options struct {
	only     string
	keep     bool
	keepLogs bool
	long     bool
	orSkip   bool
	inside   string
	check    bool
}

func main() {
	sandbox.Enter()
	var o options
	pflag.StringVar(&o.only, "only", "", "play only the scenarios whose name holds this `text`, to look into one of them")
	pflag.BoolVar(&o.keep, "keep", false, "leave everything running after the report, until Ctrl-C")
	pflag.BoolVar(&o.keepLogs, "keep-logs", false, "leave the logs; after a failure they stay anyway")
	pflag.BoolVar(&o.long, "long", false, "measure deliveries to pods over more than 100 renewals in each mode, in a quarter of an hour")
	pflag.BoolVar(&o.orSkip, "or-skip", false, "where the machine does not allow the test, say so and exit with 0")
	// These two are for the program to call itself with.
	pflag.StringVar(&o.inside, "inside", "", "")
	pflag.BoolVar(&o.check, "check", false, "")
	pflag.CommandLine.MarkHidden("inside")
	pflag.CommandLine.MarkHidden("check")
	lab.Main("proves that a workload which mounts its token sees no refusal.", func(ctx context.Context, end context.CancelCauseFunc) error {
		err := run(ctx, end, o)
		if errors.Is(err, errUnable) && o.orSkip {
			fmt.Println("SKIPPED test-e2e:", lab.OneLine(err))
			return nil
		}
		return err
	})
}

// run makes the run, and cleans up after it.
func run(ctx context.Context, end context.CancelCauseFunc, o options) error {
	switch {
	case o.check:
		return node.Check()
	case o.inside != "":
		return runInside(ctx, end, o)
	case os.Getenv("E2E_KUBECONFIG") != "":
		return runOnGivenCluster(ctx, o)
	default:
		return runOnOwnNode(ctx, o)
	}
}
