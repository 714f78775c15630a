package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// grace is how long a process may take to end when it is asked to: the manager waits for its last request.
	grace = 30 * time.Second
	// restartPause is how long after its end a manager is started again, as a kubelet does at first.
	restartPause = time.Second
	// scrapePatience is how long a manager may take to answer. One that is stopped never does.
	scrapePatience = 2 * time.Second
)

// build makes the programs that no flag names.
func (c *chaos) build(ctx context.Context) error {
	for path, name := range map[*string]string{&c.managerPath: "manager", &c.simulatorPath: "payu-simulator"} {
		if *path != "" {
			continue
		}
		out, err := exec.CommandContext(ctx, "go", "build", "-o", "bin/", "./cmd/"+name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("building cmd/%s (start this program in the folder of go.mod): %w: %s", name, err, out)
		}
		*path = "bin/" + name
	}
	return nil
}

// process is a program that runs beside the test, in a process group of its own: Ctrl-C is the test's to handle. On
// Linux the kernel ends it if the test is killed.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func launch(stdout, stderr io.Writer, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	p.cmd.SysProcAttr = attributes()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) signal(s syscall.Signal) { p.cmd.Process.Signal(s) } // fails only if it has ended

// stop asks the process to end, and ends it if it does not.
func (p *process) stop() error {
	p.signal(syscall.SIGCONT) // a stopped process hears nothing else
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(grace):
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
	return fmt.Errorf("%s did not stop within %s and was killed", p.cmd.Path, grace)
}

// exit is the end of a manager that nobody asked for.
type exit struct {
	at      time.Time
	manager string
	how     string
}

// replica is one of the managers. It is started again whenever it ends, as a kubelet does.
type replica struct {
	name string
	args []string
	path string
	log  *os.File
	fail context.CancelCauseFunc
	done chan struct{}

	mu       sync.Mutex
	process  *process
	expected bool // the test ends the process itself
	metrics  string
	probes   string
	starts   int
	exits    []exit
	stopErr  error
}

// supervise keeps the manager running until ctx ends.
func (r *replica) supervise(ctx context.Context) {
	defer close(r.done)
	for ctx.Err() == nil {
		p, err := r.start()
		if err != nil {
			r.fail(err)
			return
		}
		select {
		case <-p.ended:
			r.noteExit(p)
		case <-ctx.Done():
			r.stopErr = p.stop()
			return
		}
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
		}
	}
}

func (r *replica) start() (*process, error) {
	metrics, err1 := freeAddress()
	probes, err2 := freeAddress()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := launch(r.log, r.log, r.path, append(r.args, "--metrics-bind-address="+metrics, "--health-probe-bind-address="+probes)...)
	if err != nil {
		return nil, err
	}
	r.process, r.expected, r.metrics, r.probes = p, false, metrics, probes
	r.starts++
	return p, nil
}

func (r *replica) noteExit(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.expected {
		r.exits = append(r.exits, exit{time.Now(), r.name, p.cmd.ProcessState.String()})
	}
}

// end sends a signal that the manager is to end by.
func (r *replica) end(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected = true
	r.process.signal(s)
}

// pause and resume stop the manager in its tracks, and let it go on.
func (r *replica) pause()  { r.signal(syscall.SIGSTOP) }
func (r *replica) resume() { r.signal(syscall.SIGCONT) }

func (r *replica) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process.signal(s)
}

// addresses returns where the present process serves.
func (r *replica) addresses() (metrics, probes string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.metrics, r.probes
}

// count returns how often the process was started, and the ends that nobody asked for.
func (r *replica) count() (starts int, exits []exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts, r.exits
}

// scrape returns the metrics page, empty if there is none just now.
func (r *replica) scrape(ctx context.Context) string {
	metrics, _ := r.addresses()
	page, _ := fetch(ctx, "http://"+metrics+"/metrics")
	return page
}

// leads reports whether the manager holds the Lease, by its own word.
func (r *replica) leads(ctx context.Context) bool {
	return strings.Contains(r.scrape(ctx), `leader_election_master_status{name="payu-token-operator"} 1`)
}

// idle reports whether no PayUToken waits for the manager to look at it.
func (r *replica) idle(ctx context.Context) bool {
	depth := false
	for line := range strings.Lines(r.scrape(ctx)) {
		if strings.HasPrefix(line, `workqueue_depth{controller="payutoken"`) {
			depth = true
			if !strings.HasSuffix(strings.TrimSpace(line), " 0") {
				return false
			}
		}
	}
	return depth
}

// ready reports whether the manager's caches are filled.
func (r *replica) ready(ctx context.Context) bool {
	_, probes := r.addresses()
	_, ok := fetch(ctx, "http://"+probes+"/readyz")
	return ok
}

func fetch(ctx context.Context, url string) (body string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, scrapePatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", false
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err == nil && answer.StatusCode == http.StatusOK
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
