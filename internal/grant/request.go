package grant

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// barredPause is how often to look whether this process may make requests.
const barredPause = 500 * time.Millisecond

// Ask begins a request for a member's source and returns the State then. It begins none before State.AskAt, while one is
// in flight, if one has ended since the member looked (seen is the State.Ended that it saw), or if the member has another
// source by now: Changed tells when to look again. The request outlives ctx.
func (r *Registry) Ask(ctx context.Context, m Member, from payu.Source, seen int) State {
	r.mu.Lock()
	defer r.mu.Unlock()
	asks := r.members[m]
	if asks == nil || asks.source.key != from.Key() {
		return State{}
	}
	s, now := asks.source, r.Now()
	if s.inFlight || s.ended != seen || r.stopped || now.Before(r.state(asks, now).AskAt) {
		return r.state(asks, now)
	}
	s.inFlight = true
	r.running.Add(1)
	go r.run(context.WithoutCancel(ctx), s, from)
	return r.state(asks, now)
}

func (r *Registry) run(ctx context.Context, s *source, from payu.Source) {
	defer r.running.Done()
	slot := r.slot(from.Environment)
	slot <- struct{}{}
	for !r.MayAsk() && !r.isStopped() {
		time.Sleep(barredPause) //nolint:forbidigo // there is nothing to wait for: nobody tells when a Lease is renewed
	}
	if waiting, ok := r.send(s); !ok { // it was still queued, and is dropped
		<-slot
		r.tell(waiting)
		return
	}
	ctx, done := r.whileLeading(ctx)
	began := r.Now()
	token, err := r.Request(ctx, from)
	done()
	<-slot
	reused, failure, members := r.finish(s, token, asError(err))
	r.Measure(from.Environment, r.Now().Sub(began), reused, failure)
	r.Changed(members)
}

// lastPatience is how long a request may go on while it is not sure that this process leads: another may lead a second later.
const lastPatience = 4 * time.Second

// whileLeading returns a context that ends before another process can lead. done ends the watching.
func (r *Registry) whileLeading(ctx context.Context) (_ context.Context, done context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for unsure := time.Duration(0); ; unsure += barredPause {
			if r.MayAsk() {
				unsure = 0
			}
			if unsure >= lastPatience {
				cancel()
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(barredPause): //nolint:forbidigo // there is nothing to wait for: nobody tells when a Lease is renewed
			}
		}
	}()
	return ctx, cancel
}

// send notes that a request is being sent, and reports whether it may be. If the client was told to wait meanwhile, it returns whom
// to tell.
func (r *Registry) send(s *source) (waiting []Member, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now()
	_, held := r.held(s, now)
	switch {
	case r.stopped:
		s.inFlight = false
		return nil, false
	case held:
		s.inFlight = false
		return slices.Collect(maps.Keys(s.members)), false
	}
	s.begun++
	s.lastAsked = now
	return nil, true
}

func asError(err error) *payu.Error {
	var e *payu.Error
	if err != nil && !errors.As(err, &e) {
		return &payu.Error{Reason: payu.Unreachable, Detail: "the request could not be made"}
	}
	return e
}

// slot bounds the requests that run at once in one environment, so that a herd of PayUTokens is no herd of connections,
// and a PayU that hangs in one environment does not keep the other waiting.
func (r *Registry) slot(environment string) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots == nil {
		r.slots = map[string]chan struct{}{}
	}
	if r.slots[environment] == nil {
		r.slots[environment] = make(chan struct{}, payu.MaxInFlight)
	}
	return r.slots[environment]
}

// finish notes the outcome of a request, and returns whom to tell.
func (r *Registry) finish(s *source, token payu.Token, err *payu.Error) (reused bool, _ *payu.Error, _ []Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Now()
	token = completed(s.token, token, s.life.endsAfter, now)
	token.EndsAfter = token.EndsAfter.Round(0) // a token's life passes while the machine sleeps, too
	s.ended++
	s.life.probing = s.life.probing && !s.lastAsked.Before(s.nextAttempt) // else somebody's wish was earlier
	s.inFlight, s.reused, s.lastAsked, s.nextAttempt = false, false, now, time.Time{}
	if len(s.members) == 0 {
		r.orphans = append(r.orphans, s.key.Source)
	}
	members := slices.Collect(maps.Keys(s.members))
	known := isReuse(s.token, token, now)
	if err != nil && !known {
		r.fail(s, err, now)
		return false, err, members
	}
	s.err, s.failures, s.formerly = nil, 0, 0
	s.unstated.note(s.token, token, now)
	if known {
		if s.token.LifeUnstated && !token.LifeUnstated {
			s.token.LifeUnstated, s.token.ExpiresAt = false, token.ExpiresAt
		}
		s.reused, s.nextAttempt = true, s.life.next(s.token, token, now.Round(0))
		return true, nil, members
	}
	if token.AccessToken != s.token.AccessToken {
		s.life = life{}
	}
	s.token, s.life.endsAfter, s.life.probing = token, token.EndsAfter, false
	s.life.requests++
	return false, nil, members
}

func (r *Registry) fail(s *source, err *payu.Error, now time.Time) {
	s.err, s.life.probing = err, false
	s.failures, s.formerly = max(s.failures, s.formerly)+1, 0
	s.nextAttempt = now.Add(err.BackOff(s.failures, r.Random()))
	if err.Reason == payu.RateLimited || err.RetryAfter > 0 {
		s.life.limited = true
		r.hold(s.key, s.nextAttempt, err, now)
	}
}

// hold has the client wait, as long as another response said if that is longer, and forgets waits that are over.
func (r *Registry) hold(key payu.Key, until time.Time, err *payu.Error, now time.Time) {
	if r.holds == nil {
		r.holds = map[payu.Digest]hold{}
	}
	maps.DeleteFunc(r.holds, func(_ payu.Digest, h hold) bool { return !now.Before(h.until) || steppedBack(now, h.until) })
	if until.After(r.holds[key.Client].until) {
		r.holds[key.Client] = hold{until: until, err: err}
	}
}

// Drain waits until ctx ends, lets no request begin from then on, and returns when the last has ended: a token
// that PayU gave while the operator stops is still handed on.
func (r *Registry) Drain(ctx context.Context) error {
	<-ctx.Done()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.Wait()
	return nil
}

func (r *Registry) isStopped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped
}

// Wait returns once no request is in flight and Changed has returned for the last one.
func (r *Registry) Wait() { r.running.Wait() }
