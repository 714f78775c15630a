package grant_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

func wish(value string) grant.Wish { return grant.Wish{Value: value} }

// checkWished looks as one member of the source and compares what became of its wish.
func (b *bench) checkWished(what string, m grant.Member, s payu.Source, want bool) {
	b.t.Helper()
	if got := b.look(m, s).Wished; got != want {
		b.t.Errorf("%s: wished %t, want %t", what, got, want)
	}
}

// TestAWishIsServedByALaterRequest, and ends no sooner, although the token is good and another attempt is far.
func TestAWishIsServedByALaterRequest(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		m, s := named("a"), source("shop", "a")
		b.asks(m, s)
		b.reply(s, payu.Token{}, failed(payu.InvalidClient, 0))
		b.wishes[m] = wish("one")
		b.checkWished("after it was seen", m, s, true)
		b.checkWaits("a wish", m, s, payu.Floor)
		b.checkWished("while the request runs", m, s, true)
		b.reply(s, b.fresh("t", time.Hour), nil)
		b.checkWished("after the request", m, s, false)
		b.rest()
		b.checkWished("for ever", m, s, false)

		b.wishes[m] = wish("two")
		b.checkWished("another value", m, s, true)
		b.wishes[m] = wish("")
		b.checkWished("taken back", m, s, false)
		b.wishes[m] = wish("two")
		b.checkWished("and made again", m, s, true)
	})
}

// TestAWishIsNotServedByAnEarlierRequest: what runs already was sent before the user wished.
func TestAWishIsNotServedByAnEarlierRequest(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		m, s := named("a"), source("shop", "a")
		b.asks(m, s)
		b.begun()
		b.wishes[m] = wish("one")
		b.checkWished("while an earlier request runs", m, s, true)
		b.reply(s, b.fresh("t", time.Hour), nil)
		b.checkWished("after the earlier request", m, s, true)
		b.checkWaits("a wish", m, s, payu.Floor)
		b.wishes[m] = wish("two") // the user is impatient: this one was seen after the second request was sent
		b.checkWished("another wish", m, s, true)
		b.reply(s, b.fresh("u", time.Hour), nil)
		b.checkWished("after the second request", m, s, true)
		b.checkWaits("another wish", m, s, payu.Floor)
		b.reply(s, b.fresh("v", time.Hour), nil)
		b.checkWished("after the third request", m, s, false)
	})
}

// TestAWishIsServedByARequestThatWaitsForItsTurn: that one was not sent yet.
func TestAWishIsServedByARequestThatWaitsForItsTurn(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		m, s := named("a"), source("shop", "a")
		b.barred.Store(true)
		if !b.asks(m, s).InFlight || b.begun() != 0 {
			t.Fatal("the request does not wait")
		}
		b.wishes[m] = wish("one")
		b.checkWished("while the request waits", m, s, true)
		b.barred.Store(false)
		time.Sleep(time.Second)
		b.reply(s, b.fresh("t", time.Hour), nil)
		b.checkWished("after the request", m, s, false)
	})
}

