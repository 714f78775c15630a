package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// ErrInterrupted ends a run on behalf of the user.
var ErrInterrupted = errors.New("interrupted")

// Main is the frame of a program that shows or proves something: it parses the flags, has ctx end on Ctrl-C, says what went
// wrong in one line, and exits. Whatever ends ctx is what went wrong.
func Main(about string, run func(ctx context.Context, end context.CancelCauseFunc) error) {
	name := filepath.Base(os.Args[0])
	pflag.Usage = func() {
		fmt.Fprintf(os.Stderr, "%s %s\n\nFlags:\n%s", name, about, pflag.CommandLine.FlagUsages())
	}
	pflag.Parse()
	ctrl.SetLogger(logr.Discard()) // the program says what matters
	klog.SetLogger(logr.Discard())
	ctx, end := context.WithCancelCause(context.Background())
	endOnSignal(end)
	switch err := run(ctx, end); {
	case errors.Is(err, ErrInterrupted):
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, name+":", OneLine(err))
		os.Exit(1)
	}
}

// endOnSignal ends a run on Ctrl-C and its like, and when the program's parent is gone: `go run` does not hand a SIGTERM
// on. Catching SIGPIPE keeps a closed stdout from killing the program before it has cleaned up.
func endOnSignal(end context.CancelCauseFunc) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	parent := os.Getppid()
	go func() {
		for {
			select {
			case <-signals:
				end(ErrInterrupted)
			case <-time.After(time.Second):
				if os.Getppid() != parent {
					end(ErrInterrupted)
				}
			}
		}
	}()
}

// OneLine is what an error says, in one line.
func OneLine(err error) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")), " ")
}

// Run is one run of a program: it has a folder, tells how it goes on, and cleans up.
type Run struct {
	Dir   string
	Start time.Time

	cleanups []func() error
}

// NewRun makes a folder.
func NewRun(name string) (*Run, error) {
	dir, err := os.MkdirTemp("", name+"-")
	return &Run{Dir: dir, Start: time.Now()}, err
}

// Say tells how the run goes on.
func (r *Run) Say(format string, args ...any) {
	fmt.Printf("[%5.1f s] %s\n", time.Since(r.Start).Seconds(), fmt.Sprintf(format, args...))
}

// Later has Clean do something, the last one first.
func (r *Run) Later(cleanup func() error) { r.cleanups = append(r.cleanups, cleanup) }

// Clean ends what was started. It returns the error of the run and its own.
func (r *Run) Clean(failure error) error {
	errs := []error{failure}
	for _, cleanup := range slices.Backward(r.cleanups) {
		errs = append(errs, cleanup())
	}
	r.cleanups = nil
	return errors.Join(errs...)
}
