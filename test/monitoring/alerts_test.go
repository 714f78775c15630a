package monitoring_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// ruleSpec is a file of rules for Prometheus, and the spec of a PrometheusRule.
type ruleSpec struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert         string            `json:"alert"`
	Expr          string            `json:"expr"`
	For           string            `json:"for,omitempty"`
	KeepFiringFor string            `json:"keep_firing_for,omitempty"`
	Labels        map[string]string `json:"labels"`
	Annotations   map[string]string `json:"annotations"`
}

func rulesIn(t *testing.T, objects []*unstructured.Unstructured) ruleSpec {
	t.Helper()
	var rules struct {
		Spec ruleSpec `json:"spec"`
	}
	object := find(t, objects, "PrometheusRule")
	lab.Check(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(map[string]any{"spec": object.Object["spec"]}, &rules, true))
	return rules.Spec
}

func alerts(t *testing.T) []rule {
	t.Helper()
	rules := rulesIn(t, kustomize(t, "prometheus"))
	if len(rules.Groups) != 1 || len(rules.Groups[0].Rules) == 0 {
		t.Fatalf("%d groups", len(rules.Groups))
	}
	return rules.Groups[0].Rules
}

// TestAlerts has promtool live through the stories of testdata/alerts.yaml, with what the chart renders.
func TestAlerts(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "rules.yaml"), rulesIn(t, helm(t)))
	stories := filepath.Join(folder, "stories.yaml")
	lab.Check(t, os.WriteFile(stories, []byte(read(t, "testdata", "alerts.yaml")), 0o600))
	lab.Output(t, tool(t, "promtool"), "test", "rules", stories)
}

// TestEveryAlertHasItsStories: a test of an alert that never fires, or never does not, shows nothing.
func TestEveryAlertHasItsStories(t *testing.T) {
	t.Parallel()
	var stories struct {
		Tests []struct {
			Tests []struct {
				Alert  string `json:"alertname"`
				Firing []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	lab.Check(t, yaml.Unmarshal([]byte(read(t, "testdata", "alerts.yaml")), &stories))
	firing, quiet := map[string]int{}, map[string]int{}
	for _, story := range stories.Tests {
		for _, test := range story.Tests {
			if len(test.Firing) > 0 {
				firing[test.Alert]++
			} else {
				quiet[test.Alert]++
			}
		}
	}
	for _, alert := range alerts(t) {
		if firing[alert.Alert] == 0 || quiet[alert.Alert] == 0 {
			t.Errorf("%s fires in %d tests and is quiet in %d", alert.Alert, firing[alert.Alert], quiet[alert.Alert])
		}
		delete(firing, alert.Alert)
		delete(quiet, alert.Alert)
	}
	maps.Copy(firing, quiet)
	if len(firing) > 0 {
		t.Errorf("tests of alerts that there are not: %v", firing)
	}
}

func TestChartAndKustomizeHaveTheSameAlerts(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(rulesIn(t, kustomize(t, "prometheus")), rulesIn(t, helm(t))); diff != "" {
		t.Errorf("make generate brings config/prometheus up to date (-config +chart):\n%s", diff)
	}
}

func TestTheChartTakesAnotherJobAndMoreLabels(t *testing.T) {
	t.Parallel()
	const ours, other = `job="payu-token-operator-metrics"`, `job="shard-one"`
	before := rulesIn(t, helm(t)).Groups[0]
	after := rulesIn(t, helm(t, "prometheusRule.job=shard-one,prometheusRule.alertLabels.team=payments,prometheusRule.alertLabels.severity=none")).Groups[0]
	for i, is := range after.Rules {
		was := before.Rules[i]
		if want := strings.ReplaceAll(was.Expr, ours, other); is.Expr != want || want == was.Expr {
			t.Errorf("%s: %s", is.Alert, is.Expr)
		}
		if is.Labels["team"] != "payments" || is.Labels["severity"] != was.Labels["severity"] {
			t.Errorf("%s: labels %v", is.Alert, is.Labels)
		}
	}
	if other := rulesIn(t, helm(t, "fullnameOverride=one")).Groups[0]; other.Name != "one" || !strings.Contains(other.Rules[0].Expr, `job="one-metrics"`) {
		t.Errorf("another release: group %s: %s", other.Name, other.Rules[0].Expr)
	}
}

// selector is a metric with its labels.
var selector = regexp.MustCompile(`([a-zA-Z_]+)\{([^}]*)\}`)

func TestEverySelectorOfTheAlertsNamesTheJob(t *testing.T) {
	t.Parallel()
	for _, alert := range alerts(t) {
		selectors := selector.FindAllStringSubmatch(alert.Expr, -1)
		if len(selectors) == 0 {
			t.Errorf("%s selects nothing", alert.Alert)
		}
		for _, s := range selectors {
			if !strings.HasPrefix(s[2], `job="payu-token-operator-metrics"`) {
				t.Errorf("%s: %s is that of any operator", alert.Alert, s[0])
			}
		}
	}
}

// TestEveryAlertHasItsRunbook, and every runbook its alert; docs/monitoring.md leads there.
func TestEveryAlertHasItsRunbook(t *testing.T) {
	t.Parallel()
	const base = "https://github.com/payu-token-operator/payu-token-operator/blob/main/docs/runbooks/"
	overview := read(t, root, "docs", "monitoring.md")
	var want []string
	for _, alert := range alerts(t) {
		page := alert.Alert + ".md"
		want = append(want, page)
		if got := alert.Annotations["runbook_url"]; got != base+page {
			t.Errorf("%s: runbook_url %q", alert.Alert, got)
		}
		if !strings.Contains(overview, "[`"+alert.Alert+"`](runbooks/"+page+") | "+alert.Labels["severity"]+" |") {
			t.Errorf("docs/monitoring.md has no line for %s, or another severity", alert.Alert)
		}
		expectOutline(t, page)
	}
	var got []string
	for _, entry := range lab.Must(os.ReadDir(filepath.Join(root, "docs", "runbooks")))(t) {
		got = append(got, entry.Name())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages in docs/runbooks (-alerts +pages):\n%s", diff)
	}
}

func expectOutline(t *testing.T, page string) {
	t.Helper()
	text := read(t, root, "docs", "runbooks", page)
	var headings []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			headings = append(headings, strings.TrimSpace(line))
		}
	}
	want := []string{"# " + strings.TrimSuffix(page, ".md"), "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"}
	if diff := cmp.Diff(want, headings); diff != "" {
		t.Errorf("%s (-want +got):\n%s", page, diff)
	}
}
