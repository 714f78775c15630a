package main

import (
	"math"
	"os"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []float64
		q      float64
		want   float64
	}{
		{"of nothing", nil, 0.5, 0},
		{"of one", []float64{7}, 0.95, 7},
		{"median of an odd number, in any order", []float64{9, 1, 5}, 0.5, 5},
		{"median of an even number lies between two", []float64{4, 1, 3, 2}, 0.5, 2.5},
		{"least", []float64{3, 1, 2}, 0, 1},
		{"most", []float64{3, 1, 2}, 1, 3},
		{"one outlier in 21 is beyond 95 of 100", append(make([]float64, 20), 1000), 0.95, 0},
		{"three outliers in 21 are not", append(make([]float64, 18), 1000, 1000, 1000), 0.95, 1000},
	} {
		if got := quantile(c.values, c.q); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := median([]time.Duration{time.Second, 2 * time.Second}); got != 1500*time.Millisecond {
		t.Errorf("median of durations: %v", got)
	}
	values := []float64{3, 1, 2}
	if quantile(values, 0.5); values[0] != 3 {
		t.Error("the values were sorted in place")
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		name   string
		points []point
		want   line
	}{
		{"nothing", nil, line{}},
		{"one point", []point{{5, 40}}, line{base: 40}},
		{"one x", []point{{5, 40}, {5, 60}}, line{base: 50}},
		{"a line", []point{{0, 40}, {10, 60}, {30, 100}}, line{base: 40, slope: 2}},
		{"a line that falls", []point{{0, 10}, {5, 0}}, line{base: 10, slope: -2}},
		{"errors that cancel out", []point{{0, 1}, {0, -1}, {10, 11}, {10, 9}}, line{slope: 1}},
	} {
		got := fit(c.points)
		if math.Abs(got.base-c.want.base) > 1e-9 || math.Abs(got.slope-c.want.slope) > 1e-9 {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestTicksIn(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9"
	for _, name := range []string{"manager", "a) (b", "with space"} {
		if ticks, err := ticksIn("4711 (" + name + ")" + rest); err != nil || ticks != 300 {
			t.Errorf("%s: %d, %v", name, ticks, err)
		}
	}
	if _, err := ticksIn("4711 (manager) S 1 2"); err == nil {
		t.Error("a line that is too short is no error")
	}
}

func TestKilobytesIn(t *testing.T) {
	const status = "Name:\tmanager\nVmHWM:\t   51200 kB\nVmRSS:\t   40960 kB\n"
	if got := kilobytesIn(status, "VmRSS:"); got != 40960 {
		t.Errorf("VmRSS is %v kB", got)
	}
	if got := kilobytesIn(status, "VmSwap:"); got != 0 {
		t.Errorf("what is not there is %v kB", got)
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	before := mustUsage(t)
	block := make([]byte, 64<<20)
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
		for i := 0; i < len(block); i += 4096 {
			block[i]++
		}
	}
	after := mustUsage(t)
	if after.cpu <= before.cpu {
		t.Errorf("CPU time %v, then %v", before.cpu, after.cpu)
	}
	if grown := after.most - before.most; grown < 32<<20 {
		t.Errorf("after 64 MiB were written, the peak has grown by %s", mebibytes(grown))
	}
	if len(block) == 0 || after.resident <= 0 || after.resident > after.most {
		t.Errorf("%s are resident, with a peak of %s", mebibytes(after.resident), mebibytes(after.most))
	}
}

func TestSumsIn(t *testing.T) {
	const page = `# HELP payu_token_ready 1 if
# TYPE payu_token_ready gauge
payu_token_ready{environment="Test",name="a",namespace="n"} 1
payu_token_ready{environment="Test",name="b",namespace="n"} 0
payu_token_ready{environment="Test",name="c",namespace="n"} 1
workqueue_depth{controller="payutoken",name="payutoken",priority="0"} 3
payu_token_overdue 1e+03
`
	sums := sumsIn(page)
	for name, want := range map[string]float64{"payu_token_ready": 2, "workqueue_depth": 3, "payu_token_overdue": 1000, "absent": 0} {
		if sums[name] != want {
			t.Errorf("%s: %v, want %v", name, sums[name], want)
		}
	}
}

func TestCountCalls(t *testing.T) {
	const log = `{"verb":"patch","requestURI":"/api/v1/namespaces/n/secrets/s?dryRun=All","objectRef":{"resource":"secrets"},"responseStatus":{"code":201}}
{"verb":"patch","requestURI":"/api/v1/namespaces/n/secrets/s","objectRef":{"resource":"secrets"},"responseStatus":{"code":201}}
{"verb":"patch","requestURI":"/apis/auth.payu.in/v1alpha1/namespaces/n/payutokens/s/status","objectRef":{"apiGroup":"auth.payu.in","resource":"payutokens","subresource":"status"},"responseStatus":{"code":200}}
{"verb":"patch","requestURI":"/api/v1/namespaces/n/secrets/t","objectRef":{"resource":"secrets"},"responseStatus":{"code":409}}
{"verb":"get","requestURI":"/api/v1/namespaces/n/secrets/c","objectRef":{"resource":"secrets"},"responseStatus":{"code":200}}
{"verb":"get","requestURI":"/api/v1/namespaces/n/secrets/d","objectRef":{"resource":"secrets"},"responseStatus":{"code":200}}
{"verb":"watch","requestURI":"/api/v1/secrets?watch=true","objectRef":{"resource":"secrets"},"responseStatus":{"code":200}}
{"verb":"list","requestURI":"/api/v1/secrets","objectRef":{"resource":"secrets"},"responseStatus":{"code":200}}
{"verb":"update","requestURI":"/apis/coordination.k8s.io/v1/leases/l","objectRef":{"apiGroup":"coordination.k8s.io","resource":"leases"},"responseStatus":{"code":200}}
{"verb":"create","requestURI":"/apis/authorization.k8s.io/v1/r","objectRef":{"apiGroup":"authorization.k8s.io","resource":"selfsubjectaccessreviews"},"responseStatus":{"code":201}}
{"verb":"get","requestURI":"/api","responseStatus":{"code":200}}
`
	work, other, err := countCalls([]byte(log))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := work.each(1), "2 get secrets, 1 patch payutokens/status, 1 patch secrets, 1 patch secrets (dry run), 1 patch secrets [409]"; got != want {
		t.Errorf("work: %s\nwant: %s", got, want)
	}
	if got, want := work.each(4), "0.5 get secrets, 0.25 patch payutokens/status, 0.25 patch secrets, 0.25 patch secrets (dry run), 0.25 patch secrets [409]"; got != want {
		t.Errorf("for each of 4: %s\nwant: %s", got, want)
	}
	if work.total() != 6 || other.total() != 5 {
		t.Errorf("%d and %d requests, want 6 and 5", work.total(), other.total())
	}
	if _, _, err := countCalls([]byte("no JSON\n")); err == nil {
		t.Error("a line that is no JSON is no error")
	}
}

func mustUsage(t *testing.T) usage {
	t.Helper()
	u, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return u
}
