package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// scenario is played in a shop of its own, beside others.
type scenario struct {
	name     string
	shop     string
	replicas int           // of the operator; 0 is 1
	mode     payutest.Mode // of PayU; empty is the default one
	divisor  int           // tokens live for this part of the usual life; 0 is all of it
	refused  bool          // the workload has to be
	// tokenLife, if it is not 0, is the life of tokens, and consumers are what uses them: see deliveries.
	tokenLife time.Duration
	consumers []consumer
	play      func(context.Context, *shop) (row, error)
}

func scenarios() []scenario {
	return []scenario{
		{name: "nothing happens", shop: "calm", replicas: 2, play: overRenewals(nil)},
		{name: "leader pod deleted at each renewal", shop: "leader", replicas: 2, play: deleteLeaders},
		{name: "token server fails for half of each life", shop: "outage", play: failPayU},
		{name: "helm upgrade at each renewal", shop: "upgrade", replicas: 2, play: upgrade},
		{name: "credentials rotated 4 times", shop: "rotation", play: overRenewals(rotate)},
		{name: "helm uninstall and install", shop: "lifecycle", play: reinstall},
		{name: "mode reuse", shop: "reuse", mode: payutest.Reuse, play: measureGap},
		{name: "mode revoke-previous", shop: "revoke", mode: payutest.RevokePrevious, divisor: 2, play: measureGap},
		{name: "operator gone (has to be refused)", shop: "gone", divisor: 3, refused: true, play: endOperator},
	}
}

// chosenDeliveries are those of --only.
func (p *proof) chosenDeliveries() []scenario {
	return slices.DeleteFunc(deliveries(p.long), func(s scenario) bool { return !strings.Contains(s.name, p.only) })
}

// chosen are the scenarios of --only. What is played in all shops needs one that is calm.
func (p *proof) chosen() []scenario {
	return slices.DeleteFunc(scenarios(), func(s scenario) bool {
		return !strings.Contains(s.name, p.only) && (s.shop != "calm" || len(p.commonScenarios()) == 0)
	})
}

// playEach plays scenarios at the same time.
func (p *proof) playEach(ctx context.Context) error {
	return inParallel(p.shops, func(s *shop) error {
		if !strings.Contains(s.scenario.name, p.only) {
			return nil // it is there for the common scenarios
		}
		r, err := s.play(ctx, s)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.name = s.scenario.name
		p.note(r, err)
		return nil
	})
}

// note takes down what came of a scenario. One that did not come to its end is a promise broken.
func (p *proof) note(r row, err error) {
	if err != nil {
		r.broken = append(r.broken, lab.OneLine(err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows = append(p.rows, r)
	if r.Calls > 0 {
		p.say("played: %s (%d renewals, %d refusals)", r.name, r.Renewals, r.Refusals)
	}
}

// check notes a promise and, if it held, in what that was seen.
func (p *proof) check(promise, seen string, err error) {
	r := row{name: promise}
	if err == nil {
		r.notes = []string{seen}
	}
	p.note(r, err)
}

// overRenewals returns a scenario that ends when the workload has seen enough renewals. At the beginning, and after each
// renewal, it does something, that knows when the next one is due.
func overRenewals(act func(ctx context.Context, s *shop, n int, due time.Time) error) func(context.Context, *shop) (row, error) {
	return func(ctx context.Context, s *shop) (row, error) {
		mark, err := s.tape.mark(ctx)
		if err != nil {
			return row{}, err
		}
		var due time.Time
		for n := range renewals {
			if due, err = s.due(ctx, due); err == nil && act != nil {
				err = act(ctx, s, n, due)
			}
			if err == nil {
				err = s.tape.awaitRenewals(ctx, mark, n+1, s.limit())
			}
			if err != nil {
				break
			}
		}
		r, err2 := s.row(ctx, mark)
		return r.served(), errors.Join(err, err2)
	}
}

// until waits for a moment.
func until(ctx context.Context, at time.Time) error { return lab.Pause(ctx, time.Until(at)) }
