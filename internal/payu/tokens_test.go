package payu_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// bench is a Tokens whose requests the test answers, in a bubble: once settled, all that could happen has happened.
type bench struct {
	*payu.Tokens
	*clock
	t      *testing.T
	random float64
	barred atomic.Bool

	mu       sync.Mutex
	calls    []*call // begun, in order
	changed  []payu.Digest
	observed []observation
}

// call is a request that has begun.
type call struct {
	ctx    context.Context
	source payu.Source
	answer chan func() (payu.Token, error)
}

type observation struct {
	environment string
	took        time.Duration
	reused      bool
	err         *payu.Error
}

// story runs a test in a bubble.
func story(t *testing.T, tell func(*testing.T, *bench)) {
	synctest.Test(t, func(t *testing.T) { tell(t, newBench(t)) })
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, clock: newClock(), random: 0.5}
	b.Tokens = &payu.Tokens{
		Now:     b.clock.Now,
		Random:  func() float64 { return b.random },
		MayAsk:  func() bool { return !b.barred.Load() },
		Request: b.request,
		Changed: func(source payu.Digest) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.changed = append(b.changed, source)
		},
		Observe: func(environment string, took time.Duration, reused bool, err *payu.Error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.observed = append(b.observed, observation{environment, took, reused, err})
		},
	}
	return b
}

// Now is the clock's, not the field of Tokens.
func (b *bench) Now() time.Time { return b.clock.Now() }

func (b *bench) request(ctx context.Context, source payu.Source) (payu.Token, error) {
	c := &call{ctx: ctx, source: source, answer: make(chan func() (payu.Token, error))}
	b.mu.Lock()
	b.calls = append(b.calls, c)
	b.mu.Unlock()
	return (<-c.answer)()
}

// begun settles and returns how many requests have begun so far.
func (b *bench) begun() int {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls)
}

// ask asks as a PayUToken would that has just looked.
func (b *bench) ask(source payu.Source) payu.Progress {
	return b.Ask(b.t.Context(), source, b.Look(source.Key()).Attempts, payu.Token{})
}

// reply answers the latest request of the source, and settles.
func (b *bench) reply(source payu.Source, token payu.Token, err error) {
	b.t.Helper()
	b.begun()
	for _, c := range slices.Backward(b.calls) {
		if c.source.Key() == source.Key() {
			c.answer <- func() (payu.Token, error) { return token, err }
			synctest.Wait()
			return
		}
	}
	b.t.Fatal("no request has begun")
}

// exchange asks and answers: a whole request.
func (b *bench) exchange(source payu.Source, token payu.Token, err error) payu.Progress {
	b.t.Helper()
	n := b.begun()
	if b.ask(source); b.begun() != n+1 {
		b.t.Fatal("the request did not begin")
	}
	b.reply(source, token, err)
	return b.Look(source.Key())
}

// fresh returns a token as PayU would give it now.
func (b *bench) fresh(value string, life time.Duration) payu.Token {
	at := b.Now().UTC().Truncate(time.Second)
	return payu.Token{AccessToken: value, Type: "Bearer", Scope: "a", FetchedAt: at, ExpiresAt: at.Add(life)}
}

func source(id string, scopes ...string) payu.Source {
	return payu.Source{Environment: "Test", Credentials: payu.Credentials{ClientID: id, ClientSecret: "secret of " + id}, Scopes: scopes}
}

func failed(reason payu.Reason, after time.Duration) *payu.Error {
	return &payu.Error{Reason: reason, Detail: "it failed", RetryAfter: after}
}

func (b *bench) check(what string, got, want payu.Progress) {
	b.t.Helper()
	if !reflect.DeepEqual(got, want) {
		b.t.Errorf("%s:\ngot  %+v of %q\nwant %+v of %q", what, got, got.Token.AccessToken, want, want.Token.AccessToken)
	}
}

