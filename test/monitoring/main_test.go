// Package monitoring_test holds what is shipped for Prometheus and Grafana against the real things: alerts against promtool,
// manifests against the kinds of the Prometheus operator, and every query against a Prometheus that scrapes the operator.
package monitoring_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	root     = "../.."
	operator = lab.OperatorName // the name of its namespace, of its ServiceAccount and of nearly all else
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // the operator under test logs by itself
	os.Exit(m.Run())
}

// tool returns the path of prometheus or promtool. make test has them built before.
func tool(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(lab.Output(t, "hack/prometheus/tool", name))
}

// helm renders the chart as a release of the name and namespace that config/default has.
func helm(t *testing.T, settings ...string) []*unstructured.Unstructured {
	t.Helper()
	args := []string{"template", operator, "charts/" + operator, "--namespace", operator,
		"--kube-version", "1.29.0", "--set", "prometheusRule.enabled=true,grafanaDashboard.enabled=true,metrics.serviceMonitor.enabled=true"}
	for _, setting := range settings {
		args = append(args, "--set", setting)
	}
	return lab.Objects(t, lab.Output(t, lab.Must(lab.HelmPath())(t), args...))
}

// kustomize renders a folder of config.
func kustomize(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	return lab.Kustomize(t, "config", folder)
}

// find returns the one object of a kind.
func find(t *testing.T, objects []*unstructured.Unstructured, kind string) *unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	for _, object := range objects {
		if object.GetKind() == kind {
			found = append(found, object)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of the kind %s, want 1", len(found), kind)
	}
	return found[0]
}

func read(t *testing.T, elements ...string) string {
	t.Helper()
	return string(lab.Must(os.ReadFile(filepath.Join(elements...)))(t))
}

// write writes a value into a file of the test, as JSON, which is YAML, too.
func write(t *testing.T, file string, value any) {
	t.Helper()
	lab.Check(t, os.WriteFile(file, lab.Must(json.Marshal(value))(t), 0o600))
}
