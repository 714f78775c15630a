// Package install_test tests what kustomize renders of config/: what an API server makes of it, what the operator may do
// with it, and that the Helm chart says the same.
package install_test

import (
	"errors"
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
	root     = "../.."
	operator = "payu-token-operator" // the name of its namespace, of its ServiceAccount and of nearly all else
)

// kustomize renders a folder. kubectl does that without a cluster and without a network.
func kustomize(t *testing.T, elements ...string) []*unstructured.Unstructured {
	t.Helper()
	kubectl := filepath.Join(strings.TrimSpace(run(t, filepath.Join("hack", "controlplane", "assets"))), "kubectl")
	return parse(t, run(t, kubectl, "kustomize", filepath.Join(elements...)))
}

// helm renders the chart as a release of the name and namespace that config/default has.
func helm(t *testing.T, args ...string) []*unstructured.Unstructured {
	t.Helper()
	command := []string{"tool", "-modfile=hack/helm/go.mod", "helm", "template", operator, "charts/payu-token-operator",
		"--namespace", operator, "--kube-version", "1.29.0"}
	return parse(t, run(t, "go", append(command, args...)...))
}

// run runs a program in the root of the repository, and returns what it prints on stdout.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = root
	out, err := command.Output()
	if failure := new(exec.ExitError); errors.As(err, &failure) {
		t.Fatalf("%s: %v: %s", command, err, failure.Stderr)
	}
	check(t, err)
	return string(out)
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

// find returns the one object of a kind and name.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			return object
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

// key tells an object from all others.
func key(object *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
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

func replace(t *testing.T, file, old, new string) {
	t.Helper()
	content := string(must(os.ReadFile(file))(t))
	if strings.Count(content, old) != 1 {
		t.Fatalf("%s holds %q %d times", file, old, strings.Count(content, old))
	}
	check(t, os.WriteFile(file, []byte(strings.Replace(content, old, new, 1)), 0o600))
}