// TestOneRequestServesAllAskers is traps 4 and 28.
func TestOneRequestServesAllAskers(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop := source("shop", "a", "b")
		var askers sync.WaitGroup
		for n := range 100 {
			asker := shop
			if n%2 == 1 {
				asker.Scopes = []string{"b", "a", "b"}
			}
			askers.Go(func() {
				if p := b.Ask(t.Context(), asker, 0, payu.Token{}); !p.InFlight || p.Attempts != 0 {
					t.Errorf("asker %d is told %+v, want a request in flight", n, p)
				}
			})
		}
		askers.Wait()
		if n := b.begun(); n != 1 {
			t.Fatalf("%d requests, want 1", n)
		}
		if len(b.changed) != 0 {
			t.Error("Changed was called before there was an answer")
		}

		token := b.fresh("t", time.Hour)
		b.reply(shop, token, nil)
		want := payu.Progress{Attempts: 1, Token: token}
		b.check("after the answer", b.Look(shop.Key()), want)
		if key := shop.Key().Source; !slices.Equal(b.changed, []payu.Digest{key}) {
			t.Errorf("Changed was called with %q, want once with %s", b.changed, key)
		}

		for range 100 {
			b.check("an asker that looked before the answer", b.Ask(t.Context(), shop, 0, payu.Token{}), want)
		}
		b.check("an asker that saw more than there is", b.Ask(t.Context(), shop, 2, payu.Token{}), want)
		if n := b.begun(); n != 1 {
			t.Errorf("%d requests, want no other: the answer is there", n)
		}
		b.Ask(t.Context(), shop, 1, payu.Token{})
		if n := b.begun(); n != 2 {
			t.Errorf("%d requests, want another for one who saw the answer", n)
		}
		want.InFlight = true
		b.check("while the second runs", b.Look(shop.Key()), want)
		b.reply(shop, b.fresh("u", time.Hour), nil)
	})
}

func TestDifferentSourcesHaveRequestsOfTheirOwn(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop := source("shop", "a")
		rotated, production := shop, shop
		rotated.Credentials.ClientSecret = "other"
		production.Environment = "Production"
		all := []payu.Source{shop, rotated, production, source("shop", "b"), source("shop", "a", "b"), source("other", "a")}
		for n, s := range all {
			b.ask(s)
			if got := b.begun(); got != n+1 {
				t.Errorf("%d requests after source %d, want one each", got, n+1)
			}
			if !reflect.DeepEqual(b.calls[n].source, s) {
				t.Errorf("source %d: the request is for another one", n+1)
			}
		}
		for n, s := range all {
			b.reply(s, b.fresh(fmt.Sprint("t", n), time.Hour), nil)
		}
		for n, s := range all {
			if got := b.Look(s.Key()).Token.AccessToken; got != fmt.Sprint("t", n) {
				t.Errorf("source %d has the token %q", n+1, got)
			}
		}
	})
}

type contextKey struct{}

// TestRequestOutlivesItsAsker: an answer is never thrown away, since it may have revoked the token before.
func TestRequestOutlivesItsAsker(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop := source("shop", "a")
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "trace"))
		b.Ask(ctx, shop, 0, payu.Token{})
		b.begun()
		cancel()
		if got := b.calls[0].ctx; got.Err() != nil || got.Value(contextKey{}) != "trace" {
			t.Errorf("the request's context: %v, value %v", got.Err(), got.Value(contextKey{}))
		}
		b.reply(shop, b.fresh("t", time.Hour), nil)
		if got := b.Look(shop.Key()).Token.AccessToken; got != "t" {
			t.Errorf("got %q", got)
		}
	})
}

func TestFailuresBackOff(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop := source("shop", "a")
		token := b.fresh("t", time.Hour)
		b.exchange(shop, token, nil)

		down := failed(payu.ServerError, 0)
		for n, wait := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second} {
			got := b.exchange(shop, payu.Token{}, down)
			b.check("a failure", got, payu.Progress{
				Attempts: n + 2, Token: token, Err: down, Failures: n + 1, NextAttempt: b.Now().Add(wait),
			})
			b.step(wait)
		}
		b.check("another error", b.exchange(shop, payu.Token{}, fmt.Errorf("wrapped: %w", failed(payu.InvalidClient, 0))),
			payu.Progress{Attempts: 5, Token: token, Err: failed(payu.InvalidClient, 0), Failures: 4, NextAttempt: b.Now().Add(time.Hour)})

		next := b.fresh("u", time.Hour)
		b.check("a success", b.exchange(shop, next, nil), payu.Progress{Attempts: 6, Token: next})
	})
}

