package process

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// ErrInterrupted ends a run on behalf of the user.
var ErrInterrupted = errors.New("interrupted")

// EndOnSignal ends a run on Ctrl-C and its like, and when the program's parent is gone: `go run` does not hand a SIGTERM
// on. Catching SIGPIPE keeps a closed stdout from killing the program before it has cleaned up.
func EndOnSignal(end context.CancelCauseFunc) {
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
