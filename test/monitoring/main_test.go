// Package monitoring_test holds what is shipped for Prometheus and Grafana against the real things: alerts against promtool,
// manifests against the kinds of the Prometheus operator, and every query against a Prometheus that scrapes the operator.
package monitoring_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	ctrl "sigs.k8s.io/controller-runtime"
)

const (
	root     = "../.."
	operator = "payu-token-operator" // the name of its namespace, of its ServiceAccount and of nearly all else
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // the operator under test logs by itself
	os.Exit(m.Run())
}

// run runs a program in the root of the repository, and returns what it prints on stdout.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = root
	out, err := command.Output()
	if failure := new(exec.ExitError); errors.As(err, &failure) {
		t.Fatalf("%s: %v: %s%s", command, err, out, failure.Stderr)
	}
	check(t, err)
	return string(out)
}

// tool returns the path of prometheus or promtool. make test has them built before.
func tool(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "hack/prometheus/tool", name))
}

// helmPath asks the go command, once, where the Helm is that it has built: to run Helm through it takes a second each time.
var helmPath = sync.OnceValues(func() (string, error) {
	command := exec.Command("go", "tool", "-modfile=hack/helm/go.mod", "-n", "helm")
	command.Dir = root
	out, err := command.Output()
	return strings.TrimSpace(string(out)), err
})

// helm renders the chart as a release of the name and namespace that config/default has.
func helm(t *testing.T, settings ...string) []*unstructured.Unstructured {
	t.Helper()
	args := []string{"template", operator, "charts/" + operator, "--namespace", operator,
		"--kube-version", "1.29.0", "--set", "prometheusRule.enabled=true,grafanaDashboard.enabled=true,metrics.serviceMonitor.enabled=true"}
	for _, setting := range settings {
		args = append(args, "--set", setting)
	}
	return parse(t, run(t, must(helmPath())(t), args...))
}

// kustomize renders a folder of config. kubectl does that without a cluster and without a network.
func kustomize(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	kubectl := filepath.Join(strings.TrimSpace(run(t, "hack/controlplane/assets")), "kubectl")
	return parse(t, run(t, kubectl, "kustomize", "config/"+folder))
}

func parse(t *testing.T, manifest string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	documents := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := documents.Decode(&object.Object)
		switch {
		case errors.Is(err, io.EOF):
			return objects
		case err != nil:
			t.Fatal(err)
		case len(object.Object) > 0:
			objects = append(objects, object)
		}
	}
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
	return string(must(os.ReadFile(filepath.Join(elements...)))(t))
}

// write writes a value into a file of the test, as JSON, which is YAML, too.
func write(t *testing.T, file string, value any) {
	t.Helper()
	check(t, os.WriteFile(file, must(json.Marshal(value))(t), 0o600))
}

// must ends the test unless err is nil.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
