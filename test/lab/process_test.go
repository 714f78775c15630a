package lab

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// launchShell starts a script, and waits until it has said that it is ready.
func launchShell(t *testing.T, script string) *Process {
	t.Helper()
	said, stdout := io.Pipe()
	shell := exec.Command("/bin/sh", "-c", script)
	shell.Stdout = stdout
	p, err := Launch(shell)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Signal(syscall.SIGKILL) })
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStop(t *testing.T) {
	t.Run("one that obeys", func(t *testing.T) {
		p := launchShell(t, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done")
		if err := p.Stop(time.Minute); err != nil || p.State().ExitCode() != 3 {
			t.Errorf("%v, %v", err, p.State())
		}
	})
	t.Run("one that is suspended", func(t *testing.T) {
		p := launchShell(t, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done")
		p.Signal(syscall.SIGSTOP)
		if err := p.Stop(time.Minute); err != nil || p.State().ExitCode() != 3 {
			t.Errorf("%v, %v", err, p.State())
		}
	})
	t.Run("one that does not listen", func(t *testing.T) {
		p := launchShell(t, "trap '' TERM; echo ready; while :; do sleep 0.01; done")
		if err := p.Stop(10 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "/bin/sh did not stop within 10ms and was killed") {
			t.Errorf("%v, %v", err, p.State())
		}
	})
}

func TestASimulatorThatEndsAtOnceIsNotWaitedFor(t *testing.T) {
	s, err := startSimulator(t.Context(), "ca.pem", io.Discard, exec.Command("/bin/false"))
	if err == nil || !strings.Contains(err.Error(), "waiting for the simulator's addresses: it ended: exit status 1") {
		t.Error(err)
	}
	if s == nil || s.Stop(time.Minute) != nil {
		t.Error("it cannot be stopped")
	}
}
