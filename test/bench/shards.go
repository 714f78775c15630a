package main

import (
	"fmt"
)

// shards compares one operator with two that share the work by a label.
func (b *bench) shards() []section {
	n := b.sharded
	s := section{title: "Shards", head: []string{"operators", "PayUTokens", "made", "kube-apiserver", "etcd", "operators", "token server", "bench", "in all", "memory of each operator"}}
	var one, two []load
	for range b.repeat {
		one = append(one, b.timeOperators(n, nil))
		two = append(two, b.timeOperators(n, shard(0), shard(1)))
	}
	for _, row := range []struct {
		what  string
		loads []load
	}{{"one", one}, {"two, by label", two}} {
		var resident []float64
		for _, l := range row.loads {
			resident = append(resident, l.resident)
		}
		cells := append([]string{row.what, fmt.Sprint(n), ranged(rates(row.loads, n))}, cpuRow(row.loads, n)...)
		s.rows = append(s.rows, append(cells, mebibytes(median(resident))))
	}
	s.note("One operator and two in turn, medians of %d; times are CPU time for each PayUToken.", b.repeat)
	return []section{s}
}

// shard returns the flags of an operator that has the PayUTokens of a shard.
func shard(number int) []string {
	return []string{fmt.Sprintf("--watch-label-selector=%s=%d", shardLabel, number)}
}