// TestWishesWithinTheFloorShareARequest, and each member's wish is its own.
func TestWishesWithinTheFloorShareARequest(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, a, m, c, d := source("shop", "a"), named("a"), named("b"), named("c"), named("d")
		b.look(d, s)
		b.wishes[a] = wish("one")
		b.asks(a, s)
		b.reply(s, b.fresh("t", time.Hour), nil)
		b.step(time.Second)
		b.wishes[m] = wish("one")
		b.asks(m, s)
		b.step(2 * time.Second)
		b.wishes[c] = wish("another")
		b.checkWaits("within the floor", c, s, 2*time.Second)
		b.reply(s, b.fresh("u", time.Hour), nil)
		for _, member := range []grant.Member{a, m, c, d} {
			b.checkWished(member.Name, member, s, false)
		}
		if n := b.begun(); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

// TestAWishOfAPayUTokenWithoutAStatus is fulfilled by the first token that it gets, shared or new, whatever its form.
func TestAWishOfAPayUTokenWithoutAStatus(t *testing.T) {
	first := func(value string) grant.Wish { return grant.Wish{Value: value, First: true} }
	story(t, func(t *testing.T, b *bench) {
		s, a, m := source("shop", "a"), named("a"), named("b")
		b.wishes[a] = first("whenever")
		b.checkWished("without a token", a, s, true)
		b.look(m, s)
		b.asks(m, s)
		b.wishes[named("c")] = first("2099-01-01T00:00:00Z")
		b.checkWished("while the first request runs", named("c"), s, true)
		b.reply(s, b.fresh("t", time.Minute), nil)
		b.checkWished("after the first token", a, s, false)
		b.checkWished("after a token that was asked for before", named("c"), s, false)
		b.wishes[named("d")] = first("whenever")
		b.checkWished("with a token that is there", named("d"), s, false)
		b.wishes[a] = wish("another")
		b.checkWished("the second wish", a, s, true)

		b.step(time.Minute)
		b.wishes[named("e")] = first("whenever")
		b.checkWished("with an expired token", named("e"), s, true)
		b.checkWished("its token has expired since", named("d"), s, false)
	})
}

// TestAWishThatAFormerProcessServed: RFC 3339, found at the first look and older than the live token.
func TestAWishThatAFormerProcessServed(t *testing.T) {
	fetched := newClock().Now().UTC().Truncate(time.Second)
	older, same := fetched.Add(-time.Second).Format(time.RFC3339), fetched.Format(time.RFC3339)
	tests := map[string]struct {
		value string
		life  time.Duration // of the token, a minute after it was fetched
		later bool          // the wish is not there at the first look
		want  bool
	}{
		"older than the token":             {value: older, life: time.Hour, want: false},
		"older, in another zone":           {value: fetched.Add(-time.Second).In(time.FixedZone("", 19800)).Format(time.RFC3339), life: time.Hour, want: false},
		"as old as the token":              {value: same, life: time.Hour, want: true},
		"newer than the token":             {value: fetched.Add(time.Second).Format(time.RFC3339), life: time.Hour, want: true},
		"of another form":                  {value: fetched.Add(-time.Hour).Format(time.RFC1123), life: time.Hour, want: true},
		"no time at all":                   {value: "please", life: time.Hour, want: true},
		"older than an expired token":      {value: older, life: time.Second, want: true},
		"older, but not at the first look": {value: older, life: time.Hour, later: true, want: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, b *bench) {
				m, s := named("a"), source("shop", "a")
				token := stored(b.fresh("t", test.life))
				b.step(time.Minute)
				b.seeds[m] = grant.Seed{Token: token}
				if test.later {
					b.look(m, s)
				}
				b.wishes[m] = wish(test.value)
				b.checkWished("at first", m, s, test.want)
				b.checkWished("and later", m, s, test.want)
			})
		})
	}
}

// TestAWishThatAFormerProcessServedWithAnothersSecret: the live token may be found after the wish.
func TestAWishThatAFormerProcessServedWithAnothersSecret(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, a, m := source("shop", "a"), named("a"), named("b")
		b.Begin([]grant.Member{a, m})
		b.seeds[a] = grant.Seed{Token: stored(b.fresh("old", time.Hour))}
		b.step(time.Minute)
		b.wishes[a] = wish(b.Now().Format(time.RFC3339))
		b.step(time.Minute)
		b.seeds[m] = grant.Seed{Token: stored(b.fresh("new", time.Hour))}
		b.checkWished("with the old token", a, s, true)
		b.look(m, s)
		b.checkWished("with the new token", a, s, false)
	})
}