func TestAnErrorOfAnotherTypeIsNotRepeated(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		got := b.exchange(source("shop", "a"), payu.Token{}, errors.New(sentinel)).Err
		want := &payu.Error{Reason: payu.Unreachable, Detail: "the request could not be made"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestObserve(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop, down := source("shop", "a"), failed(payu.ServerError, 0)
		token := b.fresh("t", time.Hour)
		for _, answer := range []struct {
			token payu.Token
			err   error
		}{{token, nil}, {token, nil}, {payu.Token{}, down}} {
			b.ask(shop)
			b.begun()
			b.step(3 * time.Second)
			b.reply(shop, answer.token, answer.err)
		}
		want := []observation{
			{"Test", 3 * time.Second, false, nil}, {"Test", 3 * time.Second, true, nil}, {"Test", 3 * time.Second, false, down},
		}
		if !reflect.DeepEqual(b.observed, want) {
			t.Errorf("got %+v\nwant %+v", b.observed, want)
		}
	})
}

// TestAWaitHoldsForTheWholeClient is trap 22.
func TestAWaitHoldsForTheWholeClient(t *testing.T) {
	tests := map[string]struct {
		reason string
		err    *payu.Error
		hold   time.Duration
	}{
		"a rate limit with retry_after":         {"the server says how long", failed(payu.RateLimited, time.Minute), time.Minute},
		"a rate limit without":                  {"the back-off says how long", failed(payu.RateLimited, 0), 500 * time.Millisecond},
		"a server error with retry_after":       {"503 may carry one", failed(payu.ServerError, 2*time.Minute), 2 * time.Minute},
		"a permanent error with retry_after":    {"so may others", failed(payu.InvalidScope, time.Second), 15 * time.Minute},
		"a server error without retry_after":    {"it may be this scope's alone", failed(payu.ServerError, 0), 0},
		"a permanent error without retry_after": {"it is this scope's alone", failed(payu.InvalidScope, 0), 0},
		"an unreachable server":                 {"nobody asked to wait", failed(payu.Unreachable, 0), 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, b *bench) { checkHold(t, b, test.err, test.hold) })
		})
	}
}

func checkHold(t *testing.T, b *bench, err *payu.Error, hold time.Duration) {
	shop, sister := source("shop", "a"), source("shop", "b")
	elsewhere, other := source("shop", "a"), source("other", "a")
	elsewhere.Environment = "Production"
	b.exchange(shop, payu.Token{}, err)

	want := payu.Progress{}
	if hold > 0 {
		want = payu.Progress{HeldUntil: b.Now().Add(hold), HeldFor: err}
	}
	for _, s := range []payu.Source{shop, sister} {
		got := b.Look(s.Key())
		if !got.HeldUntil.Equal(want.HeldUntil) || got.HeldFor != want.HeldFor {
			t.Errorf("scope %s is held until %s, want %s", s.Scopes, got.HeldUntil, want.HeldUntil)
		}
	}
	for _, s := range []payu.Source{elsewhere, other} {
		if b.ask(s); b.begun() != 2 {
			t.Error("another client is held too")
		}
		b.reply(s, b.fresh("t", time.Hour), nil)
		b.calls = b.calls[:1]
	}
	if hold == 0 {
		return
	}
	for _, wait := range []time.Duration{0, hold - 1} {
		b.step(wait)
		b.check("one who asks nevertheless", b.ask(sister), want)
		if b.begun() != 1 {
			t.Fatalf("a request began %s before the hold ended", hold-wait)
		}
	}
	b.step(1)
	if b.ask(sister); b.begun() != 2 {
		t.Error("no request began after the hold")
	}
	b.reply(sister, b.fresh("t", time.Hour), nil)
}

