package grant_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

var quickDelays = []time.Duration{0, 400 * time.Millisecond, 900 * time.Millisecond, 1500 * time.Millisecond}

// crowd is members of a few sources that do as they like, with a PayU that answers as it likes. It checks each request.
type crowd struct {
	*clock
	*grant.Registry
	t       *rapid.T
	sent    chan payu.Source
	ended   chan struct{}
	sources []*asked
	wishes  map[grant.Member]string
	at      map[grant.Member]*asked
	issued  int
}

// asked is a source, and PayU's view of it.
type asked struct {
	payu.Source
	answer  chan func() (payu.Token, error)
	running bool
	sentAt  time.Time // when the last request was sent
	token   payu.Token
	ends    time.Time // when the token really expires
	reused  bool      // the last response gave the token that was there already
	limited bool      // PayU answered with a rate limit in the life of the token
	quick   int
	held    time.Time
}

func newCrowd(t *rapid.T) *crowd {
	c := &crowd{
		t: t, clock: newClock(), sent: make(chan payu.Source), ended: make(chan struct{}),
		wishes: map[grant.Member]string{}, at: map[grant.Member]*asked{},
	}
	for _, s := range []payu.Source{source("shop", "a"), source("shop", "b"), source("other", "a")} {
		c.sources = append(c.sources, &asked{Source: s, answer: make(chan func() (payu.Token, error))})
	}
	c.Registry = &grant.Registry{
		Now: c.clock.Now, Random: func() float64 { return 0 }, MayAsk: func() bool { return true },
		Request: func(_ context.Context, s payu.Source) (payu.Token, error) {
			answer := c.of(s).answer
			c.sent <- s
			return (<-answer)()
		},
		Changed: func([]grant.Member) {},
		Measure: func(string, time.Duration, bool, *payu.Error) { c.ended <- struct{}{} },
	}
	return c
}

// Now is the clock's, not the field of Registry.
func (c *crowd) Now() time.Time { return c.clock.Now() }

func (c *crowd) of(s payu.Source) *asked {
	for _, a := range c.sources {
		if a.Key() == s.Key() {
			return a
		}
	}
	return nil
}

func (c *crowd) member() grant.Member {
	return named(fmt.Sprint("m", rapid.IntRange(0, 3).Draw(c.t, "member")))
}

func (c *crowd) pick() *asked { return rapid.SampledFrom(c.sources).Draw(c.t, "source") }

func (c *crowd) look(m grant.Member, seed grant.Seed) grant.State {
	return c.Join(m, c.at[m].Key(), seed, grant.Wish{Value: c.wishes[m]})
}

// ask has a member ask, mostly as soon as it is told that it may.
func (c *crowd) ask(*rapid.T) {
	m := c.member()
	a := c.at[m]
	if a == nil {
		return
	}
	state := c.look(m, grant.Seed{})
	if wait := state.AskAt.Sub(c.Now()); wait > 0 && rapid.IntRange(0, 3).Draw(c.t, "patience") > 0 {
		c.step(wait)
	}
	if state = c.Ask(c.t.Context(), m, a.Source, state.Ended); !state.InFlight || a.running {
		return
	}
	<-c.sent
	c.check(a)
}

// check judges a request that was just sent.
func (c *crowd) check(a *asked) {
	now, last := c.Now(), a.sentAt
	a.running, a.sentAt = true, now
	if now.Before(a.held) {
		c.t.Fatalf("a request was sent %s before PayU's wait had ended", a.held.Sub(now))
	}
	if since := now.Sub(last); since < payu.Floor {
		switch {
		case !a.reused || a.limited || a.token.Life() < 30*time.Second || a.quick == len(quickDelays):
			c.t.Fatalf("a request was sent %s after the last: reused %t, rate limit %t, life %s, %d quick ones", since,
				a.reused, a.limited, a.token.Life(), a.quick)
		case now.Before(a.token.EndsAfter.Add(quickDelays[a.quick])):
			c.t.Fatalf("quick request %d was sent %s after the token's end", a.quick, now.Sub(a.token.EndsAfter))
		}
		a.quick++
	}
}

// reply ends a request that runs.
func (c *crowd) reply(*rapid.T) {
	a := c.pick()
	if !a.running {
		return
	}
	token, err := c.response(a)
	a.answer <- func() (payu.Token, error) { return token, err }
	<-c.ended
	a.running = false
}

// response is that of a PayU that reuses tokens for the most part.
func (c *crowd) response(a *asked) (payu.Token, error) {
	switch kind := rapid.IntRange(0, 11).Draw(c.t, "response"); {
	case kind == 0:
		a.limited, a.reused = true, false
		wait := rapid.SampledFrom([]time.Duration{payu.Floor, 20 * time.Second}).Draw(c.t, "retry after")
		for _, sister := range c.sources {
			if sister.Key().Client == a.Key().Client {
				sister.held = c.Now().Add(wait)
			}
		}
		return payu.Token{}, failed(payu.RateLimited, wait)
	case kind == 1:
		a.reused = false
		return payu.Token{}, failed(payu.ServerError, 0)
	case kind > 3 && a.sentAt.Before(a.ends):
		left := a.ends.Sub(a.sentAt).Truncate(time.Second)
		again := a.token
		again.FetchedAt = a.sentAt.UTC().Truncate(time.Second)
		again.ExpiresAt, again.EndsAfter = again.FetchedAt.Add(left), a.sentAt.Add(left)
		if again.EndsAfter.After(a.token.EndsAfter) {
			a.token.EndsAfter = again.EndsAfter
		}
		a.reused = true
		if left == 0 {
			return again, failed(payu.InvalidResponse, 0)
		}
		return again, nil
	}
	c.issue(a, a.sentAt)
	return a.token, nil
}

