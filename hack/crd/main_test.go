package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestFindings changes the CRD, and expects what it then no longer accepts or keeps.
func TestFindings(t *testing.T) {
	const suspend = "                description: |-\n                  suspend stops"
	for name, test := range map[string]struct {
		old, new string
		want     []string
	}{
		"nothing":             {},
		"another description": {old: "suspend stops the renewal", new: "suspend ends the renewal"},
		"a longer list":       {old: "maxItems: 16", new: "maxItems: 32"},
		"another environment": {old: "- Production\n", new: "- Production\n                - Staging\n"},
		"a shorter list":      {old: "maxItems: 16", new: "maxItems: 8", want: []string{"v1alpha1.spec.scopes: maxItems is 8, and was 16"}},
		"a higher minimum":    {old: "minimum: 10", new: "minimum: 20", want: []string{"v1alpha1.spec.renewalPercent: minimum is 20, and was 10"}},
		"a missing environment": {old: "                - Production\n", new: "",
			want: []string{"v1alpha1.spec.environment: no longer in the enum: Production"}},
		"a field of another name": {old: "              suspend:\n", new: "              paused:\n", want: []string{"v1alpha1.spec.suspend: is gone"}},
		"another type":            {old: "                type: boolean", new: "                type: string", want: []string{"v1alpha1.spec.suspend: type is string, and was boolean"}},
		"one more that is required": {old: "\n            required:\n", new: "\n            required:\n            - suspend\n",
			want: []string{"v1alpha1.spec: required: suspend"}},
		"one more rule": {old: suspend, new: "                x-kubernetes-validations: [{rule: self}]\n" + suspend,
			want: []string{"v1alpha1.spec.suspend: x-kubernetes-validations: self"}},
		"another default": {old: "default: 67", new: "default: 66", want: []string{"v1alpha1.spec.renewalPercent: default is 66, and was 67"}},
		"another scope":   {old: "scope: Namespaced", new: "scope: Cluster", want: []string{"spec.scope is Cluster, and was Namespaced"}},
		"no longer served": {old: "    served: true", new: "    served: false",
			want: []string{"v1alpha1 is no longer served"}},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := os.ReadFile("../../" + file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(before), test.old) {
				t.Fatalf("the CRD does not hold %q", test.old)
			}
			now := strings.Replace(string(before), test.old, test.new, 1)
			if got := findings(parse(t, string(before)), parse(t, now)); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var crd map[string]any
	if err := yaml.Unmarshal([]byte(text), &crd); err != nil {
		t.Fatal(err)
	}
	return crd
}
