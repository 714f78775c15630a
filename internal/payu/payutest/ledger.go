package payutest

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Request is a request to the token endpoint that has been handled.
type Request struct {
	ClientID   string    `json:"client_id"`
	Scope      string    `json:"scope"` // as a ScopeSet
	ReceivedAt time.Time `json:"received_at"`
	// Outcome is OutcomeSuccess, OutcomeReused, OutcomeAbandoned, the OAuth error code that was answered, or what a fault
	// did: "http_" and the status, or the Break. A success that a fault altered counts as one: the token was made.
	Outcome string `json:"outcome"`
	Status  int    `json:"status"` // 0 if abandoned
}

// Counters say how many requests there were. Client IDs are those that requests gave, known or not.
type Counters struct {
	// Requests to the token endpoint by client ID and Request.Outcome.
	Requests map[string]map[string]int `json:"requests"`
	// Resource requests by the client ID that the token was issued to ("" for a token never issued) and HTTP status.
	Resource map[string]map[int]int `json:"resource"`
	// InFlight is the number of token requests that are being handled now.
	InFlight int `json:"in_flight"`
	// MaxInFlight is how many of them there were at most, by client ID and ScopeSet. One whose client went away counts
	// until the server notices.
	MaxInFlight map[string]map[string]int `json:"max_in_flight"`
}

// Total returns the number of handled token requests of all clients.
func (c Counters) Total() int {
	total := 0
	for _, outcomes := range c.Requests {
		for _, n := range outcomes {
			total += n
		}
	}
	return total
}

// ledger writes down what happened. Server.mu guards it.
type ledger struct {
	keep     int // requests to remember; 0 is all
	requests []Request
	counters Counters
	inFlight map[grant]int
}

func newLedger(keep int) ledger {
	l := ledger{keep: keep, inFlight: map[grant]int{}}
	l.reset()
	return l
}

// reset starts from nothing, except for the requests that are being handled.
func (l *ledger) reset() {
	l.requests = nil
	l.counters = Counters{
		Requests: map[string]map[string]int{}, Resource: map[string]map[int]int{},
		InFlight: l.counters.InFlight, MaxInFlight: map[string]map[string]int{},
	}
}

func (l *ledger) arrived(g grant) {
	l.counters.InFlight++
	l.inFlight[g]++
	n := max(count(l.counters.MaxInFlight, g.clientID)[g.scopes], l.inFlight[g])
	l.counters.MaxInFlight[g.clientID][g.scopes] = n
}

func (l *ledger) handled(r Request) {
	g := grant{r.ClientID, r.Scope}
	l.counters.InFlight--
	if l.inFlight[g]--; l.inFlight[g] == 0 {
		delete(l.inFlight, g)
	}
	count(l.counters.Requests, r.ClientID)[r.Outcome]++
	l.requests = append(l.requests, r)
	if l.keep > 0 && len(l.requests) >= 2*l.keep {
		l.requests = slices.Clone(l.requests[len(l.requests)-l.keep:])
	}
}

func (l *ledger) visited(clientID string, status int) {
	count(l.counters.Resource, clientID)[status]++
}

// count returns the inner map of a client, and makes it if need be.
func count[K comparable](outer map[string]map[K]int, clientID string) map[K]int {
	if outer[clientID] == nil {
		outer[clientID] = map[K]int{}
	}
	return outer[clientID]
}

func cloneCounts[K comparable](outer map[string]map[K]int) map[string]map[K]int {
	c := make(map[string]map[K]int, len(outer))
	for clientID, inner := range outer {
		c[clientID] = maps.Clone(inner)
	}
	return c
}

// Requests returns the handled token requests in the order in which they were answered (with Config.Keep, the last ones).
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request{}, s.ledger.requests...)
}

// Counters returns the counters. A request is counted before its answer is sent, so a client that has the answer finds
// it counted, and no longer in flight.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.countersLocked()
}

func (s *Server) countersLocked() Counters {
	c := s.ledger.counters
	c.Requests, c.Resource = cloneCounts(c.Requests), cloneCounts(c.Resource)
	c.MaxInFlight = cloneCounts(c.MaxInFlight)
	return c
}

// Await returns nil as soon as done is true of the counters, or the reason why ctx ended before. It is how a test waits
// for a request to arrive, or to hang, without sleeping. The function must not call the Server.
func (s *Server) Await(ctx context.Context, done func(Counters) bool) error {
	for {
		wake, ok := s.check(done)
		if ok {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// check looks once, and returns a channel that is closed when it is time to look again.
func (s *Server) check(done func(Counters) bool) (<-chan struct{}, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done(s.countersLocked()) {
		return nil, true
	}
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake, false
}

// changed wakes those who await a change of the counters. The caller holds the lock.
func (s *Server) changed() {
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}
