package manifests_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

func TestLint(t *testing.T) {
	t.Parallel()
	for _, values := range valueSets {
		out, err := helm(t, "lint", "--strict", "--kube-version", oldestFor(values), "--values", filepath.Join("testdata", "values", values+".yaml"), chart)
		if err != nil || strings.Contains(out, "[WARNING]") || strings.Contains(out, "[ERROR]") {
			t.Errorf("with the values %s: %v\n%s", values, err, out)
		}
	}
}

// TestGolden holds all that is rendered against testdata, but for the CRD, which has a test of its own.
// go test ./test/manifests -run Golden -update writes the files anew.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, values := range valueSets {
		got := lab.Must(template(t, values, "--set", "crds.install=false"))(t)
		file := filepath.Join("testdata", values+".golden.yaml")
		if *update {
			lab.Check(t, os.WriteFile(file, []byte(got), 0o644))
		}
		if diff := cmp.Diff(string(lab.Must(os.ReadFile(file))(t)), got); diff != "" {
			t.Errorf("%s is not what is rendered now (-file +rendered; -update writes it):\n%s", file, diff)
		}
	}
}

// TestUninstallKeepsTheCRD is trap 31: with the CRD go all PayUTokens, and with them the Secrets that they own.
func TestUninstallKeepsTheCRD(t *testing.T) {
	t.Parallel()
	const name = "payutokens.auth.payu.in"
	rendered := find(t, render(t, "default"), "CustomResourceDefinition", name, "")
	annotations := rendered.GetAnnotations()
	if annotations["helm.sh/resource-policy"] != "keep" {
		t.Errorf("helm uninstall would delete the CRD, all PayUTokens and their Secrets: its annotations are %v", annotations)
	}
	if got := find(t, render(t, "everything"), "CustomResourceDefinition", name, "").GetAnnotations(); got["example.com/reviewed"] != "true" || got["helm.sh/resource-policy"] != "keep" {
		t.Errorf("with crds.annotations the CRD has the annotations %v", got)
	}
	delete(annotations, "helm.sh/resource-policy")
	rendered.SetAnnotations(annotations)
	generated := find(t, parseFile(t, "..", "..", "config", "crd", "bases", crdFile), "CustomResourceDefinition", name, "")
	if diff := cmp.Diff(generated.Object, rendered.Object); diff != "" {
		t.Errorf("the chart's CRD is not that of config/crd/bases: copy it to %s/files (-config +chart):\n%s", chart, diff)
	}
}

// TestRolesAreThoseOfConfig compares all rules and aggregation labels with config/rbac, whose roles other tests try out.
func TestRolesAreThoseOfConfig(t *testing.T) {
	t.Parallel()
	roles := 0
	rendered := render(t, "default")
	for _, file := range lab.Must(filepath.Glob("../../config/rbac/*.yaml"))(t) {
		for _, want := range parseFile(t, file) {
			if want.GetKind() != "Role" && want.GetKind() != "ClusterRole" {
				continue
			}
			roles++
			of := namespace
			if want.GetKind() == "ClusterRole" {
				of = ""
			}
			expectSameRole(t, want, find(t, rendered, want.GetKind(), want.GetName(), of))
		}
	}
	if got := len(ofKind(rendered, "Role", "ClusterRole")); got != roles {
		t.Errorf("the chart has %d roles and config/rbac %d", got, roles)
	}
}

func TestNamespacedRoles(t *testing.T) {
	t.Parallel()
	want := find(t, parseFile(t, "../../config/rbac/role.yaml"), "ClusterRole", release, "")
	rendered := render(t, "namespaced")
	for _, watched := range []string{"shop", "billing"} {
		expectSameRole(t, want, find(t, rendered, "Role", release, watched))
		find(t, rendered, "RoleBinding", release, watched)
	}
	for _, object := range rendered {
		if object.GetNamespace() == "" {
			t.Errorf("%s %s is no object of a namespace", object.GetKind(), object.GetName())
		}
	}
	for _, role := range ofKind(render(t, "everything"), "ClusterRole") {
		if text := string(lab.Must(role.MarshalJSON())(t)); strings.Contains(text, `"secrets"`) {
			t.Errorf("the ClusterRole %s is about Secrets, although namespaces to watch are named", role.GetName())
		}
	}
}

