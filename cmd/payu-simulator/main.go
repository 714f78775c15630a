// Command payu-simulator simulates PayU's token server, to try the operator without PayU: on a laptop, in a cluster, and
// with every fault on demand. Package payutest does the work and explains the behaviour.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "payu-simulator: %s\n", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. It writes the addresses, one line, to stdout and the log to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stdout)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	sim, err := start(o, stderr)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "payu-simulator: listening on %s\n", sim)
	<-ctx.Done()
	return sim.stop()
}
