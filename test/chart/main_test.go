// Package chart_test tests the Helm chart: what it renders, what an API server makes of it, what Helm does with it.
package chart_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	chart     = "../../charts/payu-token-operator"
	crdFile   = "auth.payu.in_payutokens.yaml"
	release   = "payu-token-operator"
	namespace = "payu" // of the release
)

var (
	update   = flag.Bool("update", false, "write the golden files anew")
	helmPath string
	// valueSets are the files in testdata/values.
	valueSets = []string{"default", "namespaced", "sharded", "everything", "prompt"}
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := buildHelm(); err != nil {
		fmt.Fprintln(os.Stderr, "building Helm:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// buildHelm has the go command build Helm, unless its cache holds it, and tell where it is. Run by that path, Helm needs
// no go command, which takes a second each time.
func buildHelm() error {
	fmt.Fprintln(os.Stderr, "Getting Helm: the first time it is built, which takes minutes")
	tool := exec.Command("go", "tool", "-modfile=hack/helm/go.mod", "-n", "helm")
	tool.Dir = filepath.Join("..", "..")
	tool.Stderr = os.Stderr
	out, err := tool.Output()
	helmPath = strings.TrimSpace(string(out))
	return err
}

// helm runs Helm and returns what it prints on stdout. The error holds what it prints on stderr. Nothing of the user's
// own Helm is read or changed.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), helmPath, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "HELM_PLUGINS="+home)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// template renders the chart with one of the value sets, as for the oldest Kubernetes that it supports. The version has
// to be named: that of a Helm built by the go command is 1.20.
func template(t *testing.T, values string, more ...string) (string, error) {
	t.Helper()
	args := []string{"template", release, chart, "--namespace", namespace, "--kube-version", oldestFor(values),
		"--values", filepath.Join("testdata", "values", values+".yaml")}
	return helm(t, append(args, more...)...)
}

// oldestFor returns the oldest Kubernetes that the chart supports with a value set.
func oldestFor(values string) string {
	if values == "prompt" {
		return "1.30.0"
	}
	return "1.29.0"
}

// render returns the objects of a value set.
func render(t *testing.T, values string, more ...string) []*unstructured.Unstructured {
	t.Helper()
	return parse(t, must(template(t, values, more...))(t))
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

func parseFile(t *testing.T, elements ...string) []*unstructured.Unstructured {
	t.Helper()
	return parse(t, string(must(os.ReadFile(filepath.Join(elements...)))(t)))
}

// find returns the one object of that kind and name, in that namespace if there is one.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name, namespace string) *unstructured.Unstructured {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name && object.GetNamespace() == namespace {
			return object
		}
	}
	t.Fatalf("there is no %s %s in namespace %q", kind, name, namespace)
	return nil
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
