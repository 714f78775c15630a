package lab

import (
	"context"
	"errors"
	"os"
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

// TestARunIsLikeATest fails in the depth, and after the user has interrupted it.
func TestARunIsLikeATest(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	r := Must(NewRun(ctx, "lab-test"))(t)
	defer os.RemoveAll(r.Dir)
	if err := r.Try(func() { Check(r, nil) }); err != nil {
		t.Error(err)
	}
	if err := r.Try(func() { Must(0, os.ErrNotExist)(r) }); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := r.Try(func() { r.Fatalf("%d of %d", 1, 2) }); err == nil || err.Error() != "1 of 2" {
		t.Error(err)
	}
	end(ErrInterrupted)
	if err := r.Try(func() { AwaitTrue(r, "nothing", func() bool { return false }) }); !errors.Is(err, ErrInterrupted) {
		t.Error(err)
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
