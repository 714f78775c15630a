package payutest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// fault is a Fault in force.
type fault struct {
	Fault
	left    int // requests still to meet it, if Times is set
	held    int // requests that are meeting it now
	cleared chan struct{}
}

func (f *fault) usedUp() bool { return f.Times > 0 && f.left == 0 }

// wait holds a request back: for the latency, then as long as the fault hangs. It returns early, with an error, when the
// client goes away.
func (f *fault) wait(ctx context.Context, latency time.Duration) error {
	if latency += f.Latency; latency > 0 {
		timer := time.NewTimer(latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if !f.Hang {
		return nil
	}
	select {
	case <-f.cleared:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// faults are those in force, in the order in which they were injected. Server.mu guards them.
type faults []*fault

// take returns the fault that a request of that client meets: the first of the client's own, else the first of everyone's,
// else one that changes nothing.
func (fs *faults) take(clientID string) *fault {
	for _, id := range []string{clientID, ""} {
		for _, f := range *fs {
			if f.ClientID == id && !f.usedUp() {
				f.left--
				f.held++
				return f
			}
		}
	}
	return &fault{}
}

// release ends what take began, and drops a fault that was used up.
func (fs *faults) release(f *fault) {
	f.held--
	if f.usedUp() && f.held == 0 {
		*fs = slices.DeleteFunc(*fs, func(g *fault) bool { return g == f })
	}
}

// clear ends the faults that match, also for the requests they hold back.
func (fs *faults) clear(match func(Fault) bool) {
	*fs = slices.DeleteFunc(*fs, func(f *fault) bool {
		if !match(f.Fault) {
			return false
		}
		close(f.cleared)
		return true
	})
}

// Inject adds a fault after the active ones. It panics if the fault is not valid: a test that asks for
// an impossible fault is itself wrong.
func (s *Server) Inject(f Fault) {
	if err := f.Validate(); err != nil {
		panic(errors.Join(errors.New("payutest: Inject"), err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault{Fault: f, left: f.Times, cleared: make(chan struct{})})
}

// ClearFaults removes every fault. Requests that hang are answered.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.clear(func(Fault) bool { return true })
}

// ClearFault removes the faults of one client; with an empty ID, those of every client.
func (s *Server) ClearFault(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.clear(func(f Fault) bool { return f.ClientID == clientID })
}

// Faults returns the faults in force; Times is how many requests are still to meet one, if that is limited.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	inForce := []Fault{}
	for _, f := range s.faults {
		if f.usedUp() {
			continue
		}
		left := f.Fault
		if f.Times > 0 {
			left.Times = f.left
		}
		inForce = append(inForce, left)
	}
	return inForce
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
