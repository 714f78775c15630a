package main_test

import (
	"crypto/tls"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// tlsClient does not ask who vouches for the server: the operator makes a certificate of its own.
func tlsClient(t *testing.T) *http.Client {
	client := plainClient(t)
	client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	return client
}

// scraper is a ServiceAccount that may get /metrics by the shipped role. It returns its token.
func scraper(t *testing.T) string {
	t.Helper()
	s := newShop(t)
	lab.Check(t, cluster.Client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "scraper-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "payu-token-operator-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: s.Namespace, Name: "scraper"}},
	}))
	return tokenOf(s, "scraper")
}

// tokenOf creates a ServiceAccount and returns a token for it.
func tokenOf(s *shop, name string) string {
	s.Helper()
	lab.Must(cluster.Kubectl(s.Context(), "create", "serviceaccount", name, "-n", s.Namespace))(s.T)
	return strings.TrimSpace(lab.Must(cluster.Kubectl(s.Context(), "create", "token", name, "-n", s.Namespace))(s.T))
}

// expectScrapes checks who gets metrics, and who does not, where the shipped roles are installed.
func expectScrapes(t *testing.T, address string) {
	t.Helper()
	client, url, token := tlsClient(t), "https://"+address+"/metrics", scraper(t)
	lab.AwaitTrue(t, "one who may get /metrics gets them", func() bool {
		status, body := get(client, url, token)
		return status == http.StatusOK && strings.Contains(body, "payu_token_ready")
	})
	for name, test := range map[string]struct {
		url, token string
		want       int
	}{
		"nobody":           {url, "", http.StatusUnauthorized},
		"an unknown token": {url, "unknown", http.StatusUnauthorized},
		"one who may not":  {url, tokenOf(newShop(t), "visitor"), http.StatusForbidden},
	} {
		if status, body := get(client, test.url, test.token); status != test.want || strings.Contains(body, "payu_token") {
			t.Errorf("%s: %d %s, want %d", name, status, body, test.want)
		}
	}
	if status, body := get(client, "http://"+address+"/metrics", token); status == http.StatusOK {
		t.Errorf("without TLS: %s", body)
	}
}

func TestMetricsNeedNoLoginWhereTheyAreNotSecure(t *testing.T) {
	t.Parallel()
	s, address := newShop(t), lab.Must(lab.FreeAddress())(t)
	launch(t, cluster.Kubeconfig, "--watch-namespaces="+s.Namespace, "--metrics-bind-address="+address, "--metrics-secure=false")
	lab.AwaitTrue(t, "metrics over plain http", func() bool {
		status, _ := get(plainClient(t), "http://"+address+"/metrics", "")
		return status == http.StatusOK
	})
	if status, body := get(tlsClient(t), "https://"+address+"/metrics", ""); status != 0 {
		t.Errorf("TLS is answered with %d %s", status, body)
	}
}

func TestMetricsCanBeOff(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o := launch(t, cluster.Kubeconfig, "--watch-namespaces="+s.Namespace, "--metrics-bind-address=0")
	o.Stop()
	if strings.Contains(o.Log.Text(), "metrics server") {
		t.Error("a metrics server was started")
	}
}

// TestMetricsWithoutTheRoleForThemTellNothing: Roles let the operator work, but not ask who scrapes.
func TestMetricsWithoutTheRoleForThemTellNothing(t *testing.T) {
	t.Parallel()
	s, address := newShop(t), lab.Must(lab.FreeAddress())(t)
	user, name := newServiceAccount(t, s.Namespace)
	s.grant(user, name, shippedRules(t))
	server := lab.RunPayU(t, payutest.Config{})
	o := launch(t, user.Kubeconfig, append(lab.Asking(server), "--watch-namespaces="+s.Namespace, "--metrics-bind-address="+address)...)
	s.create("links")
	s.AwaitReady("links")
	token := tokenOf(s, "scraper")
	var status int
	var body string
	lab.AwaitTrue(t, "an answer to a scrape", func() bool {
		status, body = get(tlsClient(t), "https://"+address+"/metrics", token)
		return status != 0
	})
	if status != http.StatusInternalServerError || strings.TrimSpace(body) != "Internal Server Error" {
		t.Errorf("status %d, body %s", status, body)
	}
	o.AwaitLog("tokenreviews")
}

