package monitoring_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// contract is the metrics that users may rely on, with their labels, le left out.
var contract = map[string][]string{
	"payu_token_expiration_timestamp_seconds": {"environment", "name", "namespace"},
	"payu_token_renewal_timestamp_seconds":    {"environment", "name", "namespace"},
	"payu_token_ready":                        {"environment", "name", "namespace"},
	"payu_token_suspended":                    {"environment", "name", "namespace"},
	"payu_token_requests_total":               {"environment", "outcome"},
	"payu_token_request_duration_seconds":     {"environment"},
	"payu_token_overdue":                      nil,
	"payu_token_deliveries_total":             {"outcome"},
}

// ofScrape are the labels that Prometheus adds, as docs/monitoring.md has it.
var ofScrape = []string{"__name__", "instance", "job", "le", "pod"}

// TestPrometheus has a real Prometheus scrape two replicas of the real operator, over TLS, as a ServiceAccount that may get
// /metrics by the shipped role and with the configuration of the docs, and looks at what it makes of it all.
func TestPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a control plane, two operators and Prometheus")
	}
	t.Parallel()
	const interval = time.Second
	s := play(t, timing{tokenLife: 20 * time.Second, margin: 2 * time.Second, scrape: interval})
	s.ask(v1alpha1.EnvironmentTest, "shop", "links")
	s.ask(v1alpha1.EnvironmentProduction, "bank", "refunds")
	s.suspend(s.ask(v1alpha1.EnvironmentTest, "shop", "paused"))
	s.payu.Inject(payutest.Fault{ClientID: "refused-merchant", Error: "invalid_client"})
	s.ask(v1alpha1.EnvironmentTest, "bank", "refused")

	s.expectTargets()
	s.expectContract()
	s.expectAlerts()
	s.expectVariables()
	s.expectData(interval)
	s.expectNumbers(map[string]float64{"Ready": 2, "Not ready": 1, "Suspended": 1, "Overdue by 10 minutes": 0})
	s.expectSelected()
	s.expectTakeover()
}

func (s *scene) expectTargets() {
	s.await("two targets are up", func() error {
		up, err := s.query(`up{job="payu-token-operator-metrics",pod=~"payu-token-operator-.+"} == 1`)
		if err != nil || len(up) != 2 {
			return fmt.Errorf("%v, %w", up, err)
		}
		return nil
	})
}

// expectContract compares the metrics that Prometheus has with those of the contract, and of the docs.
func (s *scene) expectContract() {
	s.await("metrics of all tokens", func() error {
		tokens, err := s.query(`count by (pod) (payu_token_ready) == 4`)
		if err != nil || len(tokens) != 2 {
			return fmt.Errorf("%v, %w", tokens, err)
		}
		return nil
	})
	var list []map[string]string
	lab.Check(s.T, s.decode("/api/v1/series", url.Values{"match[]": {`{__name__=~"payu_.*"}`}}, &list))
	got := map[string][]string{}
	for _, labels := range list {
		name := labels["__name__"]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if _, seen := got[name]; !seen {
			got[name] = nil
		}
		for label := range labels {
			if !slices.Contains(ofScrape, label) && !slices.Contains(got[name], label) {
				got[name] = append(got[name], label)
			}
		}
		slices.Sort(got[name])
	}
	if diff := cmp.Diff(contract, got); diff != "" {
		s.Errorf("metrics (-contract +got):\n%s", diff)
	}
	docs := read(s.T, root, "docs", "monitoring.md")
	for name, labels := range contract {
		if line := fmt.Sprintf("\n| `%s` | %s |", name, strings.Join(labels, ", ")); !strings.Contains(docs, line) {
			s.Errorf("docs/monitoring.md lacks%s", line)
		}
	}
}

// expectAlerts wants Prometheus to evaluate all rules, and one alert to be on its way.
func (s *scene) expectAlerts() {
	s.await("PayUTokenNotReady for bank/refused is pending, and all rules have been evaluated", func() error {
		var loaded struct {
			Groups []struct {
				Rules []struct {
					Name, Health, LastError string
					Alerts                  []struct{ Labels map[string]string }
				}
			}
		}
		if err := s.decode("/api/v1/rules", nil, &loaded); err != nil {
			return err
		}
		healthy, pending := 0, ""
		for _, group := range loaded.Groups {
			for _, rule := range group.Rules {
				if rule.Health == "ok" && rule.LastError == "" {
					healthy++
				}
				for _, alert := range rule.Alerts {
					if rule.Name == "PayUTokenNotReady" {
						pending += alert.Labels["namespace"] + "/" + alert.Labels["name"] + " "
					}
				}
			}
		}
		if want := len(alerts(s.T)); healthy != want || pending != "bank/refused " {
			return fmt.Errorf("%d of %d rules are healthy; pending: %s", healthy, want, pending)
		}
		return nil
	})
}

// expectSelected wants each metric that an alert or the dashboard selects to be one that Prometheus has.
func (s *scene) expectSelected() {
	var known []string
	lab.Check(s.T, s.decode("/api/v1/label/__name__/values", nil, &known))
	expected := map[string]string{}
	for _, alert := range alerts(s.T) {
		expected[alert.Alert] = alert.Expr
	}
	for _, p := range theDashboard(s.T).Panels {
		for _, target := range p.Targets {
			expected[p.Title+" "+target.RefID] = target.Expr
		}
	}
	for of, expr := range expected {
		names := selector.FindAllStringSubmatch(expr, -1)
		if len(names) == 0 {
			s.Errorf("%s selects nothing", of)
		}
		for _, name := range names {
			if !slices.Contains(known, name[1]) {
				s.Errorf("%s: there is no metric %s", of, name[1])
			}
		}
	}
}

// expectTakeover kills the leader, and wants Prometheus to see the other one lead, without a gap in what is known of tokens.
func (s *scene) expectTakeover() {
	first := lab.Must(s.leader())(s.T)
	s.replicas[first].Kill()
	s.await("the other replica leads", func() error {
		now, err := s.leader()
		if err == nil && now == first {
			err = fmt.Errorf("%s leads", now)
		}
		return err
	})
	gaps := lab.Must(s.query(`count_over_time((count(max by (namespace, name) (payu_token_ready)) != 4)[20s:1s])`))(s.T)
	if len(gaps) > 0 {
		s.Errorf("tokens were out of sight for %v s", gaps)
	}
}
