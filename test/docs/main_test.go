// Package docs_test keeps the documentation true: links lead somewhere, names exist, commands run, and print what the
// pages say.
package docs_test

import (
	"flag"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const root = "../.."

var update = flag.Bool("update", false, "write what commands print into the pages")

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetLogger(logr.Discard()) // what the tests' own clients say
	os.Exit(m.Run())
}
