package grant_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// machine is a Registry on a machine with two clocks, as time.Now reads both: somebody may set the wall clock, and the
// monotonic one stands still while the machine sleeps.
type machine struct {
	*grant.Registry
	began  time.Time
	mu     sync.Mutex
	wallBy time.Duration // what the wall clock was set by, or how long the machine slept
	sent   atomic.Int32
	answer func(now time.Time) (payu.Token, error)
}

func newMachine(answer func(now time.Time) (payu.Token, error)) *machine {
	m := &machine{answer: answer, began: time.Now()}
	m.Registry = &grant.Registry{
		Now: m.now, Random: func() float64 { return 1 }, MayAsk: func() bool { return true },
		Changed: func([]grant.Member) {}, Measure: func(string, time.Duration, bool, *payu.Error) {},
		Request: func(context.Context, payu.Source) (payu.Token, error) {
			m.sent.Add(1)
			return m.answer(m.now())
		},
	}
	return m
}

// twoClocks is a reading of both clocks: in a bubble time.Now reads the wall clock only.
var twoClocks = time.Now()

// now reads the clocks, as time.Now does on such a machine.
func (m *machine) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := twoClocks.Add(time.Since(m.began))
	// Nothing exported makes a time.Time whose two readings do not agree. Bit 63 of the first word says that there are two, and
	// the seconds of the wall clock stand above the 30 bits of nanoseconds.
	*(*uint64)(unsafe.Pointer(&t)) += uint64(m.wallBy/time.Second) << 30
	return t
}

// setClock sets the wall clock.
func (m *machine) setClock(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wallBy += by
}

// wall is what a pass sees: Reconciler.now has no monotonic reading.
func (m *machine) wall() time.Time { return m.now().Round(0).UTC() }

// look is what a pass does: it joins, and asks if it may by the wall clock.
func (m *machine) look(name string, from payu.Source, seed grant.Seed) grant.State {
	member := grant.Member{Namespace: "shop", Name: name}
	state := m.Join(member, from.Key(), seed, grant.Wish{})
	if !state.InFlight && !m.wall().Before(state.AskAt) {
		state = m.Ask(context.Background(), member, from, state.Ended)
	}
	synctest.Wait()
	return state
}

func sourceOf(scopes ...string) payu.Source {
	return payu.Source{Environment: "Test", Credentials: payu.Credentials{ClientID: "merchant", ClientSecret: "secret"}, Scopes: scopes}
}

func tokenOf(value string, now time.Time, life time.Duration) payu.Token {
	at := now.UTC().Truncate(time.Second)
	return payu.Token{AccessToken: value, Type: "Bearer", FetchedAt: at, ExpiresAt: at.Add(life), EndsAfter: now.Add(life)}
}

func refusal(reason payu.Reason) error {
	return &payu.Error{Reason: reason, Detail: "PayU answered so"}
}

// TestAClockSetBackHoldsNoRequestUp where time.Now is the clock: a wait of minutes is one of minutes afterwards, too.
func TestAClockSetBackHoldsNoRequestUp(t *testing.T) {
	for name, answer := range map[string]func(time.Time) (payu.Token, error){
		"after a token":      func(now time.Time) (payu.Token, error) { return tokenOf("a", now, time.Hour), nil },
		"after a failure":    func(time.Time) (payu.Token, error) { return payu.Token{}, refusal(payu.ServerError) },
		"after a rate limit": func(time.Time) (payu.Token, error) { return payu.Token{}, refusal(payu.RateLimited) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(answer)
				m.look("links", sourceOf("a"), grant.Seed{})
				m.setClock(-3 * time.Hour)
				time.Sleep(10 * time.Minute)
				m.look("links", sourceOf("a"), grant.Seed{})
				if sent := m.sent.Load(); sent != 2 {
					t.Errorf("10 min after the first request, and after the clock was set back by 3 h, PayU has seen %d requests, want 2", sent)
				}
			})
		})
	}
}

// TestAClockSetForwardLeavesNoWaitUntold has a pass know when to come back, where its clock says that it may ask already.
func TestAClockSetForwardLeavesNoWaitUntold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(func(time.Time) (payu.Token, error) { return payu.Token{}, refusal(payu.ServerError) })
		m.look("links", sourceOf("a"), grant.Seed{})
		m.setClock(3 * time.Hour)
		state := m.look("links", sourceOf("a"), grant.Seed{})
		if m.sent.Load() == 1 && !state.AskAt.After(m.wall()) {
			t.Errorf("the request is not made, and the pass is told to make it since %v", m.wall().Sub(state.AskAt.Round(0)))
		}
	})
}

// TestAReusedTokenThatEndedInASleepIsReplacedAtOnce: the waits in the life of a token end with it, by the same clock.
func TestAReusedTokenThatEndedInASleepIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		value, first := "a", time.Time{}
		m := newMachine(func(now time.Time) (payu.Token, error) {
			return tokenOf(value, now, 30*24*time.Hour-now.Round(0).Sub(first.Round(0))), nil
		})
		first = m.now()
		m.look("links", sourceOf("a"), grant.Seed{})
		time.Sleep(time.Hour)
		m.look("links", sourceOf("a"), grant.Seed{}) // the same again: the next request is in 15 days
		time.Sleep(payu.Floor)
		m.setClock(31 * 24 * time.Hour)
		value, first = "b", m.now()
		m.look("links", sourceOf("a"), grant.Seed{})
		if sent := m.sent.Load(); sent != 3 {
			t.Errorf("the machine has slept through the token's end: PayU has seen %d requests, want 3", sent)
		}
	})
}

