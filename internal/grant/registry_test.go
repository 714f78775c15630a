package grant_test

import (
	"slices"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// seed is what a status with a failure says.
func seed(err *payu.Error, failures int, next time.Time) grant.Seed {
	return grant.Seed{Err: err, Failures: failures, NextAttempt: next}
}

// TestSeedsOfStatuses: of what members' statuses say the latest attempt counts, until this process has asked.
func TestSeedsOfStatuses(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, down := source("shop", "a"), failed(payu.ServerError, 0)
		join := func(m string, seed grant.Seed) grant.State { return b.Join(named(m), s.Key(), seed, grant.Wish{}) }
		soon, later := b.Now().Add(time.Minute), b.Now().Add(10*time.Minute)

		b.check("a status that knows nothing", join("a", grant.Seed{}), grant.State{})
		b.check("a wait that is over", join("a", seed(down, 3, b.Now())), grant.State{})
		b.check("a status that knows something", join("a", seed(down, 4, soon)), grant.State{Err: down, Failures: 4, NextAttempt: soon})
		want := grant.State{Err: down, Failures: 5, NextAttempt: later}
		b.check("one that knows more", join("b", seed(down, 5, later)), want)
		b.check("one that knows less", join("c", seed(failed(payu.InvalidScope, 0), 1, soon)), want)
		b.check("another source", b.sees(source("shop", "b")), grant.State{})

		b.checkWaits("who asks", named("b"), s, 10*time.Minute)
		want.InFlight = true
		b.check("while a request runs", join("c", seed(down, 9, later.Add(time.Minute))), want)
		b.reply(s, payu.Token{}, down)
		want = grant.State{Ended: 1, Err: down, Failures: 6, NextAttempt: b.Now().Add(80 * time.Second)}
		b.check("after a failure the count goes on", join("b", grant.Seed{}), want)
		b.check("a process that has asked knows best", join("c", seed(down, 9, b.Now().Add(time.Hour))), want)
	})
}

// TestASeedOfAReusedToken: a restart does not forget when to ask for its successor.
func TestASeedOfAReusedToken(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, token := source("shop", "a"), stored(b.fresh("t", 8*time.Hour))
		next := b.Now().Add(2 * time.Hour)
		b.seeds[sole(s)] = grant.Seed{Token: token, Reused: true, NextAttempt: next}
		b.check("after the restart", b.sees(s), grant.State{Token: token, Reused: true, NextAttempt: next})
		b.checkWaits("after the restart", sole(s), s, 2*time.Hour)
	})
}

func TestASeedsWaitEndsWhenTheClockIsSetBack(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, down := source("shop", "a"), failed(payu.ServerError, 0)
		b.seeds[sole(s)] = seed(down, 2, b.Now().Add(time.Hour))
		if b.sees(s).NextAttempt.IsZero() {
			t.Error("an hour is a possible wait")
		}
		b.step(-time.Nanosecond)
		b.check("more than an hour is not", b.sees(s), grant.State{Err: down, Failures: 2})
	})
}

// TestASeedHoldsTheClient: a rate limit does, of all seeds the longest, whatever else the source's members say.
func TestASeedHoldsTheClient(t *testing.T) {
	limited, down, m := failed(payu.RateLimited, 0), failed(payu.ServerError, 0), time.Minute
	type wait struct {
		err *payu.Error
		d   time.Duration
	}
	tests := map[string]struct {
		first, second wait
		elsewhere     bool // the second is of another source of the client
		want          time.Duration
	}{
		"a rate limit":                            {first: wait{limited, m}, want: m},
		"another failure":                         {first: wait{down, m}},
		"a longer rate limit of the source":       {first: wait{limited, m}, second: wait{limited, 3 * m}, want: 3 * m},
		"a longer rate limit of another source":   {first: wait{limited, m}, second: wait{limited, 3 * m}, elsewhere: true, want: 3 * m},
		"a shorter rate limit of another source":  {first: wait{limited, 3 * m}, second: wait{limited, m}, elsewhere: true, want: 3 * m},
		"a longer wait of another kind":           {first: wait{limited, m}, second: wait{down, 3 * m}, want: m},
		"a rate limit after a longer wait":        {first: wait{down, 3 * m}, second: wait{limited, m}, want: m},
		"a rate limit that is over, after a wait": {first: wait{down, 3 * m}, second: wait{limited, -m}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, b *bench) {
				s, sister, other := source("shop", "a"), source("shop", "b"), source("other", "a")
				b.Join(named("first"), s.Key(), seed(test.first.err, 1, b.Now().Add(test.first.d)), grant.Wish{})
				if test.elsewhere {
					s = source("shop", "c")
				}
				if test.second.err != nil {
					b.Join(named("second"), s.Key(), seed(test.second.err, 1, b.Now().Add(test.second.d)), grant.Wish{})
				}
				got := b.sees(sister)
				if held := max(0, got.HeldUntil.Sub(b.Now())); held != test.want || (got.HeldFor == limited) != (test.want > 0) {
					t.Errorf("held for %s by %v, want %s", held, got.HeldFor, test.want)
				}
				b.check("another client", b.sees(other), grant.State{})
			})
		})
	}
}