func TestAFailedRequestFulfilsAWish(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, token := source("shop", "a"), b.fresh("t", time.Hour)
		b.exchange(s, token, nil)
		b.rest()
		b.wishes[sole(s)] = wish("one")
		down := failed(payu.ServerError, 0)
		b.check("after the failure", b.exchange(s, payu.Token{}, down),
			grant.State{Ended: 2, Token: token, Err: down, Failures: 1, NextAttempt: b.Now().Add(payu.Floor)})
	})
}

// TestAReusedTokenFulfilsAWish: PayU has no other.
func TestAReusedTokenFulfilsAWish(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, token := source("shop", "a"), b.fresh("t", time.Hour)
		b.exchange(s, token, nil)
		b.rest()
		b.wishes[sole(s)] = wish("one")
		if state := b.exchange(s, token, nil); state.Wished || !state.Reused {
			t.Errorf("%+v, want a wish that was fulfilled by a reused token", state)
		}
	})
}

// TestAWishMovesWithItsMember to the source that it has now, which may have a token and requests of its own.
func TestAWishMovesWithItsMember(t *testing.T) {
	for name, requests := range map[string]int{"into a new source": 0, "into one that has asked": 3} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, b *bench) {
				m, old, other := named("a"), source("old", "a"), source("other", "a")
				for n := range requests {
					b.exchange(other, b.fresh(fmt.Sprint("t", n), time.Hour), nil)
					b.rest()
				}
				b.look(m, old)
				b.wishes[m] = wish("one")
				b.checkWished("before", m, old, true)
				b.checkWished("after", m, other, true)
				b.asks(m, other)
				b.reply(other, b.fresh("u", time.Hour), nil)
				b.checkWished("after a request", m, other, false)
				b.rest()
				b.checkWished("back again", m, old, false)
			})
		})
	}
}

// TestAServedWishIsNotServedAgain in another source: its echo may not have been written when the member moves.
func TestAServedWishIsNotServedAgain(t *testing.T) {
	for name, err := range map[string]error{"with a token": nil, "with a failure": failed(payu.InvalidClient, 0)} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, b *bench) {
				m, old, other := named("a"), source("old", "a"), source("other", "a")
				b.exchange(other, b.fresh("t", time.Hour), nil)
				b.wishes[m] = wish("one")
				b.asks(m, old)
				b.reply(old, b.fresh("u", time.Hour), err)
				b.checkWished("after it moved", m, other, false)
				b.wishes[m] = wish("two")
				b.checkWished("another wish", m, other, true)
			})
		})
	}
}

// TestWishesLeaveTheQuickRequestsAtTheEndOfAToken: the contract has up to 4 of them, 0 to 1.5 s after the earliest moment at which
// the token can have ended. Requests that users wish for shortly before are others.
func TestWishesLeaveTheQuickRequestsAtTheEndOfAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 2 * time.Hour
		began := time.Now()
		var last time.Time
		m := newMachine(func(now time.Time) (payu.Token, error) {
			last = time.Now()
			if left := life - time.Since(began); left > 0 {
				return tokenOf("a", now, left), nil
			}
			return tokenOf("b", now, life), nil
		})
		member := grant.Member{Namespace: "shop", Name: "links"}
		from := sourceOf("a")
		look := func(wish string) grant.State {
			state := m.Join(member, from.Key(), grant.Seed{}, grant.Wish{Value: wish})
			if !state.InFlight && !m.wall().Before(state.AskAt) {
				m.Ask(context.Background(), member, from, state.Ended)
			}
			synctest.Wait()
			return m.Join(member, from.Key(), grant.Seed{}, grant.Wish{Value: wish})
		}
		look("")
		time.Sleep(life - time.Minute)
		for _, wish := range []string{"1", "2", "3", "4", "5", "6"} {
			look(wish)
			time.Sleep(6 * time.Second)
		}
		for time.Since(began) < life+10*time.Second {
			state := look("6")
			if state.Token.AccessToken == "b" {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if late := last.Sub(began.Add(life)); late > 3*time.Second {
			t.Errorf("PayU was asked for the successor %v after the token's end", late)
		}
	})
}
