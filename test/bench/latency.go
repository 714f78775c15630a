package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// latency measures how long it takes from the request that creates a PayUToken until its Secret is visible to others,
// one at a time, with everything else at rest.
func (b *bench) latency(ctx context.Context) (_ []section, err error) {
	s := section{title: "One PayUToken at a time", head: []string{"", "median", "95 of 100 within", "median, less the token server's"}}
	namespace, remove, err := b.namespace(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := b.createCredentials(ctx, namespace, 2*b.singles); err != nil {
		return nil, err
	}
	m, err := b.operator(ctx, b.account)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(stop(m.Process), err) }()
	if err := b.warm(ctx); err != nil {
		return nil, err
	}
	asked, err := b.timeSingles(ctx, b.singles, 0, func(n int) error {
		_, err := b.payu.Token(ctx, sourceOf(n))
		return err
	})
	if err != nil {
		return nil, err
	}
	s.add("token server's answer", milliseconds(median(asked)), milliseconds(quantile(asked, 0.95)), "")
	if err := b.timeCreations(ctx, namespace, median(asked), &s); err != nil {
		return nil, err
	}
	s.note("%d times each, one at a time. The creation counts from before the request for it is sent; the Secret is visible when a watch shows it. The first for a while (a second) in its namespace is tried out first: the API server is asked, with a dry run, whether it would accept the Secret.", b.singles)
	return []section{s}, nil
}

// timeCreations adds how long it takes from the creation of a PayUToken until its Secret is visible.
func (b *bench) timeCreations(ctx context.Context, namespace string, asking time.Duration, s *section) error {
	secrets, err := b.watchSecrets(ctx, namespace)
	if err != nil {
		return err
	}
	defer secrets.stop()
	first := 0
	for _, row := range []struct {
		what  string
		pause time.Duration // long enough for the operator to report on the one before
	}{
		{"creation until the Secret is visible, soon after another", 300 * time.Millisecond},
		{"creation until the Secret is visible, first for a while", 1500 * time.Millisecond},
	} {
		took, err := b.timeSingles(ctx, b.singles, row.pause, func(n int) error {
			if err := b.client.Create(ctx, newToken(namespace, first+n, first+n)); err != nil {
				return err
			}
			_, err := secrets.await(ctx, 1, true, lab.Patience)
			return err
		})
		if err != nil {
			return err
		}
		first += b.singles
		over := median(took) - asking
		s.add(row.what, milliseconds(median(took)), milliseconds(quantile(took, 0.95)), milliseconds(over))
		b.goal(row.what+", less the token server's answer (median)", "at most 20 ms", milliseconds(over), over <= 20*time.Millisecond)
	}
	return nil
}

// timeSingles returns how long it took each time, with a pause before each.
func (b *bench) timeSingles(ctx context.Context, n int, rest time.Duration, do func(n int) error) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	for i := range n {
		if err := lab.Pause(ctx, rest); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := do(i); err != nil {
			return nil, err
		}
		took[i] = time.Since(began)
	}
	return took, nil
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
