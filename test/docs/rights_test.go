package docs_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestTheRightsAreOnTheirPage holds the table of docs/security.md against the manifests and against what the chart renders.
func TestTheRightsAreOnTheirPage(t *testing.T) {
	documented := map[string][]string{}
	role := ""
	for _, row := range parsePage(t, "docs/security.md").table(t, "Rights") {
		if names := named(row[0]); len(names) > 0 {
			role = names[0]
		}
		for verb := range strings.SplitSeq(named(row[2])[0], ", ") {
			documented[role] = append(documented[role], verb+" "+named(row[1])[0])
		}
	}
	for _, rights := range documented {
		slices.Sort(rights)
	}
	const golden = "test/manifests/testdata/" // test/manifests keeps it true
	for source, patterns := range map[string][]string{
		"config":    {"config/rbac/*.yaml", "config/prompt-delivery/role.yaml"},
		"the chart": {golden + "default.golden.yaml", golden + "prompt.golden.yaml"},
	} {
		if diff := cmp.Diff(granted(t, patterns...), documented); diff != "" {
			t.Errorf("rights (-%s +docs/security.md):\n%s", source, diff)
		}
	}
}

// granted returns what each role of some files grants: "get secrets" and the like.
func granted(t *testing.T, patterns ...string) map[string][]string {
	t.Helper()
	var files []string
	for _, pattern := range patterns {
		files = append(files, lab.Must(filepath.Glob(filepath.Join(root, pattern)))(t)...)
	}
	rights := map[string][]string{}
	for _, file := range files {
		content := lab.Must(os.ReadFile(file))(t)
		documents := yaml.NewYAMLOrJSONDecoder(strings.NewReader(string(content)), 4096)
		for {
			var role rbacv1.ClusterRole // a Role has the same rules
			err := documents.Decode(&role)
			if errors.Is(err, io.EOF) {
				break
			}
			lab.Check(t, err)
			if role.Kind == "ClusterRole" || role.Kind == "Role" {
				rights[role.Name] = slices.Sorted(slices.Values(rightsOf(role.Rules)))
			}
		}
	}
	return rights
}

func rightsOf(rules []rbacv1.PolicyRule) []string {
	var rights []string
	for _, rule := range rules {
		things := slices.Clone(rule.NonResourceURLs)
		for _, resource := range rule.Resources {
			name, subresource, _ := strings.Cut(resource, "/")
			thing := strings.TrimSuffix(name+"."+rule.APIGroups[0], ".")
			if subresource != "" {
				thing += "/" + subresource
			}
			things = append(things, thing)
		}
		for _, thing := range things {
			for _, verb := range rule.Verbs {
				rights = append(rights, verb+" "+thing)
			}
		}
	}
	return rights
}