func TestALaterAnswerDoesNotShortenAWait(t *testing.T) {
	tests := map[string]struct {
		first, second *payu.Error
		want          time.Duration
	}{
		"the second names no time":       {failed(payu.RateLimited, time.Hour), failed(payu.RateLimited, 0), time.Hour},
		"the second names a shorter one": {failed(payu.RateLimited, time.Hour), failed(payu.ServerError, time.Second), time.Hour},
		"the second names a longer one":  {failed(payu.RateLimited, time.Minute), failed(payu.ServerError, time.Hour), time.Hour},
		"the second is a success":        {failed(payu.RateLimited, time.Minute), nil, time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, b *bench) {
				one, two := source("shop", "a"), source("shop", "b")
				b.ask(one)
				b.ask(two)
				b.reply(one, payu.Token{}, test.first)
				if test.second == nil {
					b.reply(two, b.fresh("t", time.Hour), nil)
				} else {
					b.reply(two, payu.Token{}, test.second)
				}
				if got := b.Look(source("shop", "c").Key()).HeldUntil.Sub(b.Now()); got != test.want {
					t.Errorf("held for %s, want %s", got, test.want)
				}
			})
		})
	}
}

// TestAClockSetBackEndsWaits is trap 7: no wait is ever longer than an hour.
func TestAClockSetBackEndsWaits(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		limited, broken := source("limited", "a"), source("broken", "a")
		b.exchange(limited, payu.Token{}, failed(payu.RateLimited, time.Hour))
		b.exchange(broken, payu.Token{}, failed(payu.InvalidClient, time.Hour))
		b.step(-time.Nanosecond)
		for _, s := range []payu.Source{limited, broken} {
			got := b.Look(s.Key())
			if !got.NextAttempt.IsZero() || !got.HeldUntil.IsZero() || got.HeldFor != nil {
				t.Errorf("after a step back: %+v, want no wait", got)
			}
			if got.Failures != 1 || got.Err == nil {
				t.Errorf("the failure is forgotten: %+v", got)
			}
			b.check("and asking works", b.exchange(s, b.fresh("t", time.Hour), nil),
				payu.Progress{Attempts: 2, Token: b.fresh("t", time.Hour)})
		}
	})
}

func TestAClockSetBackALittleChangesNothing(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s := source("shop", "a")
		want := b.exchange(s, payu.Token{}, failed(payu.RateLimited, time.Minute))
		b.step(-59 * time.Minute)
		b.check("after a step back", b.Look(s.Key()), want)
	})
}

// TestALongWaitAfterReuseIsNoStepBack: half of what is left of 30 days is more than an hour.
func TestALongWaitAfterReuseIsNoStepBack(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, token := source("shop", "a"), b.fresh("t", 30*24*time.Hour)
		b.exchange(s, token, nil)
		got := b.exchange(s, token, nil)
		b.check("after the reuse", got, payu.Progress{Attempts: 2, Token: token, Reused: true, NextAttempt: b.Now().Add(token.ExpiresAt.Sub(b.Now()) / 2)})
	})
}

