// Package gitops_test holds what Flux and Argo CD see of the operator, which runs as a process of its own on a real API
// server: the health of a PayUToken in every state, by Flux's own libraries and in the Lua engine of Argo CD, and that
// nothing which they applied is ever changed.
package gitops_test

import (
	"flag"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

var cluster *lab.Cluster

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "8") // the tests wait more than they work
	lab.RunTests(m, &cluster, lab.StartCluster)
}
