package grant_test

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

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// TestOneRequestServesAllAskers is traps 4 and 28.
func TestOneRequestServesAllAskers(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop := source("shop", "a", "b")
		all := b.askers(shop, 100)
		if n := b.begun(); n != 1 {
			t.Fatalf("%d requests, want 1", n)
		}
		b.checkTold("before there is a response")

		token := b.fresh("t", time.Hour)
		b.reply(shop, token, nil)
		want := grant.State{Ended: 1, Token: token}
		b.checkTold("after the response", all...)
		b.rest()
		for _, name := range all {
			b.check("after the response", b.look(named(name), shop), want)
			b.check("an asker that looked before", b.Ask(t.Context(), named(name), shop, 0), want)
		}
		b.check("an asker that saw more than there is", b.Ask(t.Context(), named(all[0]), shop, 2), want)
		if n := b.begun(); n != 1 {
			t.Errorf("%d requests, want no other: the response is there", n)
		}
		b.Ask(t.Context(), named(all[0]), shop, 1)
		if n := b.begun(); n != 2 {
			t.Errorf("%d requests, want another for one who saw the response", n)
		}
		want.InFlight = true
		b.check("while the second runs", b.look(named(all[1]), shop), want)
		b.reply(shop, b.fresh("u", time.Hour), nil)
	})
}

// askers has n members ask at once, each second one with the scopes in another order.
func (b *bench) askers(s payu.Source, n int) (names []string) {
	var all sync.WaitGroup
	for n := range n {
		asker, name := s, fmt.Sprintf("m%03d", n)
		if n%2 == 1 {
			asker.Scopes = []string{"b", "a", "b"}
		}
		names = append(names, name)
		all.Go(func() {
			b.Join(named(name), asker.Key(), grant.Seed{}, grant.Wish{})
			if state := b.Ask(b.t.Context(), named(name), asker, 0); !state.InFlight || state.Ended != 0 {
				b.t.Errorf("asker %d is told %+v, want a request in flight", n, state)
			}
		})
	}
	all.Wait()
	return names
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
			b.checkTold("after a response", sole(s).Name)
		}
		for n, s := range all {
			if got := b.sees(s).Token.AccessToken; got != fmt.Sprint("t", n) {
				t.Errorf("source %d has the token %q", n+1, got)
			}
		}
	})
}

// TestOnlyAMemberOfTheSourceAsks: the credentials may have changed since it looked.
func TestOnlyAMemberOfTheSourceAsks(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop, other := source("shop", "a"), source("other", "a")
		m := named("m")
		b.check("a stranger", b.Ask(t.Context(), m, shop, 0), grant.State{})
		b.look(m, shop)
		b.check("a member of another source", b.Ask(t.Context(), m, other, 0), grant.State{})
		b.Leave(m)
		b.check("a former member", b.Ask(t.Context(), m, shop, 0), grant.State{})
		if n := b.begun(); n != 0 {
			t.Errorf("%d requests, want none", n)
		}
	})
}

type contextKey struct{}

// TestRequestOutlivesItsAsker: a token is never thrown away, since it may have revoked the one before.
func TestRequestOutlivesItsAsker(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop := source("shop", "a")
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "trace"))
		b.sees(shop)
		b.Ask(ctx, sole(shop), shop, 0)
		b.begun()
		cancel()
		if got := b.calls[0].ctx; got.Err() != nil || got.Value(contextKey{}) != "trace" {
			t.Errorf("the request's context: %v, value %v", got.Err(), got.Value(contextKey{}))
		}
		b.reply(shop, b.fresh("t", time.Hour), nil)
		if got := b.sees(shop).Token.AccessToken; got != "t" {
			t.Errorf("got %q", got)
		}
	})
}

func TestFailuresBackOff(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop := source("shop", "a")
		token := b.fresh("t", 2*time.Hour)
		b.exchange(shop, token, nil)
		b.rest()

		down := failed(payu.ServerError, 0)
		b.ask(shop)
		for n, wait := range []time.Duration{5 * time.Second, 5 * time.Second, 10 * time.Second} {
			b.reply(shop, payu.Token{}, down)
			b.check("a failure", b.sees(shop), grant.State{
				Ended: n + 2, Token: token, Err: down, Failures: n + 1, NextAttempt: b.Now().Add(wait),
			})
			b.checkWaits("after a failure", sole(shop), shop, wait)
		}
		b.reply(shop, payu.Token{}, fmt.Errorf("wrapped: %w", failed(payu.InvalidClient, 0)))
		b.check("another error", b.sees(shop),
			grant.State{Ended: 5, Token: token, Err: failed(payu.InvalidClient, 0), Failures: 4, NextAttempt: b.Now().Add(time.Hour)})

		b.checkWaits("after a permanent failure", sole(shop), shop, time.Hour)
		next := b.fresh("u", time.Hour)
		b.reply(shop, next, nil)
		b.check("a success", b.sees(shop), grant.State{Ended: 6, Token: next})
	})
}