// TestReuseIsRecognised is trap 2, and trap 1 for the clock.
func TestReuseIsRecognised(t *testing.T) {
	const m, h = time.Minute, time.Hour
	tests := map[string]struct {
		reason string
		// known is what this process got an hour ago, held what the Secret has from an earlier one, each with this life.
		known, held         string
		knownLife, heldLife time.Duration
		given               string
		left                time.Duration
		reused              bool
	}{
		"the same token as before": {
			reason: "it is the same", known: "t", knownLife: 2 * h, given: "t", left: h, reused: true},
		"the same token as the Secret has": {
			reason: "a restart forgets nothing", held: "t", heldLife: 2 * h, given: "t", left: h, reused: true},
		"the same as the Secret has, another than before": {
			reason: "a reuse is a reuse", known: "u", knownLife: 2 * h, held: "t", heldLife: 2 * h, given: "t", left: h, reused: true},
		"another token": {
			reason: "it is new", known: "t", knownLife: 2 * h, held: "u", heldLife: 2 * h, given: "v", left: h},
		"the first token": {
			reason: "it is new, whatever is left", given: "t", left: m},
		"the same token in its last seconds": {
			reason: "it is dying: never to be written", known: "t", knownLife: h, given: "t", left: 5 * time.Second, reused: true},
		"the same token, expired by our clock": {
			reason: "our clock was set forward: the life that PayU states is right", known: "t", knownLife: h, given: "t", left: h},
		"the same as the Secret has, expired by our clock": {
			reason: "likewise", held: "t", heldLife: h, given: "t", left: h},
		"the same as the Secret has, fetched tomorrow": {
			reason: "our clock was set back: the life that PayU states is right", held: "t", heldLife: -24 * h, given: "t", left: h},
		"the same token, fetched tomorrow and dying": {
			reason: "it is dying: never to be written", held: "t", heldLife: -24 * h, given: "t", left: time.Second, reused: true},
		"no token in the Secret, as a template hides it": {
			reason: "nobody can tell", held: "", heldLife: 2 * h, given: "t", left: h},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, b *bench) {
				s := source("shop", "a")
				var known, held payu.Token
				if test.known != "" {
					known = b.fresh(test.known, test.knownLife)
					b.exchange(s, known, nil)
				}
				held = b.fresh(test.held, max(test.heldLife, -test.heldLife))
				b.step(h)
				if test.heldLife < 0 {
					held.FetchedAt, held.ExpiresAt = b.Now().Add(24*h), b.Now().Add(26*h)
				}
				given := b.fresh(test.given, test.left)
				attempts := b.Look(s.Key()).Attempts
				b.Ask(t.Context(), s, attempts, held)
				b.reply(s, given, nil)

				want := payu.Progress{Attempts: attempts + 1, Token: given}
				if test.reused {
					want.Token, want.Reused = held, true
					if test.known == test.given {
						want.Token = known
					}
					want.NextAttempt = b.Now().Add(given.ExpiresAt.Sub(b.Now()) / 2)
					if test.left < 10*time.Second {
						want.NextAttempt = given.ExpiresAt.Add(2 * time.Second)
					}
				}
				b.check(test.reason, b.Look(s.Key()), want)
			})
		})
	}
}

func TestRestore(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s := source("shop", "a")
		key := s.Key()
		soon, later := b.Now().Add(time.Minute), b.Now().Add(10*time.Minute)

		b.Restore(key, 0, time.Time{}, nil)
		b.check("a status that knows nothing", b.Look(key), payu.Progress{})
		b.Restore(key, 4, soon, nil)
		b.check("a status that knows something", b.Look(key), payu.Progress{Failures: 4, NextAttempt: soon})
		b.Restore(key, 5, later, nil)
		b.check("one that knows more", b.Look(key), payu.Progress{Failures: 5, NextAttempt: later})
		b.Restore(key, 1, soon, nil)
		b.check("one that knows less", b.Look(key), payu.Progress{Failures: 5, NextAttempt: later})
		b.check("another source", b.Look(source("shop", "b").Key()), payu.Progress{})

		b.ask(s)
		b.Restore(key, 9, later.Add(time.Minute), nil)
		b.check("while a request runs", b.Look(key), payu.Progress{Failures: 5, NextAttempt: later, InFlight: true})
		b.reply(s, payu.Token{}, failed(payu.ServerError, 0))
		want := payu.Progress{Attempts: 1, Err: failed(payu.ServerError, 0), Failures: 6, NextAttempt: b.Now().Add(16 * time.Second)}
		b.check("after a failure the count goes on", b.Look(key), want)
		b.Restore(key, 9, later, nil)
		b.check("a process that has asked knows best", b.Look(key), want)
	})
}

func TestRestoredWaitEndsWhenTheClockIsSetBack(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		key := source("shop", "a").Key()
		b.Restore(key, 2, b.Now().Add(time.Hour), nil)
		if b.Look(key).NextAttempt.IsZero() {
			t.Error("an hour is a possible wait")
		}
		b.step(-time.Nanosecond)
		b.check("more than an hour is not", b.Look(key), payu.Progress{Failures: 2})
	})
}