func expectSameRole(t *testing.T, want, got *unstructured.Unstructured) {
	t.Helper()
	if diff := cmp.Diff(want.Object["rules"], got.Object["rules"]); diff != "" {
		t.Errorf("the rules of %s %s in %q differ (-config +chart):\n%s", got.GetKind(), got.GetName(), got.GetNamespace(), diff)
	}
	for label, value := range want.GetLabels() {
		if got.GetLabels()[label] != value {
			t.Errorf("%s %s is not labelled %s=%s", got.GetKind(), got.GetName(), label, value)
		}
	}
}

func ofKind(objects []*unstructured.Unstructured, kinds ...string) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(object *unstructured.Unstructured) bool {
		return !slices.Contains(kinds, object.GetKind())
	})
}

// TestTheManagerTakesTheFlags has the real manager read the flags of each value set, and say with --help which flags
// and defaults there are: the chart reaches all of them and has the same defaults.
func TestTheManagerTakesTheFlags(t *testing.T) {
	t.Parallel()
	manager := lab.Must(lab.Program("manager"))(t)
	reached := map[string]bool{"version": true} // nothing to set
	for _, values := range valueSets {
		flags := managerFlags(t, values)
		if out, err := exec.CommandContext(t.Context(), manager, append(flags, "--version")...).CombinedOutput(); err != nil {
			t.Errorf("the manager refuses the flags of %s: %s", values, out)
		}
		for _, f := range flags {
			name, _, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
			reached[name] = true
		}
	}
	help, _ := exec.CommandContext(t.Context(), manager, "--help").Output()
	byDefault := managerFlags(t, "default")
	for _, line := range regexp.MustCompile(`(?m)^ +--([a-z-]+)(.*)$`).FindAllStringSubmatch(string(help), -1) {
		name := line[1]
		if !reached[name] {
			t.Errorf("no value set reaches --%s", name)
		}
		expectDefault(t, byDefault, name, line[2])
	}
}

func expectDefault(t *testing.T, flags []string, name, help string) {
	t.Helper()
	set := slices.IndexFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--"+name+"=") })
	known := regexp.MustCompile(`\(default "?(.*?)"?\)$`).FindStringSubmatch(help)
	if set < 0 || known == nil {
		return
	}
	if want, got := normal(known[1]), normal(strings.TrimPrefix(flags[set], "--"+name+"=")); got != want {
		t.Errorf("the chart sets --%s to %s by default, the manager to %s", name, got, want)
	}
}

// normal is 2m for 2m0s.
func normal(value string) string {
	if strings.HasSuffix(value, "m0s") {
		return strings.TrimSuffix(value, "0s")
	}
	return value
}

func managerFlags(t *testing.T, values string) []string {
	t.Helper()
	deployments := ofKind(render(t, values), "Deployment")
	if len(deployments) != 1 {
		t.Fatalf("%d Deployments", len(deployments))
	}
	containers, _, err := unstructured.NestedSlice(deployments[0].Object, "spec", "template", "spec", "containers")
	lab.Check(t, err)
	flags, _, err := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
	lab.Check(t, err)
	return flags
}

// TestShards is about several releases: each has a Lease of its own, also where all Leases are in one namespace.
func TestShards(t *testing.T) {
	t.Parallel()
	leases := map[string]string{}
	for name, args := range map[string][]string{
		"one in a":         {"template", "one", chart, "--namespace", "a"},
		"two in a":         {"template", "two", chart, "--namespace", "a"},
		"one, leases in b": {"template", "one", chart, "--namespace", "a", "--set", "leaderElection.namespace=b"},
		"two in c, same":   {"template", "one", chart, "--namespace", "c", "--set", "leaderElection.namespace=b"},
	} {
		out := lab.Must(helm(t, append(args, "--kube-version", "1.29.0")...))(t)
		lease := strings.Join(regexp.MustCompile(`--leader-election-[a-z]+=\S+`).FindAllString(out, -1), " ")
		if other, taken := leases[lease]; taken || lease == "" {
			t.Errorf("%s and %s share the Lease %q", name, other, lease)
		}
		leases[lease] = name
	}
}