func TestAnErrorOfAnotherTypeIsNotRepeated(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		got := b.exchange(source("shop", "a"), payu.Token{}, errors.New("BODY-SENTINEL")).Err
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
		for _, response := range []struct {
			token payu.Token
			err   error
		}{{token, nil}, {token, nil}, {payu.Token{}, down}} {
			b.ask(shop)
			b.begun()
			b.step(3 * time.Second)
			b.reply(shop, response.token, response.err)
			b.step(time.Hour / 2)
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
		"a rate limit without":                  {"the back-off says how long", failed(payu.RateLimited, 0), payu.Floor},
		"a server error with retry_after":       {"503 may carry one", failed(payu.ServerError, 2*time.Minute), 2 * time.Minute},
		"a permanent error with retry_after":    {"so may others", failed(payu.InvalidScope, payu.Floor), 15 * time.Minute},
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

	want := grant.State{}
	if hold > 0 {
		want = grant.State{HeldUntil: b.Now().Add(hold), HeldFor: err}
	}
	for _, s := range []payu.Source{shop, sister} {
		got := b.sees(s)
		if !got.HeldUntil.Equal(want.HeldUntil) || got.HeldFor != want.HeldFor {
			t.Errorf("scope %s is held until %s, want %s", s.Scopes, got.HeldUntil, want.HeldUntil)
		}
	}
	for n, s := range []payu.Source{elsewhere, other} {
		if b.ask(s); b.begun() != 2+n {
			t.Error("another client is held too")
		}
		b.reply(s, b.fresh("t", time.Hour), nil)
	}
	if hold == 0 {
		return
	}
	b.wishes[sole(sister)] = grant.Wish{Value: "now"} // not even a wish ends a wait that PayU asked for
	want.Wished = true
	b.check("one who asks nevertheless", b.ask(sister), want)
	b.checkWaits("a sister", sole(sister), sister, hold)
	b.reply(sister, b.fresh("t", time.Hour), nil)
}

func TestALaterResponseDoesNotShortenAWait(t *testing.T) {
	tests := map[string]struct {
		first, second *payu.Error
		want          time.Duration
	}{
		"the second names no time":       {failed(payu.RateLimited, time.Hour), failed(payu.RateLimited, 0), time.Hour},
		"the second names a shorter one": {failed(payu.RateLimited, time.Hour), failed(payu.ServerError, payu.Floor), time.Hour},
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
				if got := b.sees(source("shop", "c")).HeldUntil.Sub(b.Now()); got != test.want {
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
			got := b.sees(s)
			if !got.NextAttempt.IsZero() || !got.HeldUntil.IsZero() || got.HeldFor != nil || !got.AskAt.IsZero() {
				t.Errorf("after a step back: %+v, want no wait", got)
			}
			if got.Failures != 1 || got.Err == nil {
				t.Errorf("the failure is forgotten: %+v", got)
			}
			b.check("and asking works", b.exchange(s, b.fresh("t", time.Hour), nil),
				grant.State{Ended: 2, Token: b.fresh("t", time.Hour)})
		}
	})
}

// TestAWaitOfAClockThatWasAheadDoesNotHideAnother: once the clock is right, PayU's next wait holds.
func TestAWaitOfAClockThatWasAheadDoesNotHideAnother(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		one, two := source("shop", "a"), source("shop", "b")
		b.exchange(one, payu.Token{}, failed(payu.RateLimited, time.Hour))
		b.step(-time.Hour)
		b.exchange(two, payu.Token{}, failed(payu.RateLimited, time.Minute))
		if got := b.sees(one).HeldUntil.Sub(b.Now()); got != time.Minute {
			t.Errorf("held for %s, want a minute", got)
		}
	})
}

func TestAClockSetBackALittleChangesNothing(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s := source("shop", "a")
		want := b.exchange(s, payu.Token{}, failed(payu.RateLimited, time.Minute))
		b.step(-59 * time.Minute)
		b.check("after a step back", b.sees(s), want)
		b.checkWaits("after a step back", sole(s), s, time.Hour)
		b.reply(s, payu.Token{}, failed(payu.ServerError, 0))
	})
}

