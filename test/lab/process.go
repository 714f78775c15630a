package lab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Grace is how long a process may take to end when it is told to, as Kubernetes has it.
const Grace = 30 * time.Second

// Process is a program that runs beside this one, in a process group of its own: Ctrl-C is this one's to handle. On Linux
// the kernel ends it if this one is killed.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// Launch starts a program.
func Launch(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	p.cmd.SysProcAttr = attributes()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	go func() {
		_ = p.cmd.Wait() // State tells how it ended
		close(p.ended)
	}()
	return p, nil
}

// PID is the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// HasEnded reports whether the process has ended.
func (p *Process) HasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// State tells how the process ended, once it has.
func (p *Process) State() *os.ProcessState { return p.cmd.ProcessState }

// Signal sends a signal. It does nothing if the process has ended.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Kill ends the process as a node that fails does.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.ended
}

// Stop asks the process to end. One that does not within the grace is ended, which is an error.
func (p *Process) Stop(grace time.Duration) error {
	p.Signal(syscall.SIGCONT) // a stopped process hears nothing else
	p.Signal(syscall.SIGTERM)
	return p.AwaitEnd(grace)
}

// AwaitEnd waits for the process to end by itself. One that does not within the grace is ended, which is an error.
func (p *Process) AwaitEnd(grace time.Duration) error {
	select {
	case <-p.ended:
		return nil
	case <-time.After(grace):
	}
	p.Kill()
	return fmt.Errorf("%s did not stop within %s and was killed", p.cmd.Path, grace)
}

// FreeAddress is a loopback address that nobody listens on.
func FreeAddress() (string, error) { return FreeAddressOf("127.0.0.1") }

// FreeAddressOf is an address of this machine that nobody listens on.
func FreeAddressOf(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
