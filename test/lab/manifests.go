package lab

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Objects are those of a manifest.
func Objects(t testing.TB, manifest string) []*unstructured.Unstructured {
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

// Kustomize renders a folder of the repository. kubectl does that without a cluster and without a network.
func Kustomize(t testing.TB, elements ...string) []*unstructured.Unstructured {
	t.Helper()
	assets := Must(assetsFolder(Must(Root())(t)))(t)
	return Objects(t, Output(t, filepath.Join(assets, "kubectl"), "kustomize", filepath.Join(elements...)))
}

// Output runs a program in the root of the repository, and returns what it prints on stdout.
func Output(t testing.TB, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = Must(Root())(t)
	out, err := command.Output()
	if failure := new(exec.ExitError); errors.As(err, &failure) {
		t.Fatalf("%s: %v: %s%s", command, err, out, failure.Stderr)
	}
	Check(t, err)
	return string(out)
}

// HelmPath asks the go command, once, where the Helm is that it has built, which takes minutes the first time. To run Helm
// through the go command takes a second each time.
var HelmPath = sync.OnceValues(func() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	tool := exec.Command("go", "tool", "-modfile=hack/helm/go.mod", "-n", "helm")
	tool.Dir = root
	out, err := tool.Output()
	if err != nil {
		return "", fmt.Errorf("building Helm: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})
