package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// latency measures how long it takes from the request that creates a PayUToken until its Secret is visible to others,
// one at a time, with everything else at rest.
func (b *bench) latency(ctx context.Context) (_ []section, err error) {
	s := section{title: "One PayUToken at a time", head: []string{"", "median", "95 of 100 within"}}
	namespace, remove, err := b.namespace(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	n := b.singles
	if err := b.createCredentials(ctx, namespace, n); err != nil {
		return nil, err
	}
	m, err := b.operator(ctx, b.account)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(m.stop(), err) }()
	if err := b.warm(ctx); err != nil {
		return nil, err
	}
	asked, err := b.timeSingles(n, func(n int) error {
		_, err := b.payu.Token(ctx, sourceOf(n))
		return err
	})
	if err != nil {
		return nil, err
	}
	secrets, err := b.watchSecrets(ctx, namespace)
	if err != nil {
		return nil, err
	}
	defer secrets.stop()
	seen, err := b.timeSingles(n, func(n int) error {
		if err := b.client.Create(ctx, newToken(namespace, n, n)); err != nil {
			return err
		}
		_, err := secrets.await(ctx, 1, true, patience)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, row := range []struct {
		what string
		took []time.Duration
	}{{"token server's answer", asked}, {"creation until the Secret is visible", seen}} {
		s.add(row.what, milliseconds(median(row.took)), milliseconds(quantile(row.took, 0.95)))
	}
	over := median(seen) - median(asked)
	s.add("the one less the other", milliseconds(over), milliseconds(quantile(seen, 0.95)-quantile(asked, 0.95)))
	s.note("%d times each, one after the other. The creation counts from before the request for it is sent; the Secret is visible when a watch shows it.", n)
	b.goal("creation until the Secret is visible, less the token server's answer (median)", "at most 15 ms", milliseconds(over), over <= 15*time.Millisecond)
	return []section{s}, err
}

// timeSingles returns how long it took each time.
func (b *bench) timeSingles(n int, do func(n int) error) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	for i := range n {
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
