package main_test

import (
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestTwoShardsEachWorkOnTheirOwn has each operator ask a PayU of its own, so that a token tells who fetched it.
func TestTwoShardsEachWorkOnTheirOwn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	servers := map[string]*payutest.Running{}
	for _, shard := range []string{"one", "two"} {
		servers[shard] = lab.RunPayU(t, payutest.Config{})
		s.operate(servers[shard], "--watch-label-selector=shard="+shard,
			"--leader-elect", "--leader-election-id=shard-"+shard, "--leader-election-namespace="+s.Namespace)
	}
	s.create("without-a-shard")
	s.create("links-one", lab.Labelled("shard", "one"))
	s.create("links-two", lab.Labelled("shard", "two"))
	for shard, server := range servers {
		name := "links-" + shard
		s.AwaitReady(name)
		issued := server.Issued()
		if len(issued) != 1 || issued[0].Token != s.AccessToken(name) {
			t.Errorf("%s does not hold the one token of its shard; that has given %d", name, len(issued))
		}
	}
	s.expectUntouched("without-a-shard")
	s.Change("without-a-shard", lab.Labelled("shard", "two"))
	s.AwaitReady("without-a-shard")
}
