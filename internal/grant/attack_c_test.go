package grant_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

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
