package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// grace is how long a program may take to end when it is asked to.
const grace = 15 * time.Second

// process is a program of the node. The sandbox ends it.
type process struct {
	cmd      *exec.Cmd
	stopping atomic.Bool // it is being ended on purpose
	ended    chan struct{}
}

// launch starts a program. Both its outputs go to the file <name>.log, behind what is there. When it ends without having
// been stopped, so does the node.
func (n *Node) launch(path string, args ...string) error {
	name := filepath.Base(path)
	log, err := os.OpenFile(filepath.Join(n.logs(), name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	n.programs[name] = p
	go func() {
		p.cmd.Wait()
		close(p.ended)
		if !p.stopping.Load() {
			n.fail(fmt.Errorf("%s ended (%s): %s tells why", name, p.cmd.ProcessState, log.Name()))
		}
	}()
	return nil
}

// restart ends a program and starts it again.
func (n *Node) restart(name string) error {
	p := n.programs[name]
	p.stopping.Store(true)
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(grace):
		p.cmd.Process.Kill()
		<-p.ended
	}
	return n.launch(p.cmd.Path, p.cmd.Args[1:]...)
}