// TestSeedsOfSecrets: of the tokens in members' Secrets the latest live one counts, and whoever has another is told.
func TestSeedsOfSecrets(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s := source("shop", "a")
		first := stored(b.fresh("first", time.Hour))
		b.step(time.Minute)
		second := stored(b.fresh("second", time.Hour))
		b.step(time.Minute)
		third := stored(b.fresh("third", time.Hour))
		tomorrow := stored(b.fresh("tomorrow", time.Hour))
		tomorrow.FetchedAt, tomorrow.ExpiresAt = b.Now().Add(24*time.Hour), b.Now().Add(25*time.Hour)
		expired := stored(b.fresh("expired", time.Minute))
		b.step(time.Minute)

		for _, step := range []struct {
			member string
			token  payu.Token
			want   payu.Token
			told   []string
		}{
			{"a", expired, payu.Token{}, nil},
			{"b", tomorrow, payu.Token{}, nil},
			{"c", second, second, []string{"a", "b"}},
			{"c", second, second, nil},
			{"d", second, second, nil},
			{"e", first, second, nil},
			{"f", payu.Token{}, second, nil},
			{"g", third, third, []string{"a", "b", "c", "d", "e", "f"}},
			{"b", tomorrow, third, nil},
			{"c", second, third, nil},
		} {
			m := named(step.member)
			b.seeds[m] = grant.Seed{Token: step.token}
			b.check(step.member+" joins", b.look(m, s), grant.State{Token: step.want})
			b.checkTold(step.member+" joins", step.told...)
		}
		if n := b.begun(); n != 0 {
			t.Errorf("%d requests after a restart with good Secrets, want none", n)
		}
	})
}

// TestASeedThatIsOlderThanTheFetchedTokenChangesNothing: that is what every Secret holds until it is written.
func TestASeedThatIsOlderThanTheFetchedTokenChangesNothing(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s := source("shop", "a")
		b.seeds[sole(s)] = grant.Seed{Token: stored(b.fresh("old", time.Hour))}
		b.sees(s)
		b.rest()
		token := b.fresh("new", time.Minute)
		b.check("with the old token in the Secret", b.exchange(s, token, nil), grant.State{Ended: 1, Token: token})
		b.checkTold("after the response", sole(s).Name)
	})
}

// TestAnOrphanKeepsItsFloor: a PayUToken that is deleted and created again asks no sooner.
func TestAnOrphanKeepsItsFloor(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, token := source("shop", "a"), b.fresh("t", time.Hour)
		b.Leave(named("whom nobody knows"))
		b.exchange(s, token, nil)
		b.Leave(sole(s))
		b.step(time.Second)
		b.sees(source("shop", "b")) // whoever joins has what nobody needs dropped
		b.check("within the floor", b.look(named("again"), s), grant.State{Ended: 1, Token: token})
		b.checkWaits("within the floor", named("again"), s, 4*time.Second)
		b.reply(s, payu.Token{}, failed(payu.RateLimited, time.Minute))

		b.Leave(named("again"))
		b.rest()
		kept := b.sees(source("shop", "b"))
		b.check("later all is forgotten but the client's wait", b.sees(s), kept)
		if kept.HeldUntil.IsZero() {
			t.Error("the client's wait was forgotten")
		}
	})
}

