package monitoring_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// dashboard is what of Grafana's JSON can be wrong without Grafana noticing.
type dashboard struct {
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Datasource  struct {
		UID string `json:"uid"`
	} `json:"datasource"`
	GridPos struct{ X, Y, W, H int } `json:"gridPos"`
	Targets []target                 `json:"targets"`
}

type target struct {
	RefID   string `json:"refId"`
	Expr    string `json:"expr"`
	Instant bool   `json:"instant"`
}

func theDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	lab.Check(t, json.Unmarshal([]byte(read(t, root, "charts", operator, "files", "dashboard.json")), &d))
	if len(d.Panels) == 0 {
		t.Fatal("the dashboard has no panels")
	}
	return d
}

func TestTheDashboardIsWellMade(t *testing.T) {
	t.Parallel()
	ids, cells := map[int]string{}, map[[2]int]string{}
	for _, p := range theDashboard(t).Panels {
		if other, taken := ids[p.ID]; taken {
			t.Errorf("%s and %s have the same id", p.Title, other)
		}
		ids[p.ID] = p.Title
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken || x >= 24 {
					t.Fatalf("%s overlaps with %q, or is beside the grid", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: description %q, data source %q, %d queries", p.Title, p.Description, p.Datasource.UID, len(p.Targets))
		}
	}
}

func TestTheChartHandsTheDashboardOn(t *testing.T) {
	t.Parallel()
	file := read(t, root, "charts", operator, "files", "dashboard.json")
	object := find(t, helm(t, "grafanaDashboard.annotations.grafana_folder=Payments"), "ConfigMap")
	data := object.Object["data"].(map[string]any)
	if data["payu-token-operator.json"] != strings.TrimSpace(file) {
		t.Error("the ConfigMap does not hold the dashboard")
	}
	if object.GetLabels()["grafana_dashboard"] != "1" || object.GetAnnotations()["grafana_folder"] != "Payments" {
		t.Errorf("labels %v, annotations %v", object.GetLabels(), object.GetAnnotations())
	}
}

// asGrafana puts in what Grafana puts into a query: all values of the variables, and a few scrapes for a rate.
func asGrafana(expr string, interval time.Duration) string {
	return strings.NewReplacer("$job", ".*", "$namespace", ".*", "$environment", ".*", "$__rate_interval", (4 * interval).String()).Replace(expr)
}

// look runs a query of the dashboard over the time of the scene, as Grafana does. It returns an error if it gives no number.
func (s *scene) look(t target, interval time.Duration) error {
	var answer struct {
		Result []series `json:"result"`
	}
	now := time.Now()
	path, parameters := "/api/v1/query", url.Values{"query": {asGrafana(t.Expr, interval)}}
	if !t.Instant {
		path = "/api/v1/query_range"
		parameters.Set("start", s.began.Format(time.RFC3339))
		parameters.Set("end", now.Format(time.RFC3339))
		parameters.Set("step", interval.String())
	}
	if err := s.decode(path, parameters, &answer); err != nil {
		return err
	}
	for _, line := range answer.Result {
		for _, sample := range append(line.Values, line.Value) {
			if text, _ := sample[1].(string); text != "" && text != "NaN" {
				return nil
			}
		}
	}
	return fmt.Errorf("no data: %s", t.Expr)
}

// expectData wants each query of the dashboard to give data.
func (s *scene) expectData(interval time.Duration) {
	for _, p := range theDashboard(s.T).Panels {
		for _, target := range p.Targets {
			s.await("data for "+p.Title, func() error { return s.look(target, interval) })
		}
	}
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// expectVariables wants Grafana's variables to offer what there is.
func (s *scene) expectVariables() {
	want := map[string]string{"job": operator + "-metrics", "environment": "Production Test", "namespace": "bank shop"}
	for _, variable := range theDashboard(s.T).Templating.List {
		if variable.Type == "datasource" {
			continue
		}
		query, _ := variable.Query.(map[string]any)["query"].(string)
		parts := labelValues.FindStringSubmatch(query)
		if parts == nil {
			s.Errorf("variable %s: %s", variable.Name, query)
			continue
		}
		var values []string
		lab.Check(s.T, s.decode("/api/v1/label/"+parts[2]+"/values", url.Values{"match[]": {asGrafana(parts[1], 0)}}, &values))
		if got := strings.Join(values, " "); got != want[variable.Name] {
			s.Errorf("variable %s offers %s, want %s", variable.Name, got, want[variable.Name])
		}
		delete(want, variable.Name)
	}
	if len(want) > 0 {
		s.Errorf("no variables for %v", want)
	}
}

// expectNumbers reads what the panels at the top say.
func (s *scene) expectNumbers(want map[string]float64) {
	for _, p := range theDashboard(s.T).Panels {
		expected, known := want[p.Title]
		if !known {
			continue
		}
		s.await(p.Title, func() error {
			got, err := s.query(asGrafana(p.Targets[0].Expr, 0))
			if err != nil {
				return err
			}
			if len(got) != 1 || math.Abs(got[0].number()-expected) > 1e-9 {
				return fmt.Errorf("it shows %v, want %v", got, expected)
			}
			return nil
		})
		delete(want, p.Title)
	}
	if len(want) > 0 {
		s.Errorf("no panels: %v", want)
	}
}
