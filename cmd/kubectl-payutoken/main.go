// Command kubectl-payutoken is the kubectl plugin: kubectl payutoken.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/moby/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/internal/plugin"
)

func main() {
	klog.SetLogger(logr.Discard()) // what a library has to say comes as an error, too
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := plugin.Run(ctx, plugin.Env{
		IOStreams:   genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Clock:       clock.RealClock{},
		Terminal:    terminal(os.Stdout),
		Version:     version,
		VersionText: versionText(),
	}, os.Args[1:])
	stop()
	os.Exit(code)
}

// terminal returns what stdout is shown on, nil if that is no terminal.
func terminal(out *os.File) *plugin.Terminal {
	if !term.IsTerminal(out.Fd()) {
		return nil
	}
	return &plugin.Terminal{
		Colour: printers.AllowsColorOutput(out),
		Size: func() (width, height int) {
			size, err := term.GetWinsize(out.Fd())
			if err != nil {
				return 80, 24
			}
			return int(size.Width), int(size.Height)
		},
	}
}
