package controller

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// stuckAfter is how long no pass may end while some are due. A pass ends in less than a minute, whatever the API server
// does, so that only an operator that has stopped working takes so long.
const stuckAfter = 5 * time.Minute

// progress knows when the last pass ended, by a clock that does not step: it stands still while the machine sleeps.
type progress struct {
	monotonic func() time.Duration

	mu      sync.Mutex
	running int
	last    time.Duration // when a pass ended last, or nothing was due
}

func newProgress() *progress {
	started := time.Now()                                                            //nolint:forbidigo // tests set monotonic
	return &progress{monotonic: func() time.Duration { return time.Since(started) }} //nolint:forbidigo // a clock that does not step
}

// begin notes the beginning of a pass; its end is noted by end.
func (p *progress) begin() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == 0 {
		p.last = p.monotonic()
	}
	p.running++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running--
		p.last = p.monotonic()
	}
}

// stuck returns for how long no pass has ended although some are due.
func (p *progress) stuck(queued int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == 0 && queued == 0 {
		p.last = p.monotonic()
	}
	return p.monotonic() - p.last
}

// Healthy is a liveness check: it fails if PayUTokens are due and no pass has ended for five minutes. An operator that
// has stopped working answers a ping all the same.
func (r *Reconciler) Healthy(*http.Request) error {
	queued := 0
	if q := r.queue.Load(); q != nil {
		queued = (*q).Len()
	}
	if stuck := r.progress.stuck(queued); stuck > stuckAfter {
		return fmt.Errorf("PayUTokens have been due for %s, and none was reconciled", stuck.Round(time.Second))
	}
	return nil
}
