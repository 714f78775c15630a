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
	"testing"
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

// Run is one run of a program: it has a folder, tells how it goes on, and cleans up. To the functions of this package it is a
// test: what fails by Fatal ends what Try tries.
type Run struct {
	testing.TB // nil: the methods below are those that a program has
	Dir        string
	Start      time.Time

	ctx      context.Context
	cleanups []func() error
}

// NewRun creates the folder of a run.
func NewRun(ctx context.Context, name string) (*Run, error) {
	dir, err := os.MkdirTemp("", name+"-")
	return &Run{Dir: dir, Start: time.Now(), ctx: ctx}, err
}

// Context ends when the program is to end.
func (r *Run) Context() context.Context { return r.ctx }

// Helper does nothing.
func (r *Run) Helper() {}

// Cleanup is Later for what cannot fail.
func (r *Run) Cleanup(cleanup func()) {
	r.Later(func() error {
		cleanup()
		return nil
	})
}

// failure is what Fatal panics with.
type failure struct{ error }

// Fatal ends what Try tries.
func (r *Run) Fatal(args ...any) {
	if err, is := args[0].(error); is && len(args) == 1 {
		panic(failure{err})
	}
	panic(failure{errors.New(fmt.Sprint(args...))})
}

// Fatalf ends what Try tries.
func (r *Run) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

// Try does something, and returns why it failed: why the program is to end, if it is, since all else failed because of that.
func (r *Run) Try(do func()) (err error) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
			err = Outcome(r.ctx, nil)
		case failure:
			err = Outcome(r.ctx, reason.error)
		default:
			panic(reason)
		}
	}()
	do()
	return nil
}

// Say prints how the run proceeds.
func (r *Run) Say(format string, args ...any) {
	fmt.Printf("[%5.1f s] %s\n", time.Since(r.Start).Seconds(), fmt.Sprintf(format, args...))
}

// Later defers something to Clean, which begins with the last one.
func (r *Run) Later(cleanup func() error) { r.cleanups = append(r.cleanups, cleanup) }

// Clean does what was deferred. It returns the error of the run and its own.
func (r *Run) Clean(failure error) error {
	errs := []error{failure}
	for _, cleanup := range slices.Backward(r.cleanups) {
		errs = append(errs, cleanup())
	}
	r.cleanups = nil
	return errors.Join(errs...)
}

// Shown rounds a duration for a reader.
func Shown(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