func TestForget(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, sister := source("shop", "a"), source("shop", "b")
		b.Forget(s.Key().Source) // what it never knew
		b.exchange(s, payu.Token{}, failed(payu.RateLimited, time.Minute))
		kept := b.Look(sister.Key())
		b.Forget(s.Key().Source)
		b.check("the client's wait remains", b.Look(s.Key()), kept)
		b.check("another source remains", b.Look(sister.Key()), kept)

		b.step(time.Minute)
		b.ask(s)
		b.Forget(s.Key().Source)
		if b.ask(s); b.begun() != 2 || !b.Look(s.Key()).InFlight {
			t.Error("a request in flight was forgotten, and another begun beside it")
		}
		token := b.fresh("t", time.Hour)
		b.reply(s, token, nil)
		b.check("its answer is there for whoever asks again", b.Look(s.Key()), payu.Progress{Attempts: 1, Token: token})
	})
}

// TestDrain: a token that PayU gave while the operator stops is still handed on.
func TestDrain(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		running, late := source("running", "a"), source("late", "a")
		ctx, stop := context.WithCancel(t.Context())
		var ended bool
		go func() {
			if err := b.Drain(ctx); err != nil {
				t.Error(err)
			}
			ended = true
		}()
		b.begun()
		b.ask(running)
		if b.begun() != 1 || ended {
			t.Fatal("Drain does not wait for the end of its context")
		}
		stop()
		if b.begun(); ended {
			t.Fatal("Drain does not wait for the request in flight")
		}
		b.check("one who asks now", b.ask(late), payu.Progress{})
		if b.begun() != 1 {
			t.Error("a request began after the stop")
		}
		token := b.fresh("t", time.Hour)
		b.reply(running, token, nil)
		if !ended {
			t.Error("Drain does not end with the last request")
		}
		if !slices.Equal(b.changed, []payu.Digest{running.Key().Source}) || b.Look(running.Key()).Token != token {
			t.Errorf("the token was not handed on: changed %q", b.changed)
		}
		if b.ask(running); b.begun() != 1 {
			t.Error("a request began after the stop")
		}
	})
}

func TestDrainWithNothingInFlight(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := b.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
}

const inFlightAtMost = 64

// herd asks for so many sources.
func (b *bench) herd(environment string, n int) (sources []payu.Source) {
	for n := range n {
		s := source(fmt.Sprint("shop", n), "a")
		s.Environment = environment
		b.ask(s)
		sources = append(sources, s)
	}
	return sources
}

func TestAHerdIsNoHerdOfConnections(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		b.herd("Test", inFlightAtMost+10)
		if n := b.begun(); n != inFlightAtMost {
			t.Fatalf("%d requests at once, want %d", n, inFlightAtMost)
		}
		b.herd("Production", 3)
		if n := b.begun(); n != inFlightAtMost+3 {
			t.Errorf("%d requests, want those of another environment not to wait", n)
		}
		b.step(time.Minute) // time in the queue is no time of the request
		for n := 0; n < b.begun(); n++ {
			b.calls[n].answer <- func() (payu.Token, error) { return b.fresh("t", time.Hour), nil }
		}
		if n := b.begun(); n != inFlightAtMost+13 || len(b.changed) != n {
			t.Errorf("%d requests and %d answers, want %d", n, len(b.changed), inFlightAtMost+13)
		}
		for n, o := range b.observed {
			if waited := n >= inFlightAtMost+3; o.took != time.Minute && !waited || o.took != 0 && waited {
				t.Errorf("request %d took %s", n, o.took)
			}
		}
	})
}

// TestDrainLetsTheQueueGo: what waits for its turn has not begun, and never will.
func TestDrainLetsTheQueueGo(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		sources := b.herd("Test", inFlightAtMost+10)
		b.begun()
		ctx, stop := context.WithCancel(t.Context())
		drained := make(chan error, 1)
		go func() { drained <- b.Drain(ctx) }()
		stop()
		b.begun()
		for _, c := range b.calls {
			c.answer <- func() (payu.Token, error) { return b.fresh("t", time.Hour), nil }
		}
		if n := b.begun(); n != inFlightAtMost {
			t.Errorf("%d requests, want none after the stop", n)
			for _, c := range b.calls[inFlightAtMost:] {
				c.answer <- func() (payu.Token, error) { return b.fresh("t", time.Hour), nil }
			}
		}
		if err := <-drained; err != nil || len(b.changed) != len(b.calls) {
			t.Errorf("Drain: %v; %d answers handed on, want %d", err, len(b.changed), len(b.calls))
		}
		for _, s := range sources {
			if p := b.Look(s.Key()); p.Err != nil || p.Failures != 0 {
				t.Errorf("what never began has failed: %+v", p)
			}
		}
	})
}

