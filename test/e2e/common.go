package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// commonScenario is played in all shops at once: something happens at renewals of the first one.
type commonScenario struct {
	name   string
	act    func(context.Context) error // nil if this cluster does not let it be done
	from   int                         // the first renewal to do it at
	times  int                         // at how many
	before time.Duration               // how long before
	slack  time.Duration               // for the life of tokens
}

func (p *proof) commonScenarios() []commonScenario {
	all := []commonScenario{
		// Once only: those who watch the API server wait longer each time before they try again, and forget it after 2
		// minutes. At the first renewal, tokens have not got their longer life yet.
		{name: "API server restarts at a renewal", act: p.restartAPIServer,
			from: 1, times: 1, before: time.Second, slack: longSlack},
		{name: "kubelet restarts at each renewal", act: p.restartKubelet,
			times: renewals, before: 500 * time.Millisecond, slack: slack},
	}
	return slices.DeleteFunc(all, func(s commonScenario) bool { return !strings.Contains(s.name, p.only) })
}

// playOnAll plays a scenario that concerns all shops.
func (p *proof) playOnAll(ctx context.Context, c commonScenario) error {
	if c.act == nil {
		p.note(row{name: c.name, skipped: "nothing was named that does it to this cluster"}, nil)
		return nil
	}
	shops := slices.DeleteFunc(slices.Clone(p.shops), func(s *shop) bool { return !s.servedAlways() })
	marks := map[*shop]int{}
	for _, s := range shops {
		var err error
		if marks[s], err = s.tape.mark(ctx); err != nil {
			return err
		}
		if err := s.admin.SetTokenTTL(ctx, p.life(c.slack)); err != nil { // of the next one
			return err
		}
	}
	longest, err := p.actAtRenewals(ctx, c)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r, err2 := sum(ctx, shops, marks)
	r.name = c.name
	r.notes = []string{fmt.Sprintf("%d workloads", len(shops)), fmt.Sprintf("it took %s at most", shown(longest))}
	p.note(r.served(), errors.Join(err, err2))
	return nil
}

// actAtRenewals has it happen at renewals of the first shop, and returns how long that took at most.
func (p *proof) actAtRenewals(ctx context.Context, c commonScenario) (longest time.Duration, err error) {
	_, err = overRenewals(func(ctx context.Context, _ *shop, n int, due time.Time) error {
		if n < c.from || n >= c.from+c.times {
			return nil
		}
		if err := until(ctx, due.Add(-c.before)); err != nil {
			return err
		}
		began := time.Now()
		err := c.act(ctx)
		longest = max(longest, time.Since(began))
		return err
	})(ctx, p.shops[0])
	return longest, err
}

// sum makes one row of what all workloads saw since the marks.
func sum(ctx context.Context, shops []*shop, marks map[*shop]int) (row, error) {
	var all row
	var errs []error
	for n, s := range shops {
		err := s.tape.awaitRenewals(ctx, marks[s], renewals, s.limit())
		own, err2 := s.row(ctx, marks[s])
		errs = append(errs, err, err2)
		if own.Refusals > 0 {
			all.broken = append(all.broken, fmt.Sprintf("the workload of shop %q was refused %d times", s.shop, own.Refusals))
		}
		if n > 0 {
			own.Summary = all.Add(own.Summary)
		}
		all.Summary, all.lifeLeft = own.Summary, shorter(all.lifeLeft, own.lifeLeft)
	}
	return all, errors.Join(errs...)
}

// servedAlways reports whether the shop's workload is never to be refused.
func (s *shop) servedAlways() bool { return s.mode == "" && !s.refused }