// TestAnOrphanKeepsItsRequest: one begins none beside it, and its token is there for whoever joins meanwhile.
func TestAnOrphanKeepsItsRequest(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s := source("shop", "a")
		b.ask(s)
		b.begun()
		b.Leave(sole(s))
		b.step(time.Hour)
		b.sees(source("shop", "b"))
		if state := b.asks(named("again"), s); !state.InFlight || b.begun() != 1 {
			t.Fatalf("in flight %t, %d requests: want the one that runs", state.InFlight, b.begun())
		}
		token := b.fresh("t", time.Hour)
		b.reply(s, token, nil)
		b.checkTold("after the response", "again")
		b.check("after the response", b.look(named("again"), s), grant.State{Ended: 1, Token: token})

		b.rest()
		b.asks(named("again"), s)
		b.begun()
		b.Leave(named("again"))
		token = b.fresh("u", time.Hour)
		b.reply(s, token, nil)
		b.checkTold("with nobody there")
		b.check("one who comes after the response", b.look(named("late"), s), grant.State{Ended: 2, Token: token})
		b.Leave(named("late"))
		b.rest()
		b.sees(source("shop", "b"))
		b.check("at last all is forgotten", b.look(named("too late"), s), grant.State{})
	})
}

// TestATokenThatWasAskedForIsNeverLost, whenever another member leaves.
func TestATokenThatWasAskedForIsNeverLost(t *testing.T) {
	for _, moment := range []string{"before it looks", "after it looks", "after it asks", "after the response"} {
		t.Run("another leaves "+moment, func(t *testing.T) {
			story(t, func(t *testing.T, b *bench) {
				s, a, m := source("shop", "a"), named("a"), named("b")
				leaves := func(now string) {
					if now == moment {
						b.Leave(a)
						b.sees(source("shop", "b"))
					}
				}
				b.look(a, s)
				leaves("before it looks")
				seen := b.look(m, s).Ended
				leaves("after it looks")
				b.Ask(t.Context(), m, s, seen)
				leaves("after it asks")
				token := b.fresh("t", time.Hour)
				b.reply(s, token, nil)
				leaves("after the response")
				if told := b.told(); !slices.Contains(told, "b") {
					t.Errorf("%q were told, want the one who asked", told)
				}
				b.step(time.Minute)
				b.sees(source("shop", "c"))
				b.check("the one who asked", b.look(m, s), grant.State{Ended: 1, Token: token})
			})
		})
	}
}

func TestAMemberHasOneSource(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		shop, other, m := source("shop", "a"), source("other", "a"), named("m")
		b.asks(m, shop)
		b.look(m, other)
		b.reply(shop, b.fresh("t", time.Hour), nil)
		b.checkTold("after it moved")
		b.check("with the new source", b.look(m, other), grant.State{})
		if got := b.look(m, shop).Token.AccessToken; got != "t" {
			t.Errorf("back with the old source it has %q", got)
		}
	})
}

// TestUnsettled: while the operator stops, whoever has not dealt with an outcome does so yet.
func TestUnsettled(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s := source("shop", "a")
		check := func(what string, want ...string) {
			t.Helper()
			var got []string
			for _, m := range b.Unsettled() {
				got = append(got, m.Name)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s: %q are unsettled, want %q", what, got, want)
			}
		}
		b.Settle(named("whom nobody knows"), 1)
		b.look(named("b"), s)
		b.look(named("c"), s)
		b.asks(named("a"), s)
		check("before the response")
		b.reply(s, b.fresh("t", time.Hour), nil)
		check("after the response", "a", "b", "c")
		b.look(named("a"), s)
		check("who has only looked", "a", "b", "c")
		b.Settle(named("a"), 1)
		b.Settle(named("b"), 0)
		check("one dealt with it, one with what was before", "b", "c")
		b.look(named("d"), s)
		check("who joins later knows it from the State", "b", "c")
		b.Leave(named("b"))
		b.look(named("c"), source("other", "a"))
		check("who is gone or has another source does not wait")
		b.rest()
		b.asks(named("a"), s)
		b.reply(s, payu.Token{}, failed(payu.ServerError, 0))
		check("after a failure", "a", "d")
	})
}
