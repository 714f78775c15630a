// Command chaos proves that the operator keeps its promises while everything around it fails. It runs a real
// kube-apiserver and etcd, two manager processes with leader election and with exactly the RBAC of config/rbac, and a
// simulator of PayU's token server with tokens that live for seconds. Then it kills and stops the leader, restarts the
// API server, stops etcd, cuts and slows the token server, changes its mode and rotates credentials, in an order drawn
// from a seed, each time until all has recovered:
//
//	go run ./test/chaos                   every disturbance at least once, in about 4 minutes
//	go run ./test/chaos --duration=75s    as many as fit, the kill of the leader among them
//
// An observer that shares nothing with the operator watches every target Secret and asks the simulator what it issued.
// From what it saw, these are proved, and the program exits with 1 if one of them does not hold:
//
//   - A target Secret always holds, whole, a token that PayU issued for exactly this client and set of scopes, that was
//     alive when it was written, and that its expires_at does not flatter. No version of it is empty or mixed of two.
//   - A token is replaced only by one that PayU issued later. It is never lost because something failed.
//   - No Secret is without a live token while nothing is wrong; under a disturbance, no longer than that explains.
//   - PayU is asked at half of a token's life at the earliest. A kill or a restart costs no request, except one for each
//     token that was lost with the process before all its Secrets held it. Failures are followed by the back-off that is
//     promised; one request at a time is under way for a client and set of scopes, unless leaders overlap.
//   - Secrets of others are never touched, and a PayUToken whose target is one of them costs no request.
//   - The managers end only where they have to (a lost lease, no API server), and never panic.
//   - Soon after a disturbance everything is Ready, Refreshed and not Stalled.
//   - No log at debug level, event, status, metric, Lease, ConfigMap, label or annotation holds a client secret or a
//     token that ever existed, nor its beginning or end: raw, percent-encoded or base64. The search is proved on the
//     Secrets, where it must find them.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/pflag"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// errViolated ends a run that found something. The report has told what.
var errViolated = errors.New("the operator broke a promise")

// options are the flags.
type options struct {
	duration time.Duration
	tokens   int
	seed     uint64
	only     string
	keepLogs bool
}

func main() {
	var o options
	pflag.DurationVar(&o.duration, "duration", fullRound, "how long to disturb; setting up takes half a minute more")
	pflag.IntVar(&o.tokens, "tokens", 200, "how many PayUTokens there are")
	pflag.Uint64Var(&o.seed, "seed", 0, "what the order and the details of the disturbances are drawn from; 0 draws it, too")
	pflag.StringVar(&o.only, "only", "", "play only the disturbances whose name holds this `text`, to look into one of them")
	pflag.BoolVar(&o.keepLogs, "keep-logs", false, "leave logs, events and all that was searched in a folder; after a violation it stays anyway")
	lab.Main("proves that the operator keeps its promises while everything around it fails.", func(ctx context.Context, end context.CancelCauseFunc) error {
		if o.tokens < fewestTokens {
			return fmt.Errorf("--tokens=%d: want %d or more, so that there is one of each kind", o.tokens, fewestTokens)
		}
		if o.seed == 0 {
			o.seed = 1 + rand.Uint64N(999_999) // short enough to be typed
		}
		c, err := newChaos(ctx, o, end)
		if err != nil {
			return err
		}
		return c.close(lab.Outcome(ctx, c.run(ctx)))
	})
}