// TestARestoredWaitThatNobodySetIsNone: the clock was set back by hours while the operator was down. A PayUToken that another
// one's rate limit kept waiting counts no failure of its own.
func TestARestoredWaitThatNobodySetIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(func(now time.Time) (payu.Token, error) { return tokenOf("a", now, time.Hour), nil })
		limit := &payu.Error{Reason: payu.RateLimited, Detail: "PayU answered so", Restored: true}
		m.look("links", sourceOf("a"), grant.Seed{Err: limit, NextAttempt: m.wall().Add(5 * time.Hour)})
		if sent := m.sent.Load(); sent != 1 {
			t.Errorf("no wait is longer than 1 h, and PayU has seen %d requests, want 1", sent)
		}
	})
}

// TestARateLimitHoldsWhatWaitsForItsTurn: a request that has not been sent yet is not sent to a PayU that has told its client
// to wait meanwhile.
func TestARateLimitHoldsWhatWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limited := make(chan struct{})
		m := newMachine(func(time.Time) (payu.Token, error) {
			<-limited
			return payu.Token{}, refusal(payu.RateLimited)
		})
		var told atomic.Int32
		m.Changed = func(members []grant.Member) { told.Add(int32(len(members))) }
		const sources = payu.MaxInFlight + 36
		for i := range sources {
			m.look(fmt.Sprint("t", i), sourceOf(fmt.Sprint("s", i)), grant.Seed{})
		}
		close(limited)
		m.Wait()
		if sent := m.sent.Load(); sent != payu.MaxInFlight {
			t.Errorf("PayU has seen %d requests of the client, want the %d that it had when it said to wait", sent, payu.MaxInFlight)
		}
		if told := told.Load(); told != sources {
			t.Errorf("%d PayUTokens are reconciled, want all %d", told, sources)
		}
		state := m.look("t99", sourceOf("s99"), grant.Seed{})
		if state.InFlight || !state.AskAt.After(m.wall()) {
			t.Errorf("one that waited is in flight (%t), and asks at %v", state.InFlight, state.AskAt)
		}
	})
}

// TestTheLifeThatPayUStatesIsTheRightOne where the clock was set within a token's life: the same token comes with another end.
func TestTheLifeThatPayUStatesIsTheRightOne(t *testing.T) {
	for _, by := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := time.Hour
				m := newMachine(func(now time.Time) (payu.Token, error) { return tokenOf("a", now, left), nil })
				m.look("links", sourceOf("a"), grant.Seed{})
				time.Sleep(40 * time.Minute)
				m.setClock(by)
				left = 20 * time.Minute
				m.look("links", sourceOf("a"), grant.Seed{})
				state := m.look("links", sourceOf("a"), grant.Seed{})
				if ends := state.Token.ExpiresAt.Sub(m.wall()); ends < 19*time.Minute || ends > 21*time.Minute {
					t.Errorf("PayU says that the token lives for 20 min more, the operator %v", ends)
				}
			})
		})
	}
}

// TestARateLimitOfALifeOutlivesTheProcess: after a 429 in a token's life there are no quick requests at its end.
func TestARateLimitOfALifeOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began, last time.Time
		least := time.Hour
		m := newMachine(func(now time.Time) (payu.Token, error) {
			if !last.IsZero() {
				least = min(least, now.Sub(last))
			}
			last = now
			return tokenOf("a", now, max(0, time.Minute-now.Sub(began))), nil
		})
		began = m.now()
		limit := &payu.Error{Reason: payu.RateLimited, Detail: "PayU answered so", Restored: true}
		seed := grant.Seed{Token: tokenOf("a", began, time.Minute), Err: limit, Failures: 1, NextAttempt: m.wall().Add(40 * time.Second)}
		for range 700 {
			m.look("links", sourceOf("a"), seed)
			seed.Err, seed.NextAttempt = nil, time.Time{}
			time.Sleep(100 * time.Millisecond)
		}
		if least < payu.Floor {
			t.Errorf("PayU was asked again after %v", least)
		}
	})
}

// TestACrashLoopDoesNotForgetTheBackOff though each process lives for less than a wait: the next failure is the seventh.
func TestACrashLoopDoesNotForgetTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(func(time.Time) (payu.Token, error) { return payu.Token{}, refusal(payu.ServerError) })
		err := &payu.Error{Reason: payu.ServerError, Detail: "PayU answered so", Restored: true}
		seed := grant.Seed{Err: err, Failures: 6, NextAttempt: m.wall().Add(-time.Second)}
		m.look("links", sourceOf("a"), seed)
		state := m.look("links", sourceOf("a"), grant.Seed{})
		if wait := state.AskAt.Sub(m.wall()); state.Failures != 7 || wait < 4*time.Minute {
			t.Errorf("after failure %d the wait is %v, want about 5 min after the seventh", state.Failures, wait)
		}
	})
}
