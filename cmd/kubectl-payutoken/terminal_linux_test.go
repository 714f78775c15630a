package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// openTerminal returns the two ends of a terminal of 100 by 30 characters.
func openTerminal(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	lab.Check(t, err)
	t.Cleanup(func() { screen.Close() })
	lab.Check(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	lab.Check(t, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	lab.Check(t, err)
	lab.Check(t, unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}))
	return screen, program
}

// onTerminal runs a command on a terminal until it ends, or until the screen has shown some words: then it is interrupted.
func onTerminal(t *testing.T, command *exec.Cmd, until string) string {
	t.Helper()
	screen, program := openTerminal(t)
	command.Stdout, command.Stderr = program, program
	lab.Check(t, command.Start())
	lab.Check(t, program.Close())
	ended := time.AfterFunc(lab.Patience, func() { command.Process.Kill() })
	defer ended.Stop()
	var shown strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := screen.Read(buffer)
		shown.Write(buffer[:n])
		if err != nil { // all writers have closed it
			break
		}
		if until != "" && strings.Contains(shown.String(), until) {
			command.Process.Signal(syscall.SIGINT)
			until = ""
		}
	}
	command.Wait()
	if until != "" {
		t.Errorf("%q was not shown", until)
	}
	return shown.String()
}

func TestOnATerminal(t *testing.T) {
	s := newShop(t)
	s.kubectl("apiVersion: auth.payu.in/v1alpha1\nkind: PayUToken\nmetadata: {name: links}\n"+
		"spec: {environment: Test, scopes: [a], credentialsSecretRef: {name: c}}\n", "apply", "-f", "-").want(t, 0)
	list := func(env ...string) string {
		command := s.command(t.Context(), "payutoken", "list", "-n", s.Namespace)
		command.Env = append(command.Env, env...)
		return onTerminal(t, command, "")
	}
	const waiting = "\x1b[36mWaiting\x1b[0m"
	for env, want := range map[string]bool{"": true, "NO_COLOR=1": false, "TERM=dumb": false} {
		if got := list(env); strings.Contains(got, waiting) != want || !strings.Contains(got, "links") {
			t.Errorf("with %q: want colour: %t\n%q", env, want, got)
		}
	}
	if piped := s.kubectl("", "payutoken", "list"); strings.Contains(piped.stdout, "\x1b") {
		t.Errorf("colour in a pipe: %q", piped.stdout)
	}

	watch := s.command(t.Context(), "payutoken", "list", "-w", "-n", s.Namespace)
	if got := onTerminal(t, watch, "1 waiting"); !strings.Contains(got, "\x1b[H\x1b[2J") || watch.ProcessState.ExitCode() != 130 {
		t.Errorf("exit code %d\n%q", watch.ProcessState.ExitCode(), got)
	}

	env := lab.File(s, "payu.env", "client_id=a\nclient_secret=b\n")
	create := s.command(t.Context(), "payutoken", "create", "x", "--environment=Test", "--scopes=a", "--from-env-file="+env)
	if got := onTerminal(t, create, ""); !strings.Contains(got, "not printed on a terminal") || create.ProcessState.ExitCode() != 1 {
		t.Errorf("exit code %d\n%s", create.ProcessState.ExitCode(), got)
	}
}
