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

	"github.com/spf13/pflag"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

var keep = pflag.Bool("keep", false, "keep everything running after the tour, until Ctrl-C")

func main() {
	lab.Main("shows the operator at work, in about a minute.", func(ctx context.Context, end context.CancelCauseFunc) error {
		t, err := newTour(end)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { t.interruption(context.Cause(ctx)) })
		err = t.walk(ctx)
		if err == nil && *keep {
			err = t.keepRunning(ctx)
		}
		stop()
		return t.farewell(t.close(err))
	})
}
