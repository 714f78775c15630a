package grant

import (
	"maps"
	"slices"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// State is what is known of a source, for one member.
type State struct {
	// Token is the latest token, zero if there is none. It may have expired.
	Token payu.Token
	// Reused says that the last request gave the token that was there already.
	Reused bool
	// Err is why the last request failed; nil if it did not.
	Err *payu.Error
	// Failures counts the requests that failed since the last that worked.
	Failures int
	// NextAttempt is the moment before which PayU is not asked again without a wish; zero if it may be at any time.
	NextAttempt time.Time
	// HeldUntil is until when PayU asked this client to wait, and HeldFor the response that said so; zero if it did not.
	HeldUntil time.Time
	HeldFor   *payu.Error
	// AskAt is the earliest moment at which this member may have PayU asked; zero if it may now.
	AskAt time.Time
	// InFlight is true from Ask until the request has ended.
	InFlight bool
	// Starting is true while a new process waits to see what all PayUTokens hold.
	Starting bool
	// Ended counts the requests that have ended: pass it back to Ask.
	Ended int
	// Unstated counts the answers in a row that gave a token of which nothing is known how long it lives. UnstatedNext is when PayU is
	// asked again by members for which such a token has no life: not while another member uses it.
	Unstated     int
	UnstatedNext time.Time
	// Since is when a token without a life was given first; zero if PayU states lives.
	Since time.Time
	// Wished is true while a refresh that this member's user wished for waits for its request to end.
	Wished bool
}

// state returns the State for a member.
func (r *Registry) state(m *member, now time.Time) State {
	s := m.source
	state := State{
		Token: s.token, Reused: s.reused, Err: s.err, Failures: s.failures, NextAttempt: onWall(s.nextAttempt, now),
		InFlight: s.inFlight, Starting: r.starting(now), Ended: s.ended, Wished: m.wish.pending(s),
	}
	if s.token.HasNoLife() || s.unstated.answers > 0 {
		state.Unstated, state.UnstatedNext, state.Since = s.unstated.answers, s.unstatedNext(m, now), s.unstated.since
	}
	if s.clockSetBack(now) {
		state.NextAttempt = time.Time{}
	}
	if h, ok := r.held(s, now); ok {
		state.HeldUntil, state.HeldFor = onWall(h.until, now), h.err
	}
	waits := []time.Time{onWall(s.floor(now), now), state.HeldUntil}
	if !state.Wished {
		waits = append(waits, state.NextAttempt)
	}
	if state.Starting {
		waits = append(waits, onWall(r.start.until, now))
	}
	state.AskAt = slices.MaxFunc(waits, time.Time.Compare)
	return state
}

// unstatedNext returns when a member for which the token has no life may have PayU asked.
func (s *source) unstatedNext(m *member, now time.Time) time.Time {
	next := onWall(s.unstated.next, now)
	if steppedBack(now, next) {
		next = time.Time{}
	}
	for _, other := range s.members {
		if other != m && other.usableUntil.After(next) {
			next = other.usableUntil
		}
	}
	return next
}

// held returns the wait of the source's client, and whether it lasts.
func (r *Registry) held(s *source, now time.Time) (hold, bool) {
	h, ok := r.holds[s.key.Client]
	return h, ok && now.Before(h.until) && !steppedBack(now, h.until)
}

// onWall returns a moment as the wall clock tells it now. Members look at that one, which may have been set since the wait
// for the moment began.
func onWall(at, now time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return now.Round(0).Add(at.Sub(now))
}

// floor returns the moment before which PayU is asked nothing for the source.
func (s *source) floor(now time.Time) time.Time {
	if s.lastAsked.IsZero() || now.Before(s.lastAsked) { // the clock was set back: it tells nothing
		return time.Time{}
	}
	floor := s.lastAsked.Add(payu.Floor)
	if s.life.probing && s.nextAttempt.Before(floor) {
		return s.nextAttempt
	}
	return floor
}

// clockSetBack reports whether the wait was reckoned by a clock that was set back since.
func (s *source) clockSetBack(now time.Time) bool {
	return s.token.FromTheFuture(now) || !s.reused && steppedBack(now, s.nextAttempt)
}

// steppedBack reports whether a wait has become longer than any that is ever set.
func steppedBack(now, until time.Time) bool { return until.Sub(now) > payu.LongestBackOff }

// others returns all members of the source but one.
func (s *source) others(m Member) []Member {
	return slices.DeleteFunc(slices.Collect(maps.Keys(s.members)), func(other Member) bool { return other == m })
}
