package grant

import (
	"time"
)

// start is what a new process waits for before it has PayU asked.
type start struct {
	expected map[Member]bool // who has not been observed yet
	waiting  []Member        // who would have PayU asked
	until    time.Time
}

// Begin has nothing asked until each of the expected members was observed once, or startPatience has passed.
func (r *Registry) Begin(expected []Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.start = start{expected: make(map[Member]bool, len(expected)), until: r.Now().Add(startPatience)}
	for _, m := range expected {
		r.start.expected[m] = true
	}
}

// Observed notes that a PayUToken cannot join a source for now: nobody waits for it.
func (r *Registry) Observed(m Member) {
	r.mu.Lock()
	waiting := r.observed(m)
	r.mu.Unlock()
	r.tell(waiting)
}

// observed returns those that have waited for the PayUToken, if it was the last one.
func (r *Registry) observed(m Member) (waiting []Member) {
	delete(r.start.expected, m)
	if len(r.start.expected) == 0 {
		waiting, r.start.waiting = r.start.waiting, nil
	}
	return waiting
}

// AwaitStart has a member reconciled as soon as requests may be made: at once, if the last of those that were expected
// has been observed since the member joined.
func (r *Registry) AwaitStart(m Member) {
	r.mu.Lock()
	starting := r.starting(r.Now())
	if starting {
		r.start.waiting = append(r.start.waiting, m)
	}
	r.mu.Unlock()
	if !starting {
		r.Changed([]Member{m})
	}
}

func (r *Registry) tell(members []Member) {
	if len(members) > 0 {
		r.Changed(members)
	}
}

func (r *Registry) starting(now time.Time) bool {
	left := r.start.until.Sub(now) // more than ever was: the clock was set back
	return len(r.start.expected) > 0 && left > 0 && left <= startPatience
}
