package manifests_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestTheChartSaysTheSame compares all objects whole, but for what is Helm's own.
func TestTheChartSaysTheSame(t *testing.T) {
	t.Parallel()
	defaults := flagDefaults(t)
	for _, test := range []struct {
		name   string
		folder string
		values []string
	}{
		{"default", "config/default", nil},
		{"namespaced", "config/namespaced", []string{"--set", "watchNamespaces={shop}"}},
		{"two namespaces", addNamespace(t, "billing"), []string{"--set", "watchNamespaces={shop,billing}"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ours := normalized(t, lab.Kustomize(t, test.folder), defaults)
			delete(ours, "Namespace /"+operator) // Helm's users make it with --create-namespace
			theirs := normalized(t, helmObjects(t, append(test.values, "--set", "networkPolicy.enabled=true")...), defaults)
			for _, name := range names(theirs, ours) {
				if diff := cmp.Diff(theirs[name], ours[name]); diff != "" {
					t.Errorf("%s (-chart +kustomize):\n%s", name, diff)
				}
			}
		})
	}
}

// addNamespace does to a copy of config/ what the comment in config/namespaced says, and returns the copy's overlay.
func addNamespace(t *testing.T, namespace string) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	lab.Check(t, os.CopyFS(config, os.DirFS(filepath.Join(root, "config"))))
	overlay := filepath.Join(config, "namespaced")
	lab.Check(t, os.CopyFS(filepath.Join(overlay, namespace), os.DirFS(filepath.Join(overlay, "shop"))))
	replace(t, filepath.Join(overlay, namespace, "kustomization.yaml"), "namespace: shop", "namespace: "+namespace)
	list := filepath.Join(overlay, "kustomization.yaml")
	replace(t, list, "\n- shop\n", "\n- shop\n- "+namespace+"\n")
	replace(t, list, "--watch-namespaces=shop", "--watch-namespaces=shop,"+namespace)
	return overlay
}

// normalized returns the objects by their names: without the labels and annotations that tell who rendered them, and the
// Deployment with its flags as flagsOf has them.
func normalized(t *testing.T, objects []*unstructured.Unstructured, defaults map[string]string) map[string]any {
	t.Helper()
	byName := map[string]any{}
	for _, object := range objects {
		unstructured.RemoveNestedField(object.Object, "metadata", "annotations")
		keepAggregation(object)
		forgetRelease(object.Object)
		if object.GetKind() == "Deployment" {
			containers, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
			lab.Check(t, err)
			container := containers[0].(map[string]any)
			container["args"] = flagsOf(container["args"].([]any), defaults)
			lab.Check(t, unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers"))
		}
		byName[key(object)] = object.Object
	}
	return byName
}

func names(objects ...map[string]any) []string {
	var all []string
	for _, byName := range objects {
		all = slices.AppendSeq(all, maps.Keys(byName))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// keepAggregation removes all labels but those that add a role to others.
func keepAggregation(object *unstructured.Unstructured) {
	labels := object.GetLabels()
	maps.DeleteFunc(labels, func(name, _ string) bool { return !strings.HasPrefix(name, "rbac.authorization.k8s.io/") })
	unstructured.RemoveNestedField(object.Object, "metadata", "labels")
	if len(labels) > 0 {
		object.SetLabels(labels)
	}
}

// forgetRelease removes, from all selectors and from what they select, the label that tells one release from another.
func forgetRelease(value any) {
	switch value := value.(type) {
	case []any:
		for _, each := range value {
			forgetRelease(each)
		}
	case map[string]any:
		delete(value, "app.kubernetes.io/instance")
		for _, each := range value {
			forgetRelease(each)
		}
	}
}

// flagsOf returns flags and their values, but for those that have the manager's default.
func flagsOf(args []any, defaults map[string]string) map[string]any {
	flags := map[string]any{}
	for _, arg := range args {
		name, value, given := strings.Cut(arg.(string), "=")
		if !given {
			value = "true"
		}
		if defaults[name] != value {
			flags[name] = value
		}
	}
	return flags
}

// flagDefaults are those that the manager's --help tells of.
func flagDefaults(t *testing.T) map[string]string {
	t.Helper()
	defaults := map[string]string{"--leader-election-namespace": operator} // that of the pod
	help := lab.Output(t, lab.Must(lab.Program("manager"))(t), "--help")
	for _, flag := range regexp.MustCompile(`(?m)^ +(--[a-z-]+) .*\(default "?([^")\n]*)"?\)$`).FindAllStringSubmatch(help, -1) {
		defaults[flag[1]] = strings.Replace(flag[2], "m0s", "m", 1)
	}
	return defaults
}

// key tells an object from all others.
func key(object *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
}

func replace(t *testing.T, file, old, new string) {
	t.Helper()
	content := string(lab.Must(os.ReadFile(file))(t))
	if strings.Count(content, old) != 1 {
		t.Fatalf("%s holds %q %d times", file, old, strings.Count(content, old))
	}
	lab.Check(t, os.WriteFile(file, []byte(strings.Replace(content, old, new, 1)), 0o600))
}