// metrics are the values of all series, by name and labels as they are written: payu_token_ready{environment="Test",…}.
type metrics map[string]float64

var sample = regexp.MustCompile(`(?m)^([a-z_]+(?:{.*})?) (\S+)$`)

func scrapePlain(t *testing.T, client *http.Client, address string) metrics {
	t.Helper()
	_, body := get(client, "http://"+address+"/metrics", "")
	m := metrics{}
	for _, line := range sample.FindAllStringSubmatch(body, -1) {
		m[line[1]] = lab.Must(strconv.ParseFloat(line[2], 64))(t)
	}
	return m
}

func (s *shop) series(metric, name string) string {
	return metric + `{environment="Test",name="` + name + `",namespace="` + s.Namespace + `"}`
}

// of returns the series of the contract's metrics that hold a text.
func (m metrics) of(text string) []string {
	var list []string
	for series := range m {
		if strings.HasPrefix(series, "payu_token") && strings.Contains(series, text) {
			list = append(list, series)
		}
	}
	slices.Sort(list)
	return list
}

func TestMetricsTellOfTokensAndRequests(t *testing.T) {
	t.Parallel()
	s, address, client := newShop(t), lab.Must(lab.FreeAddress())(t), plainClient(t)
	server := lab.RunPayU(t, payutest.Config{Mode: payutest.Reuse})
	s.operate(server, "--metrics-bind-address="+address, "--metrics-secure=false")
	awaitMetrics := func(what string, look func(metrics) bool) metrics {
		t.Helper()
		var m metrics
		lab.AwaitTrue(t, what, func() bool { m = scrapePlain(t, client, address); return look(m) })
		return m
	}
	outcome := func(o string) string { return `payu_token_requests_total{environment="Test",outcome="` + o + `"}` }

	s.create("links")
	s.AwaitReady("links")
	m := awaitMetrics("the token is ready", func(m metrics) bool { return m[s.series("payu_token_ready", "links")] == 1 })
	status := s.Token("links").Status
	for series, want := range map[string]float64{
		s.series("payu_token_expiration_timestamp_seconds", "links"):             float64(status.ExpiresAt.Unix()),
		s.series("payu_token_renewal_timestamp_seconds", "links"):                float64(status.RenewAt.Unix()),
		`payu_token_request_duration_seconds_count{environment="Test"}`:          1,
		`payu_token_request_duration_seconds_bucket{environment="Test",le="10"}`: 1,
		outcome("success"):   1,
		"payu_token_overdue": 0,
	} {
		if got, ok := m[series]; !ok || got != want {
			t.Errorf("%s is %v (there: %t), want %v", series, got, ok, want)
		}
	}
	if sum := m[`payu_token_request_duration_seconds_sum{environment="Test"}`]; sum <= 0 || math.IsNaN(sum) || sum > time.Minute.Seconds() {
		t.Errorf("the requests took %v s", sum)
	}

	s.Change("links", lab.Refresh("once"))
	awaitMetrics("PayU gave the token again", func(m metrics) bool { return m[outcome("reused")] == 1 })
	s.Credentials("wrong", lab.Merchant, "wrong")
	s.create("refused", lab.With("wrong"))
	m = awaitMetrics("a refusal", func(m metrics) bool {
		ready, there := m[s.series("payu_token_ready", "refused")]
		return m[outcome("invalid_client")] == 1 && there && ready == 0
	})
	if never := s.series("payu_token_expiration_timestamp_seconds", "refused"); slices.Contains(m.of("refused"), never) {
		t.Error("a token that never was has an expiry")
	}
	server.Inject(payutest.Fault{Error: "rate_limit_exceeded", Times: 1})
	s.Change("links", lab.Refresh("twice"))
	awaitMetrics("a limit", func(m metrics) bool { return m[outcome("rate_limited")] == 1 })

	lab.Check(t, cluster.Client.Delete(s.Context(), s.Token("links")))
	m = awaitMetrics("no series of a PayUToken that is gone", func(m metrics) bool { return len(m.of(`name="links"`)) == 0 })
	if len(m.of(`name="refused"`)) == 0 || m[outcome("success")] != 1 {
		t.Errorf("other series are gone, too: %v", m.of(""))
	}
}
