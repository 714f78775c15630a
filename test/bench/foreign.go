package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// foreignSecrets measures what Secrets cost that are none of the operator's business.
func (b *bench) foreignSecrets(ctx context.Context) ([]section, error) {
	n := b.sizes[0]
	s := section{title: "Secrets of others, 10 kB each", head: []string{"Secrets", "ready after", "resident memory", "its peak",
		fmt.Sprintf("bare loop, %d PayUTokens", n), "operator", "kube-apiserver", "etcd"}}
	if err := b.newCluster(ctx); err != nil {
		return nil, err
	}
	namespace, err := b.cluster.Namespace(ctx)
	if err != nil {
		return nil, err
	}
	var resident []point
	have := 0
	for _, want := range append([]int{0}, b.foreign...) {
		b.Say("%d Secrets of others", want)
		if err := b.seedForeign(ctx, namespace, have, want); err != nil {
			return nil, err
		}
		have = want
		u, err := b.amongForeign(ctx, want, n, &s)
		if err != nil {
			return nil, err
		}
		resident = append(resident, point{float64(want), u.resident})
	}
	each := fit(resident).slope
	b.inputs.perForeign = each
	s.note("By least squares: %s of the operator's resident memory for each Secret of others. Throughput was measured once each.", kibibytes(each))
	b.goal("resident memory for each Secret of others, of 10 kB", "at most 1 KiB", kibibytes(each), each <= 1<<10)
	return []section{s}, nil
}

// amongForeign adds what an operator does among so many Secrets of others, and returns what it holds at rest.
func (b *bench) amongForeign(ctx context.Context, foreign, n int, s *section) (usage, error) {
	began := time.Now()
	m, err := b.operator(ctx, b.account)
	if err != nil {
		return usage{}, err
	}
	ready := time.Since(began)
	u, err := b.atRest(ctx, m)
	if err = errors.Join(err, stop(m.Process)); err != nil {
		return u, err
	}
	bare, err := b.timeBare(ctx, n)
	if err != nil {
		return u, err
	}
	operator, err := b.timeOperators(ctx, n, nil)
	if err != nil {
		return u, err
	}
	apiserver, err1 := usageOf(children()["kube-apiserver"])
	etcd, err2 := usageOf(children()["etcd"])
	s.add(foreign, shown(ready), mebibytes(u.resident), mebibytes(u.most), rate(bare.perSecond(n)), rate(operator.perSecond(n)),
		mebibytes(apiserver.resident), mebibytes(etcd.resident))
	return u, errors.Join(err1, err2)
}
