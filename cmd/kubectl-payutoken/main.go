// Command kubectl-payutoken is the kubectl plugin: kubectl payutoken.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/moby/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // users of a kubeconfig with auth-provider, as kubectl supports them
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/internal/plugin"
)

func main() {
	klog.SetLogger(logr.Discard()) // libraries report their problems as errors, too
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	in, out, errOut := term.StdStreams() // on Windows, these translate ANSI sequences
	code := plugin.Run(ctx, plugin.Env{
		IOStreams:   genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut},
		Clock:       clock.RealClock{},
		Terminal:    terminal(out),
		Version:     version,
		VersionText: versionText(),
	}, os.Args[1:])
	stop()
	os.Exit(code)
}

// terminal returns the terminal of stdout, or nil if stdout is not a terminal.
func terminal(out io.Writer) *plugin.Terminal {
	fd, is := term.GetFdInfo(out)
	if !is {
		return nil
	}
	return &plugin.Terminal{
		Colour: printers.AllowsColorOutput(out),
		Size: func() (width, height int) {
			size, err := term.GetWinsize(fd)
			if err != nil || size.Width == 0 {
				return 80, 24
			}
			return int(size.Width), int(size.Height)
		},
	}
}
