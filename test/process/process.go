// Package process runs programs beside those of this repository that show or prove something: the demo, the tests that are
// programs, and the benchmark. They end what they started, whatever happens.
package process

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is a program that runs beside this one, in a process group of its own: Ctrl-C is this one's to handle. On Linux
// the kernel ends it if this one is killed.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// Launch starts a program.
func Launch(stdout, stderr io.Writer, path string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	p.cmd.SysProcAttr = attributes()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	go func() {
		_ = p.cmd.Wait() // State tells how it ended
		close(p.ended)
	}()
	return p, nil
}

// PID is the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Path is the program's.
func (p *Process) Path() string { return p.cmd.Path }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// State tells how the process ended, once it has.
func (p *Process) State() *os.ProcessState { return p.cmd.ProcessState }

// Signal sends a signal. It does nothing if the process has ended.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Stop asks the process to end. One that does not within the grace is ended, which is an error.
func (p *Process) Stop(grace time.Duration) error {
	p.Signal(syscall.SIGCONT) // a stopped process hears nothing else
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(grace):
	}
	p.Signal(syscall.SIGKILL)
	<-p.ended
	return fmt.Errorf("%s did not stop within %s and was killed", p.cmd.Path, grace)
}

// FreeAddress is a loopback address that nobody listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
