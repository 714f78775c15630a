package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/process"
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
	process  *process.Process
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
		case <-p.Ended():
			r.noteExit(p)
		case <-ctx.Done():
			r.stopErr = p.Stop(grace)
			return
		}
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
		}
	}
}

func (r *replica) start() (*process.Process, error) {
	metrics, err1 := process.FreeAddress()
	probes, err2 := process.FreeAddress()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p, err := process.Launch(r.log, r.log, r.path, append(r.args, "--metrics-bind-address="+metrics, "--health-probe-bind-address="+probes)...)
	if err != nil {
		return nil, err
	}
	r.process, r.expected, r.metrics, r.probes = p, false, metrics, probes
	r.starts++
	return p, nil
}

func (r *replica) noteExit(p *process.Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.expected {
		r.exits = append(r.exits, exit{time.Now(), r.name, p.State().String()})
	}
}

// end sends a signal that the manager is to end by.
func (r *replica) end(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected = true
	r.process.Signal(s)
}

// pause and resume stop the manager in its tracks, and let it go on.
func (r *replica) pause()  { r.signal(syscall.SIGSTOP) }
func (r *replica) resume() { r.signal(syscall.SIGCONT) }

func (r *replica) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process.Signal(s)
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
