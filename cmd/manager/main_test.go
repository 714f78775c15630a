package main_test

import (
	"flag"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// The tests run the program itself, on a real API server that logs each request of a ServiceAccount, and against servers with
// real TLS.
var cluster *lab.Cluster

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "4") // the tests wait for Leases and timeouts more than they work
	lab.RunTests(m, &cluster, func(...string) (*lab.Cluster, error) {
		return lab.StartAuditedCluster(`userGroups: ["system:serviceaccounts"]`)
	})
}