// issue makes a new token; whole seconds make that what is said of its life is up to a second short.
func (c *crowd) issue(a *asked, at time.Time) {
	c.issued++
	life := rapid.SampledFrom([]time.Duration{1, 2, 4, 10, 29, 30, 31, 60, 600}).Draw(c.t, "life") * time.Second
	fetched := at.UTC().Truncate(time.Second)
	a.token = payu.Token{
		AccessToken: fmt.Sprint("t", c.issued), FetchedAt: fetched, ExpiresAt: fetched.Add(life), EndsAfter: at.Add(life),
	}
	a.ends = at.Add(life + time.Duration(rapid.IntRange(0, 2500).Draw(c.t, "more"))*time.Millisecond)
	a.reused, a.limited, a.quick = false, false, 0
}

func (c *crowd) join(*rapid.T) {
	m := c.member()
	c.at[m] = c.pick()
	c.look(m, grant.Seed{})
}

// joinWithToken is with a Secret that another process wrote meanwhile.
func (c *crowd) joinWithToken(*rapid.T) {
	m, a := c.member(), c.pick()
	if a.running {
		return
	}
	c.at[m] = a
	before := *a
	c.issue(a, c.Now())
	if state := c.look(m, grant.Seed{Token: stored(a.token)}); state.Token.AccessToken != a.token.AccessToken {
		*a = before
	}
}

func (c *crowd) leave(*rapid.T) {
	m := c.member()
	delete(c.at, m)
	delete(c.wishes, m)
	c.Leave(m)
}

func (c *crowd) wish(*rapid.T) {
	c.wishes[c.member()] = fmt.Sprint("wish", rapid.IntRange(0, 1000).Draw(c.t, "wish"))
}

func (c *crowd) pass(*rapid.T) {
	c.step(time.Duration(rapid.SampledFrom([]int{1, 100, 400, 500, 1000, 4999, 5000, 30000, 3600000}).Draw(c.t, "ms")) * time.Millisecond)
}

// end lets the requests in flight end.
func (c *crowd) end() {
	for _, a := range c.sources {
		if a.running {
			a.answer <- func() (payu.Token, error) { return payu.Token{}, failed(payu.Unreachable, 0) }
			<-c.ended
		}
	}
	c.Wait()
}

// TestTheFloor: whoever comes, goes, wishes or fails, PayU is asked for a source never twice within 5 s, but for four
// requests at the end of a token that it gave again; nor while it told the client to wait.
func TestTheFloor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCrowd(t)
		defer c.end()
		t.Repeat(map[string]func(*rapid.T){
			"join": c.join, "join with a token": c.joinWithToken, "leave": c.leave, "wish": c.wish, "step": c.pass,
			"ask": c.ask, "ask soon": c.ask, "ask again": c.ask, "reply": c.reply, "reply soon": c.reply, "reply again": c.reply,
		})
	})
}

// TestQuickRequestsAtTheEnd of a token that is reused: four, once, and the floor after them.
func TestQuickRequestsAtTheEnd(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, token := source("shop", "a"), b.fresh("t", time.Minute)
		b.exchange(s, token, nil)
		b.step(57 * time.Second)
		b.exchange(s, token, nil)
		b.checkWaits("the first quick one", sole(s), s, 3*time.Second)
		for n, wait := range []time.Duration{400, 500, 600} {
			b.reply(s, token, nil)
			b.checkWaits(fmt.Sprint("quick one ", n+2), sole(s), s, wait*time.Millisecond)
		}
		b.reply(s, token, nil)
		b.checkWaits("after the quick ones", sole(s), s, payu.Floor)
		b.reply(s, token, nil)
		b.checkWaits("and later", sole(s), s, payu.Floor)
	})
}

// TestAnOrphanKeepsItsFloorAlsoAmongQuickRequests: whoever joins then has not been told of them.
func TestAnOrphanKeepsItsFloorAlsoAmongQuickRequests(t *testing.T) {
	story(t, func(t *testing.T, b *bench) {
		s, token := source("shop", "a"), b.fresh("t", time.Minute)
		b.exchange(s, token, nil)
		b.step(52 * time.Second)
		b.exchange(s, token, nil)
		b.step(8 * time.Second)
		b.exchange(s, token, nil)
		b.Leave(sole(s))
		b.step(time.Second)
		b.sees(source("shop", "b"))
		if state := b.look(named("again"), s); state.Ended != 3 {
			t.Errorf("%d requests are known, want 3: what was asked a second ago is forgotten", state.Ended)
		}
	})
}
