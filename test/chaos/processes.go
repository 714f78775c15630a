package main

import (
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// restartPause is how long after its end a manager is started again, as a kubelet does at first.
	restartPause = time.Second
	// scrapePatience is how long a manager may take to answer. One that is stopped never does.
	scrapePatience = 2 * time.Second
)

// exit is the end of a manager that nobody asked for.
type exit struct {
	at      time.Time
	manager string
	how     string
}

// replica is one of the managers. It is started again whenever it ends, as a kubelet does.
type replica struct {
	name       string
	kubeconfig string
	args       []string
	log        *os.File
	fail       context.CancelCauseFunc
	done       chan struct{}

	mu       sync.Mutex
	operator *lab.Operator
	expected bool // the test ends the process itself
	starts   int
	exits    []exit
	stopErr  error
}

// supervise keeps the manager running until ctx ends.
func (r *replica) supervise(ctx context.Context) {
	defer close(r.done)
	for ctx.Err() == nil {
		o, err := r.start()
		if err != nil {
			r.fail(err)
			return
		}
		select {
		case <-o.Ended():
			r.noteExit(o)
		case <-ctx.Done():
			r.stopErr = o.Stop(lab.Grace)
			return
		}
		_ = lab.Pause(ctx, restartPause)
	}
}

func (r *replica) start() (*lab.Operator, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &lab.Operator{Stdout: r.log, Stderr: r.log}
	if err := o.Start(r.kubeconfig, r.args...); err != nil {
		return nil, err
	}
	r.operator, r.expected = o, false
	r.starts++
	return o, nil
}

func (r *replica) noteExit(o *lab.Operator) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.expected {
		r.exits = append(r.exits, exit{time.Now(), r.name, o.State().String()})
	}
}

// end sends a signal that the manager is to end by.
func (r *replica) end(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected = true
	r.operator.Signal(s)
}

// pause and resume stop the manager in its tracks, and let it go on.
func (r *replica) pause()  { r.signal(syscall.SIGSTOP) }
func (r *replica) resume() { r.signal(syscall.SIGCONT) }

func (r *replica) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.operator.Signal(s)
}

// present is the process of now.
func (r *replica) present() *lab.Operator {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.operator
}

// count returns how often the process was started, and the ends that nobody asked for.
func (r *replica) count() (starts int, exits []exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts, r.exits
}

// scrape returns the metrics page, empty if there is none just now.
func (r *replica) scrape(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, scrapePatience)
	defer cancel()
	page, err := r.present().Scrape(ctx)
	if err != nil {
		return ""
	}
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
	ctx, cancel := context.WithTimeout(ctx, scrapePatience)
	defer cancel()
	return r.present().IsReady(ctx)
}
