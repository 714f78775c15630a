package payu

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// maxInFlight bounds the requests that run at once in one environment, so that a herd of PayUTokens is no herd
// of connections, and a PayU that hangs in one environment does not keep the other waiting.
const maxInFlight = 64

// barredPause is how often to look whether this process may make requests.
const barredPause = 500 * time.Millisecond

// Tokens holds the one token that all with the same Source share, and sees to it that one request at a time is
// made for it. It never waits: Ask begins a request, and Changed tells when it has ended.
type Tokens struct {
	// Request makes one token request. Its errors are of type *Error.
	Request func(context.Context, Source) (Token, error)
	// Now is the clock.
	Now func() time.Time
	// Random draws from [0, 1) for the jitter of the back-off.
	Random func() float64
	// MayAsk reports whether this process may make requests: not while another one may be the leader. Requests wait
	// until it may.
	MayAsk func() bool
	// Changed is called after each request with the Key.Source that it was for.
	Changed func(source Digest)
	// Observe is called after each request, for metrics.
	Observe func(environment string, took time.Duration, reused bool, err *Error)

	mu      sync.Mutex
	states  map[Digest]*Progress // by Key.Source
	holds   map[Digest]hold      // by Key.Client
	slots   map[string]chan struct{}
	stopped bool
	running sync.WaitGroup
}

// Progress is what is known of the requests for one source.
type Progress struct {
	// Attempts counts the requests that have ended; Ask takes it back.
	Attempts int
	// InFlight is true while a request runs.
	InFlight bool
	// Token is the last token that PayU gave, by now expired perhaps.
	Token Token
	// Reused says that the last request gave the token that was there already.
	Reused bool
	// Err is why the last request failed; nil if it worked.
	Err *Error
	// Failures counts the requests that failed since the last that worked.
	Failures int
	// NextAttempt is the moment before which PayU is not asked again; zero if it may be at any time.
	NextAttempt time.Time
	// HeldUntil is the moment until which PayU asked this client to wait, whatever the source, and HeldFor the
	// answer that said so; zero if there is none.
	HeldUntil time.Time
	HeldFor   *Error

	forgotten bool
}

type hold struct {
	until time.Time
	err   *Error
}

// Look returns what is known of a source.
func (t *Tokens) Look(key Key) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.look(key)
}

func (t *Tokens) look(key Key) Progress {
	var p Progress
	if state, ok := t.states[key.Source]; ok {
		state.forgotten = false
		p = *state
	}
	now := t.Now()
	if p.Failures > 0 && steppedBack(now, p.NextAttempt) {
		p.NextAttempt = time.Time{}
	}
	h, ok := t.holds[key.Client]
	switch {
	case !ok:
	case !now.Before(h.until) || steppedBack(now, h.until):
		delete(t.holds, key.Client)
	default:
		p.HeldUntil, p.HeldFor = h.until, h.err
	}
	return p
}

// steppedBack reports whether a wait has become longer than any that is ever set: the clock was set back since.
func steppedBack(now, until time.Time) bool { return until.Sub(now) > LongestBackOff }

// Restore makes known what a former process noted of a source, unless this one knows more. heldFor is the answer
// that made the whole client wait, nil if none did.
func (t *Tokens) Restore(key Key, failures int, nextAttempt time.Time, heldFor *Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.state(key.Source)
	if s.Attempts > 0 || s.InFlight || !s.NextAttempt.Before(nextAttempt) {
		return
	}
	s.Failures, s.NextAttempt = failures, nextAttempt
	if heldFor != nil {
		t.hold(nextAttempt, heldFor, key)
	}
}

// Forget drops a source that nobody asks for any more; one with a request in flight when that has ended, unless
// somebody has looked at it again.
func (t *Tokens) Forget(source Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.states[source]
	switch {
	case ok && s.InFlight:
		s.forgotten = true
	case ok:
		delete(t.states, source)
	}
}

// Ask begins a request for a new token and returns what is known then. It begins none if one is in flight, if one
// has ended since the caller looked (seen is the Attempts that it saw), or while PayU asks this client to wait:
// the caller looks again when Changed is called. held is the token that the caller has from an earlier process,
// so that it is known again when PayU reuses it; the request outlives ctx.
func (t *Tokens) Ask(ctx context.Context, source Source, seen int, held Token) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := source.Key()
	p := t.look(key)
	if p.InFlight || p.Attempts != seen || !p.HeldUntil.IsZero() || t.stopped {
		return p
	}
	t.state(key.Source).InFlight = true
	t.running.Add(1)
	go t.run(context.WithoutCancel(ctx), source, key, held)
	return t.look(key)
}