// TestNothingIsAskedWhileAnotherMayLead: a request waits until this process may make it, or ends.
func TestNothingIsAskedWhileAnotherMayLead(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		b.barred.Store(true)
		s := source("shop", "a")
		if p := b.ask(s); !p.InFlight || b.begun() != 0 {
			t.Fatalf("%d requests, in flight %t: want one that waits", b.begun(), p.InFlight)
		}
		b.barred.Store(false)
		time.Sleep(time.Second)
		b.reply(s, b.fresh("t", time.Hour), nil)
		if p := b.Look(s.Key()); p.Attempts != 1 || p.Token.AccessToken != "t" {
			t.Errorf("%+v, want a token", p)
		}
		b.barred.Store(true)
		b.ask(s)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := b.Drain(ctx); err != nil {
			t.Error(err)
		}
		if n := b.begun(); n != 1 || len(b.changed) != 1 {
			t.Errorf("%d requests, %d answers: want none of what was stopped while it waited", n, len(b.changed))
		}
	})
}

// TestTokensOverTLS has many PayUTokens of few clients storm a server that revokes the token before: one request per
// source at a time, none in another's way, and everybody has the token that lives.
func TestTokensOverTLS(t *testing.T) {
	other := payutest.Client{ID: "other", Secret: "o"}
	server := payutest.Run(t, payutest.Config{
		Clients: []payutest.Client{shop, other}, Mode: payutest.RevokePrevious, Latency: 5 * time.Millisecond,
	})
	changed := make(chan payu.Digest, 1000)
	tokens := &payu.Tokens{
		Request: newClient(t, server.URL, server.CA.PEM(), long, time.Now).Token,
		Now:     time.Now,
		Random:  func() float64 { return 0.5 },
		MayAsk:  func() bool { return true },
		Changed: func(source payu.Digest) { changed <- source },
		Observe: func(string, time.Duration, bool, *payu.Error) {},
	}
	sources := []payu.Source{shopSource(), shopSource(), shopSource()}
	sources[1].Scopes = asked[:1]
	sources[2].Credentials = payu.Credentials{ClientID: other.ID, ClientSecret: other.Secret}
	const rounds = 5
	for round := range rounds {
		storm(t, tokens, sources, round)
		for range sources {
			<-changed
		}
	}
	for n, s := range sources {
		p := tokens.Look(s.Key())
		info, ok := server.TokenInfo(p.Token.AccessToken)
		if p.Attempts != rounds || p.Err != nil || !ok || !info.LiveAt(server.Issued()[0].IssuedAt) || !info.RevokedAt.IsZero() {
			t.Errorf("source %d: %+v, known %t, revoked at %s", n, p, ok, info.RevokedAt)
		}
	}
	counters := server.Counters()
	if counters.Total() != rounds*len(sources) {
		t.Errorf("%d requests, want %d", counters.Total(), rounds*len(sources))
	}
	for _, scopes := range counters.MaxInFlight {
		for scope, n := range scopes {
			if n != 1 {
				t.Errorf("%d requests at once for %q, want 1", n, scope)
			}
		}
	}
}

// storm has 50 PayUTokens ask for each source, all at once.
func storm(t *testing.T, tokens *payu.Tokens, sources []payu.Source, seen int) {
	var askers sync.WaitGroup
	for n := range 50 * len(sources) {
		s := sources[n%len(sources)]
		askers.Go(func() {
			tokens.Ask(t.Context(), s, seen, payu.Token{})
			tokens.Look(s.Key())
		})
	}
	askers.Wait()
}