// TestATokenFromTheFutureIsReplaced although it was reused, and waits were reckoned by it.
func TestATokenFromTheFutureIsReplaced(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, token := source("shop", "a"), b.fresh("t", time.Hour)
		b.exchange(s, token, nil)
		b.rest()
		if b.exchange(s, token, nil).NextAttempt.IsZero() {
			t.Fatal("a reused token has no wait")
		}
		b.step(-time.Minute)
		b.checkWaits("after the step back", sole(s), s, 0)
		again := b.fresh("t", time.Hour)
		b.reply(s, again, nil)
		b.check("the life that PayU states now is the right one", b.sees(s), grant.State{Ended: 3, Token: again})
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
		b.check("one who asks now", b.ask(late), grant.State{})
		if b.begun() != 1 {
			t.Error("a request began after the stop")
		}
		token := b.fresh("t", time.Hour)
		b.reply(running, token, nil)
		if !ended {
			t.Error("Drain does not end with the last request")
		}
		b.checkTold("after the stop", sole(running).Name)
		if got := b.Unsettled(); !slices.Equal(got, []grant.Member{sole(running)}) || b.sees(running).Token != token {
			t.Errorf("the token was not handed on: %v are to deal with it", got)
		}
		b.rest()
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

func TestAHerdIsNoHerdOfConnections(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		b.herd("Test", payu.MaxInFlight+10)
		if n := b.begun(); n != payu.MaxInFlight {
			t.Fatalf("%d requests at once, want %d", n, payu.MaxInFlight)
		}
		b.herd("Production", 3)
		if n := b.begun(); n != payu.MaxInFlight+3 {
			t.Errorf("%d requests, want those of another environment not to wait", n)
		}
		b.step(time.Minute) // time in the queue is no time of the request
		for n := 0; n < b.begun(); n++ {
			b.calls[n].answer <- func() (payu.Token, error) { return b.fresh("t", time.Hour), nil }
		}
		if n := b.begun(); n != payu.MaxInFlight+13 || len(b.changed) != n {
			t.Errorf("%d requests and %d responses, want %d", n, len(b.changed), payu.MaxInFlight+13)
		}
		for n, o := range b.observed {
			if waited := n >= payu.MaxInFlight+3; o.took != time.Minute && !waited || o.took != 0 && waited {
				t.Errorf("request %d took %s", n, o.took)
			}
		}
	})
}

// TestDrainLetsTheQueueGo: what waits for its turn has not begun, and never will.
func TestDrainLetsTheQueueGo(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		sources := b.herd("Test", payu.MaxInFlight+10)
		b.begun()
		ctx, stop := context.WithCancel(t.Context())
		drained := make(chan error, 1)
		go func() { drained <- b.Drain(ctx) }()
		stop()
		b.begun()
		for _, c := range b.calls {
			c.answer <- func() (payu.Token, error) { return b.fresh("t", time.Hour), nil }
		}
		if n := b.begun(); n != payu.MaxInFlight {
			t.Errorf("%d requests, want none after the stop", n)
			for _, c := range b.calls[payu.MaxInFlight:] {
				c.answer <- func() (payu.Token, error) { return b.fresh("t", time.Hour), nil }
			}
		}
		if err := <-drained; err != nil || len(b.changed) != len(b.calls) {
			t.Errorf("Drain: %v; %d responses handed on, want %d", err, len(b.changed), len(b.calls))
		}
		for _, s := range sources {
			if state := b.sees(s); state.Err != nil || state.Failures != 0 || state.InFlight {
				t.Errorf("what never began has failed: %+v", state)
			}
		}
	})
}

// TestNothingIsAskedWhileAnotherMayLead: a request waits until this process may make it, or ends.
func TestNothingIsAskedWhileAnotherMayLead(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		b.barred.Store(true)
		s := source("shop", "a")
		if state := b.ask(s); !state.InFlight || b.begun() != 0 {
			t.Fatalf("%d requests, in flight %t: want one that waits", b.begun(), state.InFlight)
		}
		b.barred.Store(false)
		time.Sleep(time.Second)
		b.reply(s, b.fresh("t", time.Hour), nil)
		if state := b.sees(s); state.Ended != 1 || state.Token.AccessToken != "t" {
			t.Errorf("%+v, want a token", state)
		}
		b.rest()
		b.barred.Store(true)
		if !b.ask(s).InFlight {
			t.Fatal("the second request does not wait")
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := b.Drain(ctx); err != nil {
			t.Error(err)
		}
		if n := b.begun(); n != 1 || len(b.changed) != 1 {
			t.Errorf("%d requests, %d responses: want none of what was stopped while it waited", n, len(b.changed))
		}
	})
}

// TestARequestEndsBeforeAnotherProcessCanLead: MayAsk turns false 5 s before another process can have the Lease, and a request may
// take 10 s. Trap 10: the request context ends with the lease, or a late answer revokes the new leader's token.
func TestARequestEndsBeforeAnotherProcessCanLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(nil)
		var lost atomic.Bool
		took := time.Duration(0)
		m.MayAsk = func() bool { return !lost.Load() }
		m.Request = func(ctx context.Context, _ payu.Source) (payu.Token, error) {
			began := time.Now()
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
			took = time.Since(began)
			return payu.Token{}, refusal(payu.Unreachable)
		}
		m.look("links", sourceOf("a"), grant.Seed{})
		lost.Store(true)
		m.Wait()
		if took > 5*time.Second {
			t.Errorf("the request ended %v after this process may have lost its Lease", took)
		}
	})
}
