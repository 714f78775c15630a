package main

import (
	"fmt"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// foreignSecrets measures what Secrets cost that are none of the operator's business.
func (b *bench) foreignSecrets() []section {
	n := b.sizes[0]
	s := section{title: "Secrets of others, 10 kB each", head: []string{"Secrets", "ready after", "resident memory", "its peak",
		fmt.Sprintf("bare loop, %d PayUTokens", n), "operator", "kube-apiserver", "etcd"}}
	b.newCluster()
	namespace := lab.Must(b.cluster.Namespace(b.Context()))(b)
	var resident []point
	have := 0
	for _, want := range append([]int{0}, b.foreign...) {
		b.Say("%d Secrets of others", want)
		lab.Check(b, b.seedForeign(b.Context(), namespace, have, want))
		have = want
		began := time.Now()
		m := b.operator(b.account)
		ready := time.Since(began)
		u := b.atRest(m)
		b.stop(m)
		resident = append(resident, point{float64(want), u.resident})
		bare, operator := b.timeBare(n), b.timeOperators(n, nil)
		apiserver, etcd := b.usageOf(children()["kube-apiserver"]), b.usageOf(children()["etcd"])
		s.add(want, lab.Shown(ready), mebibytes(u.resident), mebibytes(u.most), rate(bare.perSecond(n)), rate(operator.perSecond(n)),
			mebibytes(apiserver.resident), mebibytes(etcd.resident))
	}
	each := fit(resident).slope
	b.inputs.perForeign = each
	s.note("By least squares: %s of the operator's resident memory for each Secret of others. Throughput was measured once each.", kibibytes(each))
	b.goal("resident memory for each Secret of others, of 10 kB", "at most 1 KiB", kibibytes(each), each <= 1<<10)
	return []section{s}
}
