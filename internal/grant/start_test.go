package grant_test

import (
	"slices"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
)

const startPatience = 20 * time.Second

// pass looks, asks where that is due, and has itself told otherwise, as a pass over a PayUToken does.
func (b *bench) pass(name string) grant.State {
	m, s := named(name), source("shop", "a")
	state := b.look(m, s)
	b.Observed(m)
	if state.Starting {
		b.AwaitStart(m)
		return state
	}
	return b.Ask(b.t.Context(), m, s, state.Ended)
}

// TestANewProcessAsksOnceItHasSeenAll: one who joins later may hold the live token.
func TestANewProcessAsksOnceItHasSeenAll(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		b.Begin([]grant.Member{named("a"), named("b"), named("c"), named("d")})
		for _, name := range []string{"a", "b", "a"} {
			state := b.pass(name)
			if want := b.Now().Add(startPatience); !state.Starting || !state.AskAt.Equal(want) || state.InFlight {
				t.Errorf("%s is told %+v, want to wait until %s at most", name, state, want)
			}
		}
		b.Observed(named("a"))
		b.checkTold("twice observed is once")
		b.Observed(named("c")) // it has no credentials: it joins nothing
		b.Observed(named("x")) // nobody waits for it
		b.checkTold("while one is missing")
		b.Leave(named("d"))
		if told := slices.Compact(b.told()); !slices.Equal(told, []string{"a", "b"}) {
			t.Errorf("%q were told after the last, want those who wait", told)
		}
		if b.begun() != 0 {
			t.Error("a request began before all were seen")
		}
		if state := b.pass("b"); state.Starting || !state.InFlight || b.begun() != 1 {
			t.Errorf("after the last: %+v", state)
		}
	})
}

// TestAskIsHeldAtTheStart, also for a caller that looked before, and for a wish.
func TestAskIsHeldAtTheStart(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		m, s := named("a"), source("shop", "a")
		b.Begin([]grant.Member{m, named("b")})
		b.wishes[m] = grant.Wish{Value: "now"}
		if state := b.asks(m, s); !state.Wished || !state.Starting || b.begun() != 0 {
			t.Errorf("%d requests, %+v: want a wish that waits", b.begun(), state)
		}
		b.Observed(m)
		b.checkWaits("with one missing", m, s, startPatience)
		if b.look(m, s).Starting {
			t.Error("it is starting still")
		}
	})
}

// TestTheLastMemberDoesNotWaitForItself: who joins is observed.
func TestTheLastMemberDoesNotWaitForItself(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		b.Begin([]grant.Member{named("a")})
		if b.pass("a"); b.begun() != 1 {
			t.Error("no request began at the first pass")
		}
	})
}

func TestNothingToWaitForAtTheStart(t *testing.T) {
	for name, begin := range map[string]func(*bench){
		"no PayUToken": func(b *bench) { b.Begin(nil) },
		"no start":     func(*bench) {},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(t *testing.T, b *bench) {
				begin(b)
				if state := b.pass("a"); state.Starting || !state.InFlight {
					t.Errorf("%+v, want a request", state)
				}
				b.begun()
			})
		})
	}
}
