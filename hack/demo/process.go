package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// grace is how long a process may take to end when it is asked to.
const grace = 10 * time.Second

// process is a program that runs beside the tour, in a process group of its own: Ctrl-C is the tour's to handle.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// launch starts a program. Its stderr goes to the file <name>.log of the folder logs, its stdout to the given writer. When
// it ends before the tour does, the tour ends, too.
func launch(name, logs string, end context.CancelCauseFunc, stdout io.Writer, path string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(logs, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = stdout, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the %s: %w", name, err)
	}
	go func() {
		p.cmd.Wait()
		end(fmt.Errorf("the %s ended before the tour did: %s", name, p.cmd.ProcessState))
		close(p.ended)
	}()
	return p, nil
}

// stop asks the process to end, and ends it if it does not.
func (p *process) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.ended:
		return nil
	case <-time.After(grace):
	}
	p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("%s did not stop within %s and was killed", p.cmd.Path, grace)
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