func (t *Tokens) state(source Digest) *Progress {
	if t.states == nil {
		t.states = map[Digest]*Progress{}
	}
	if t.states[source] == nil {
		t.states[source] = &Progress{}
	}
	return t.states[source]
}

func (t *Tokens) run(ctx context.Context, source Source, key Key, held Token) {
	defer t.running.Done()
	slot := t.slot(source.Environment)
	slot <- struct{}{}
	for !t.MayAsk() && !t.isStopped() {
		time.Sleep(barredPause) //nolint:forbidigo // there is nothing to wait for: nobody tells when a Lease is renewed
	}
	if t.isStopped() { // what waited for its turn has not begun, and no longer does
		<-slot
		return
	}
	began := t.Now()
	token, err := t.Request(ctx, source)
	<-slot
	reused, failure := t.finish(key, token, asError(err), held)
	t.Observe(source.Environment, t.Now().Sub(began), reused, failure)
	t.Changed(key.Source)
}

func asError(err error) *Error {
	var e *Error
	if err != nil && !errors.As(err, &e) {
		return &Error{Reason: Unreachable, Detail: "the request could not be made"}
	}
	return e
}

func (t *Tokens) slot(environment string) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slots == nil {
		t.slots = map[string]chan struct{}{}
	}
	if t.slots[environment] == nil {
		t.slots[environment] = make(chan struct{}, maxInFlight)
	}
	return t.slots[environment]
}

// finish notes the outcome of a request.
func (t *Tokens) finish(key Key, token Token, err *Error, held Token) (reused bool, _ *Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.state(key.Source)
	if s.forgotten {
		defer delete(t.states, key.Source)
	}
	s.Attempts++
	s.InFlight, s.Reused, s.Err, s.NextAttempt = false, false, err, time.Time{}
	if err != nil {
		t.fail(s, key)
		return false, err
	}
	s.Failures = 0
	for _, known := range []Token{s.Token, held} {
		if isReuse(known, token, t.Now()) {
			s.Token, s.Reused = known, true
			s.NextAttempt = nextAfterReuse(known.Life(), token.ExpiresAt, t.Now())
			return true, nil
		}
	}
	s.Token = token
	return false, nil
}

// isReuse reports whether PayU gave a known token back. The same token with another life than the known one (the
// local clock was set since) is no reuse: the life that PayU states now is the right one.
func isReuse(known, given Token, now time.Time) bool {
	inForce := known.ValidAt(now) && !known.FetchedAt.After(now)
	dying := given.ExpiresAt.Sub(now) <= reuseFloor
	return known.AccessToken == given.AccessToken && (inForce || dying)
}

func (t *Tokens) fail(s *Progress, key Key) {
	s.Failures++
	wait := s.Err.BackOff(s.Failures, t.Random())
	s.NextAttempt = t.Now().Add(wait)
	if s.Err.Reason == RateLimited || s.Err.RetryAfter > 0 {
		t.hold(s.NextAttempt, s.Err, key)
	}
}

// hold has the client wait, as long as another answer said if that is longer, and forgets waits that are over.
func (t *Tokens) hold(until time.Time, err *Error, key Key) {
	if t.holds == nil {
		t.holds = map[Digest]hold{}
	}
	if until.After(t.look(key).HeldUntil) {
		t.holds[key.Client] = hold{until: until, err: err}
	}
	maps.DeleteFunc(t.holds, func(_ Digest, h hold) bool { return !t.Now().Before(h.until) })
}

// Drain waits until ctx ends, lets no request begin from then on, and returns when the last has ended: a token
// that PayU gave while the operator stops is still handed on.
func (t *Tokens) Drain(ctx context.Context) error {
	<-ctx.Done()
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.Wait()
	return nil
}

func (t *Tokens) isStopped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopped
}

// Wait returns once no request is in flight and Changed has returned for the last one.
func (t *Tokens) Wait() { t.running.Wait() }
