package controller

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// The outcomes of requests that gave a token. All others are failures, in snake case.
const (
	outcomeSuccess = "success"
	outcomeReused  = "reused"
)

// RequestMetrics count and time the requests to PayU.
type RequestMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewRequestMetrics returns RequestMetrics that are registered.
func NewRequestMetrics(registry prometheus.Registerer) *RequestMetrics {
	m := &RequestMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payu_token_requests_total",
			Help: "Token requests to PayU, by environment and outcome: success, reused (PayU issued the same token again), or the reason of the failure.",
		}, []string{"environment", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "payu_token_request_duration_seconds",
			Help:    "How long token requests to PayU took, from the connection to the last byte of the answer.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"environment"}),
	}
	registry.MustRegister(m.requests, m.duration)
	m.startAtZero()
	return m
}

// startAtZero makes all series: increase() would not see the first request of each, and requests are rare.
func (m *RequestMetrics) startAtZero() {
	for _, environment := range []v1alpha1.Environment{v1alpha1.EnvironmentTest, v1alpha1.EnvironmentProduction} {
		m.duration.WithLabelValues(string(environment))
		m.requests.WithLabelValues(string(environment), outcomeSuccess)
		m.requests.WithLabelValues(string(environment), outcomeReused)
		for _, reason := range payu.Reasons {
			m.requests.WithLabelValues(string(environment), snakeCase(string(reason)))
		}
	}
}

// Observe notes one request.
func (m *RequestMetrics) Observe(environment string, took time.Duration, reused bool, err *payu.Error) {
	outcome := outcomeSuccess
	switch {
	case err != nil:
		outcome = snakeCase(string(err.Reason))
	case reused:
		outcome = outcomeReused
	}
	m.requests.WithLabelValues(environment, outcome).Inc()
	m.duration.WithLabelValues(environment).Observe(took.Seconds())
}

// snakeCase turns InvalidClient into invalid_client, and OAuthError into oauth_error.
func snakeCase(reason string) string {
	var b strings.Builder
	for i, r := range strings.ReplaceAll(reason, "OAuth", "Oauth") {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

var (
	byToken        = []string{"namespace", "name", "environment"}
	expirationDesc = prometheus.NewDesc("payu_token_expiration_timestamp_seconds",
		"When the token in the target Secret expires, in seconds since 1970.", byToken, nil)
	renewalDesc = prometheus.NewDesc("payu_token_renewal_timestamp_seconds",
		"When the token in the target Secret is due to be renewed, in seconds since 1970. Its end, if PayU gives the same token again until then.", byToken, nil)
	readyDesc = prometheus.NewDesc("payu_token_ready",
		"1 if the target Secret holds a valid token, 0 if not.", byToken, nil)
	suspendedDesc = prometheus.NewDesc("payu_token_suspended",
		"1 if spec.suspend keeps the token from being renewed, 0 if not.", byToken, nil)
	overdueDesc = prometheus.NewDesc("payu_token_overdue",
		"How many tokens are past their renewal time, suspended ones left out.", nil, nil)
)

// TokenCollector describes the PayUTokens of a cache at the moment of the scrape, so that no series outlives its
// object.
type TokenCollector struct {
	Tokens client.Reader
	Clock  clock.PassiveClock
}

// Describe implements prometheus.Collector.
func (c TokenCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{expirationDesc, renewalDesc, readyDesc, suspendedDesc, overdueDesc} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c TokenCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var list v1alpha1.PayUTokenList
	if err := c.Tokens.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache is not started yet
	}
	now, overdue := c.Clock.Now(), 0
	for i := range list.Items {
		collectToken(ch, &list.Items[i], now)
		if isOverdue(&list.Items[i], now) {
			overdue++
		}
	}
	ch <- prometheus.MustNewConstMetric(overdueDesc, prometheus.GaugeValue, float64(overdue))
}

func collectToken(ch chan<- prometheus.Metric, obj *v1alpha1.PayUToken, now time.Time) {
	gauge := func(desc *prometheus.Desc, value float64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, obj.Namespace, obj.Name, string(obj.Spec.Environment))
	}
	gauge(readyDesc, number(isReady(obj, now)))
	gauge(suspendedDesc, number(obj.Spec.Suspend))
	if at := obj.Status.ExpiresAt; at != nil {
		gauge(expirationDesc, float64(at.Unix()))
	}
	if at := renewalOf(obj); at != nil {
		gauge(renewalDesc, float64(at.Unix()))
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// isReady reports whether the token is valid. The condition alone would stay True if nobody were left to renew it.
func isReady(obj *v1alpha1.PayUToken, now time.Time) bool {
	at := obj.Status.ExpiresAt
	return meta.IsStatusConditionTrue(obj.Status.Conditions, v1alpha1.ConditionReady) && at != nil && now.Before(at.Time)
}

// renewalOf returns when the token is due to be renewed. One that PayU gives again has no successor before its end.
func renewalOf(obj *v1alpha1.PayUToken) *metav1.Time {
	if c := meta.FindStatusCondition(obj.Status.Conditions, v1alpha1.ConditionRefreshed); c != nil && c.Reason == v1alpha1.ReasonTokenReused {
		return obj.Status.ExpiresAt
	}
	return obj.Status.RenewAt
}

func isOverdue(obj *v1alpha1.PayUToken, now time.Time) bool {
	past := func(at *metav1.Time) bool { return at != nil && at.Time.Before(now) }
	return !obj.Spec.Suspend && (past(renewalOf(obj)) || past(obj.Status.ExpiresAt))
}
