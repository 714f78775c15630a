package grant_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// clock is a time that a test moves. It starts within a second and outside UTC.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 789_000_000, time.FixedZone("IST", 5*3600+1800))}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is a Registry whose requests the test answers, in a bubble: once settled, all that could happen has happened.
type bench struct {
	*grant.Registry
	*clock
	t      *testing.T
	random float64
	barred atomic.Bool
	over   chan struct{}
	seeds  map[grant.Member]grant.Seed
	wishes map[grant.Member]grant.Wish

	mu       sync.Mutex
	calls    []*call // begun, in order
	changed  []grant.Member
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
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer close(b.over) // a bubble waits for what runs in it, also after a failure
		tell(t, b)
	})
}

func newBench(t *testing.T) *bench {
	b := &bench{
		t: t, clock: newClock(), random: 0.5, over: make(chan struct{}),
		seeds: map[grant.Member]grant.Seed{}, wishes: map[grant.Member]grant.Wish{},
	}
	b.Registry = &grant.Registry{
		Now:     b.clock.Now,
		Random:  func() float64 { return b.random },
		MayAsk:  func() bool { return !b.barred.Load() },
		Request: b.request,
		Changed: func(members []grant.Member) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.changed = append(b.changed, members...)
		},
		Measure: func(environment string, took time.Duration, reused bool, err *payu.Error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.observed = append(b.observed, observation{environment, took, reused, err})
		},
	}
	return b
}

// Now is the clock's, not the field of Registry.
func (b *bench) Now() time.Time { return b.clock.Now() }

func (b *bench) request(ctx context.Context, source payu.Source) (payu.Token, error) {
	c := &call{ctx: ctx, source: source, answer: make(chan func() (payu.Token, error))}
	b.mu.Lock()
	b.calls = append(b.calls, c)
	b.mu.Unlock()
	select {
	case answer := <-c.answer:
		return answer()
	case <-b.over:
		return payu.Token{}, failed(payu.Unreachable, 0)
	}
}

// begun settles and returns how many requests have begun so far.
func (b *bench) begun() int {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls)
}

// told settles and returns who was named to Changed since the last call, in order of their names.
func (b *bench) told() (names []string) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.changed {
		names = append(names, m.Name)
	}
	b.changed = nil
	slices.Sort(names)
	return names
}

func (b *bench) checkTold(what string, want ...string) {
	b.t.Helper()
	if got := b.told(); !slices.Equal(got, want) {
		b.t.Errorf("%s: %q were told, want %q", what, got, want)
	}
}

func named(name string) grant.Member { return grant.Member{Namespace: "shop", Name: name} }

// sole is the member that a source has where a test names none.
func sole(s payu.Source) grant.Member {
	return named(s.Environment + s.Credentials.ClientID + s.Credentials.ClientSecret + strings.Join(s.Scopes, "+"))
}

// look joins as a PayUToken does in each pass: with what its Secret and status say, and with its user's wish.
func (b *bench) look(m grant.Member, s payu.Source) grant.State {
	return b.Join(m, s.Key(), b.seeds[m], b.wishes[m])
}

// sees is look for the sole member.
func (b *bench) sees(s payu.Source) grant.State { return b.look(sole(s), s) }

// asks asks as a PayUToken does that has just looked.
func (b *bench) asks(m grant.Member, s payu.Source) grant.State {
	return b.Ask(b.t.Context(), m, s, b.look(m, s).Ended)
}

// ask is asks for the sole member.
func (b *bench) ask(s payu.Source) grant.State { return b.asks(sole(s), s) }

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
func (b *bench) exchange(s payu.Source, token payu.Token, err error) grant.State {
	b.t.Helper()
	n := b.begun()
	if b.ask(s); b.begun() != n+1 {
		b.t.Fatalf("the request did not begin: AskAt is %s ahead", b.sees(s).AskAt.Sub(b.Now()))
	}
	b.reply(s, token, err)
	return b.sees(s)
}

// rest lets the floor pass.
func (b *bench) rest() { b.step(payu.Floor) }

// fresh returns a token as PayU would give it now.
func (b *bench) fresh(value string, life time.Duration) payu.Token {
	at := b.Now().UTC().Truncate(time.Second)
	return payu.Token{
		AccessToken: value, Type: "Bearer", Scope: "a", FetchedAt: at, ExpiresAt: at.Add(life), EndsAfter: b.Now().Add(life),
	}
}

// stored returns a token as it is read from a Secret.
func stored(token payu.Token) payu.Token {
	token.EndsAfter = time.Time{}
	return token
}

func source(id string, scopes ...string) payu.Source {
	return payu.Source{Environment: "Test", Credentials: payu.Credentials{ClientID: id, ClientSecret: "secret of " + id}, Scopes: scopes}
}

func failed(reason payu.Reason, after time.Duration) *payu.Error {
	return &payu.Error{Reason: reason, Detail: "it failed", RetryAfter: after}
}

// check compares all but AskAt.
func (b *bench) check(what string, got, want grant.State) {
	b.t.Helper()
	got.AskAt, want.AskAt = time.Time{}, time.Time{}
	if !reflect.DeepEqual(got, want) {
		b.t.Errorf("%s:\ngot  %+v of %q\nwant %+v of %q", what, got, got.Token.AccessToken, want, want.Token.AccessToken)
	}
}

// checkWaits has a member ask just before the moment in which it may, and then: only then a request begins.
func (b *bench) checkWaits(what string, m grant.Member, s payu.Source, wait time.Duration) {
	b.t.Helper()
	n := b.begun()
	if got := max(0, b.look(m, s).AskAt.Sub(b.Now())); got != wait {
		b.t.Errorf("%s: AskAt is %s ahead, want %s", what, got, wait)
	}
	for _, left := range []time.Duration{wait, 1} {
		if wait == 0 {
			break
		}
		b.step(wait - left)
		if b.asks(m, s); b.begun() != n {
			b.t.Fatalf("%s: a request began %s too early", what, left)
		}
	}
	b.step(min(1, wait))
	if b.asks(m, s); b.begun() != n+1 {
		b.t.Fatalf("%s: no request began after %s", what, wait)
	}
}

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
