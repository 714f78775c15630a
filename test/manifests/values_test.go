package manifests_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestRefusals states what is refused, and that the message names the value and what is wrong with it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"replicaCount=3":                                            "replicaCount is called replicas in this chart: set that",
		"leaderElection.enable=true":                                "'enable' not allowed",
		"logLevel=verbose":                                          "'/logLevel': value must be one of 'debug', 'info', 'warn', 'error'",
		"tokenRequestTimeout=10":                                    "'/tokenRequestTimeout': got number, want string",
		"propagationMargin=2 minutes":                               "'/propagationMargin': '2 minutes' does not match pattern",
		"watchNamespaces=shop":                                      "'/watchNamespaces': got string, want array",
		"watchNamespaces={Shop}":                                    "'/watchNamespaces/0': 'Shop' does not match pattern",
		"metrics.port=0":                                            "'/metrics/port': minimum: got 0, want 1",
		"image.digest=abc":                                          "'/image/digest': 'abc' does not match pattern",
		"baseURLs.test=accounts.payu.in":                            "'/baseURLs/test': 'accounts.payu.in' does not match pattern",
		"extraArgs={log-level=debug}":                               "'/extraArgs/0': 'log-level=debug' does not match pattern",
		"leaderElection.enabled=false":                              "several operators would do the same work. Enable it, or set replicas to 1",
		"ca.configMapName=a,ca.secretName=b":                        "ca.configMapName and ca.secretName are both set",
		"metrics.serviceMonitor.enabled=true,metrics.enabled=false": "Enable metrics too",
		"prometheusRule.enabled=true,metrics.enabled=false":         "PayUTokenOperatorDown would fire for ever. Enable metrics too",
		"promptDelivery.enabled=true":                               "promptDelivery.enabled needs Kubernetes 1.30 or newer, for its ValidatingAdmissionPolicy, and this is v1.29.0. Set it to false",
		"promptDelivery.enable=true":                                "'enable' not allowed",
	} {
		_, err := template(t, "default", "--set", setting)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", setting, err, want)
		}
	}
}

// TestEveryValueIsDescribed walks the schema: each value has a description there, a default with a comment in
// values.yaml, and a line in the README.
func TestEveryValueIsDescribed(t *testing.T) {
	t.Parallel()
	var schema map[string]any
	lab.Check(t, json.Unmarshal(lab.Must(os.ReadFile(filepath.Join(chart, "values.schema.json")))(t), &schema))
	readme := string(lab.Must(os.ReadFile(filepath.Join(chart, "README.md")))(t))
	defaults := parseFile(t, chart, "values.yaml")[0].Object
	expectDescribed(t, schema, defaults, readme, "")
	expectComments(t, strings.Split(string(lab.Must(os.ReadFile(filepath.Join(chart, "values.yaml")))(t)), "\n"))
}

func expectDescribed(t *testing.T, schema, defaults map[string]any, readme, prefix string) {
	t.Helper()
	if schema["additionalProperties"] != false {
		t.Errorf("the schema of %q lets any name in", prefix)
	}
	properties := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		property, path := properties[name].(map[string]any), prefix+name
		if path == "enabled" || path == "global" || path == "replicaCount" { // of charts around this one; a hint
			continue
		}
		if property["description"] == nil {
			t.Errorf("the schema does not describe %s", path)
		}
		value, given := defaults[name]
		if !given {
			t.Errorf("values.yaml has no default for %s", path)
		}
		if property["properties"] != nil {
			expectDescribed(t, property, value.(map[string]any), readme, path+".")
		} else if !strings.Contains(readme, fmt.Sprintf("\n| `%s` |", path)) {
			t.Errorf("the README has no line for %s", path)
		}
	}
	for name := range defaults {
		if properties[name] == nil {
			t.Errorf("the schema does not know %s%s", prefix, name)
		}
	}
}

// expectComments wants a comment before each line of values.yaml that sets a value. A line that ends in a colon opens a
// group, whose comment is optional.
func expectComments(t *testing.T, lines []string) {
	t.Helper()
	for i, line := range lines {
		text := strings.TrimSpace(line)
		isValue := text != "" && !strings.HasPrefix(text, "#") && !strings.HasPrefix(text, "-") && !strings.HasSuffix(text, ":")
		if isValue && !strings.HasPrefix(line, "  requests") && !strings.HasPrefix(line, "  limits") && !strings.HasPrefix(strings.TrimSpace(lines[i-1]), "#") {
			t.Errorf("values.yaml:%d: no comment before %q", i+1, text)
		}
	}
}
