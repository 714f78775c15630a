package lab

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestAwaitTellsWhatStoodInTheWay(t *testing.T) {
	err := Await(t.Context(), 50*time.Millisecond, "a promise", func(context.Context) error { return errors.New("an obstacle") })
	if err == nil || err.Error() != "not seen within 50ms: a promise: an obstacle" {
		t.Error(err)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	err := Await(ctx, time.Hour, "a promise", func(context.Context) error {
		end(ErrInterrupted)
		return errors.New("an obstacle")
	})
	if !errors.Is(err, ErrInterrupted) {
		t.Error(err)
	}
}

// TestCleanGoesBackwards also after a failure.
func TestCleanGoesBackwards(t *testing.T) {
	var done []string
	r := &Run{}
	for _, name := range []string{"first", "second"} {
		r.Later(func() error {
			done = append(done, name)
			return errors.New(name + " fails")
		})
	}
	err := r.Clean(errors.New("the run fails"))
	if strings.Join(done, " ") != "second first" || err.Error() != "the run fails\nsecond fails\nfirst fails" {
		t.Errorf("%v, %v", done, err)
	}
}

func TestProgramsAreBuiltOnce(t *testing.T) {
	first := Must(Program("manager"))(t)
	if again := Must(Program("manager"))(t); again != first {
		t.Error(again)
	}
	if out, err := exec.Command(first, "--version").Output(); err != nil || !strings.Contains(string(out), Version+" (commit "+Commit) {
		t.Errorf("%s: %v", out, err)
	}
}
