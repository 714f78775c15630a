package main_test

import (
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// TestTwoShardsEachWorkOnTheirOwn has each operator ask a PayU of its own, so that a token tells who fetched it.
func TestTwoShardsEachWorkOnTheirOwn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	servers := map[string]*payutest.Running{}
	for _, shard := range []string{"one", "two"} {
		servers[shard] = runPayU(t, payutest.Config{})
		s.operate(servers[shard], "--watch-label-selector=shard="+shard,
			"--leader-elect", "--leader-election-id=shard-"+shard, "--leader-election-namespace="+s.namespace)
	}
	s.create("without-a-shard")
	s.create("links-one", labelled("shard", "one"))
	s.create("links-two", labelled("shard", "two"))
	for shard, server := range servers {
		name := "links-" + shard
		s.awaitReady(name)
		issued := server.Issued()
		if len(issued) != 1 || issued[0].Token != s.value(name) {
			t.Errorf("%s does not hold the one token of its shard; that has given %d", name, len(issued))
		}
	}
	s.expectUntouched("without-a-shard")
	s.change("without-a-shard", labelled("shard", "two"))
	s.awaitReady("without-a-shard")
}
