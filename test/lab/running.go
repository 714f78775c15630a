package lab

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// RunningOperator is an operator that runs for the duration of a test.
type RunningOperator struct {
	*Operator
	*testing.T
	Log *Log // what it says on stderr

	stdout *Log
}

// RunOperator starts the operator with the rights of a user, and with nothing in its environment but what is named. It waits
// until the operator is ready. At the end of the test the operator must end well.
func RunOperator(t *testing.T, env []string, kubeconfig string, flags ...string) *RunningOperator {
	t.Helper()
	return RunOperatorAt(t, "", env, kubeconfig, flags...)
}

// RunOperatorAt is RunOperator with another program than the lab's.
func RunOperatorAt(t *testing.T, path string, env []string, kubeconfig string, flags ...string) *RunningOperator {
	t.Helper()
	o := launch(t, path, env, kubeconfig, flags...)
	Check(t, o.AwaitReady(t.Context()))
	return o
}

// LaunchOperator is RunOperator, but does not wait.
func LaunchOperator(t *testing.T, env []string, kubeconfig string, flags ...string) *RunningOperator {
	t.Helper()
	return launch(t, "", env, kubeconfig, flags...)
}

func launch(t *testing.T, path string, env []string, kubeconfig string, flags ...string) *RunningOperator {
	t.Helper()
	o := &RunningOperator{T: t, Log: newLog(), stdout: newLog()}
	o.Operator = &Operator{Path: path, Env: append([]string{"HOME=" + t.TempDir()}, env...), Stdout: o.stdout, Stderr: o.Log}
	Check(t, o.Start(kubeconfig, flags...))
	t.Cleanup(o.finish)
	return o
}

// finish stops the operator if it still runs, and shows what it said if the test has failed.
func (o *RunningOperator) finish() {
	if !o.HasEnded() {
		o.Stop()
	}
	if o.Failed() {
		o.Logf("the operator's log ends with:\n%s", o.Log.Tail(40))
	}
}

// Stop ends the operator as Kubernetes does.
func (o *RunningOperator) Stop() {
	o.Helper()
	o.Signal(syscall.SIGTERM)
	o.ExpectGoodEnd()
}

// Signal sends a signal to the operator, which must run.
func (o *RunningOperator) Signal(s syscall.Signal) {
	o.Helper()
	if o.HasEnded() {
		o.Fatalf("%v: the operator has ended with %s", s, o.State())
	}
	o.Operator.Signal(s)
}

// ExpectGoodEnd waits for the operator to end by itself: with exit code 0, and having said nothing but JSON, on stderr.
func (o *RunningOperator) ExpectGoodEnd() {
	o.Helper()
	o.AwaitEnd()
	if code := o.State().ExitCode(); code != 0 {
		o.Errorf("the operator ended with %s, want exit code 0", o.State())
	}
	if text := o.stdout.Text(); text != "" {
		o.Errorf("stdout: %s", text)
	}
	for line := range strings.Lines(o.Log.Text()) {
		if !json.Valid([]byte(line)) {
			o.Errorf("a line of the log is no JSON: %s", line)
		}
	}
}

// AwaitEnd waits for the operator to end, in whatever way.
func (o *RunningOperator) AwaitEnd() {
	o.Helper()
	if err := o.Operator.AwaitEnd(Grace); err != nil {
		o.Error(err)
	}
}

// AwaitLog waits until the log holds a text.
func (o *RunningOperator) AwaitLog(text string) {
	o.Helper()
	deadline := time.After(Patience)
	for {
		have, changed := o.Log.look()
		if strings.Contains(have, text) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			o.Fatalf("not in the log within %s: %s", Patience, text)
		}
	}
}

// Log holds what a process has written.
type Log struct {
	mu      sync.Mutex
	written bytes.Buffer
	changed chan struct{} // closed when something is written
}

func newLog() *Log { return &Log{changed: make(chan struct{})} }

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.written.Write(p)
}

// Text returns all of it.
func (l *Log) Text() string {
	text, _ := l.look()
	return text
}

func (l *Log) look() (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written.String(), l.changed
}

// Tail returns the last lines.
func (l *Log) Tail(lines int) string {
	all := strings.Split(strings.TrimSpace(l.Text()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
