// Package manifests_test tests what is installed: what the Helm chart and kustomize render of charts/ and config/, that both say the
// same, what an API server makes of it, what the operator may do with it, and what Helm does with the chart.
package manifests_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	root      = "../.."
	chart     = "../../charts/payu-token-operator"
	crdFile   = "auth.payu.in_payutokens.yaml"
	release   = lab.OperatorName
	namespace = "payu"           // of the release
	operator  = lab.OperatorName // the name of its namespace, of its ServiceAccount and of nearly all else
)

var (
	update = flag.Bool("update", false, "write the golden files anew")
	// valueSets are the files in testdata/values.
	valueSets = []string{"default", "namespaced", "sharded", "everything", "prompt"}
)

// helm runs Helm and returns what it prints on stdout. The error holds what it prints on stderr. Nothing of the user's
// own Helm is read or changed.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), lab.Must(lab.HelmPath())(t), args...)
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
	return lab.Objects(t, lab.Must(template(t, values, more...))(t))
}

// helmObjects renders the chart as a release of the name and namespace that config/default has.
func helmObjects(t *testing.T, args ...string) []*unstructured.Unstructured {
	t.Helper()
	command := []string{"template", operator, chart, "--namespace", operator, "--kube-version", "1.29.0"}
	return lab.Objects(t, lab.Must(helm(t, append(command, args...)...))(t))
}

func parseFile(t *testing.T, elements ...string) []*unstructured.Unstructured {
	t.Helper()
	return lab.Objects(t, string(lab.Must(os.ReadFile(filepath.Join(elements...)))(t)))
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

// await repeats an attempt until it succeeds: the API server takes a moment to know new roles and policies.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	lab.Check(t, lab.AwaitEvery(t.Context(), 100*time.Millisecond, lab.Patience, what, func(context.Context) error { return try() }))
}
