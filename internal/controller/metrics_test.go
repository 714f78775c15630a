package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// series returns what a registry holds, by name and labels: payu_token_ready{environment=Test,name=links,…}. Of a
// histogram it returns the count and the sum.
func series(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			name := func(suffix string) string {
				return family.GetName() + suffix + "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.GetHistogram() != nil:
				values[name("_count")] = float64(m.GetHistogram().GetSampleCount())
				values[name("_sum")] = m.GetHistogram().GetSampleSum()
			case m.GetCounter() != nil:
				values[name("")] = m.GetCounter().GetValue()
			default:
				values[name("")] = m.GetGauge().GetValue()
			}
		}
	}
	return values
}

// cached are the PayUTokens of a cache, or its error.
type cached struct {
	client.Reader
	tokens []v1alpha1.PayUToken
	err    error
}

func (c cached) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.PayUTokenList).Items = c.tokens
	return c.err
}

func collected(t *testing.T, c cached) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(TokenCollector{Tokens: c, Clock: clocktesting.NewFakePassiveClock(start)})
	return series(t, registry)
}

// observed is a PayUToken with a status: Ready or not, renewed and expiring so long after the present.
func observed(name string, ready metav1.ConditionStatus, renew, expire time.Duration) v1alpha1.PayUToken {
	token := v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	token.Spec.Environment = v1alpha1.EnvironmentTest
	token.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready}}
	token.Status.RenewAt, token.Status.ExpiresAt = timeOf(start.Add(renew)), timeOf(start.Add(expire))
	return token
}

func TestTheCollectorTellsOfEveryToken(t *testing.T) {
	t.Parallel()
	fresh := v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: "bank", Name: "fresh"}}
	fresh.Spec.Environment = v1alpha1.EnvironmentProduction
	got := collected(t, cached{tokens: []v1alpha1.PayUToken{observed("links", metav1.ConditionTrue, time.Hour, 2*time.Hour), fresh}})
	links, unix := "{environment=Test,name=links,namespace=shop}", float64(start.Unix())
	want := map[string]float64{
		"payu_token_ready" + links:                        1,
		"payu_token_suspended" + links:                    0,
		"payu_token_renewal_timestamp_seconds" + links:    unix + 3600,
		"payu_token_expiration_timestamp_seconds" + links: unix + 7200,

		"payu_token_ready{environment=Production,name=fresh,namespace=bank}":     0,
		"payu_token_suspended{environment=Production,name=fresh,namespace=bank}": 0,
		"payu_token_overdue{}": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

func TestNothingIsToldOfTokensThatAreGoneOrUnknown(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(map[string]float64{"payu_token_overdue{}": 0}, collected(t, cached{})); diff != "" {
		t.Errorf("without PayUTokens (-want +got):\n%s", diff)
	}
	broken := cached{err: errors.New("the cache is not started"), tokens: []v1alpha1.PayUToken{observed("links", metav1.ConditionTrue, 0, 0)}}
	if got := collected(t, broken); len(got) > 0 {
		t.Errorf("before the cache is filled: %v", got)
	}
}

func TestOverdueCountsTokensPastTheirRenewal(t *testing.T) {
	t.Parallel()
	const soon, past = time.Minute, -time.Second
	for name, test := range map[string]struct {
		renew, expire time.Duration
		edit          func(*v1alpha1.PayUToken)
		want          float64
	}{
		"neither is reached":         {renew: soon, expire: time.Hour},
		"renewal is now":             {renew: 0, expire: time.Hour},
		"renewal is past":            {renew: past, expire: time.Hour, want: 1},
		"both are past":              {renew: 2 * past, expire: past, want: 1},
		"expired, without a renewal": {expire: past, edit: func(p *v1alpha1.PayUToken) { p.Status.RenewAt = nil }, want: 1},
		"suspended":                  {renew: past, expire: past, edit: func(p *v1alpha1.PayUToken) { p.Spec.Suspend = true }},
		"reused, alive":              {renew: past, expire: soon, edit: reused},
		"reused, expired":            {renew: past, expire: past, edit: reused, want: 1},
		"never had a token":          {edit: func(p *v1alpha1.PayUToken) { p.Status = v1alpha1.PayUTokenStatus{} }},
	} {
		t.Run(name, func(t *testing.T) {
			token := observed("links", metav1.ConditionTrue, test.renew, test.expire)
			if test.edit != nil {
				test.edit(&token)
			}
			if got := collected(t, cached{tokens: []v1alpha1.PayUToken{token}})["payu_token_overdue{}"]; got != test.want {
				t.Errorf("overdue %v, want %v", got, test.want)
			}
		})
	}
}

// reused makes a token one that PayU gives again until its end.
func reused(p *v1alpha1.PayUToken) {
	p.Status.Conditions = append(p.Status.Conditions,
		metav1.Condition{Type: v1alpha1.ConditionRefreshed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenReused})
}

func TestAReusedTokenIsRenewedAtItsEnd(t *testing.T) {
	t.Parallel()
	token := observed("links", metav1.ConditionTrue, -time.Minute, time.Hour)
	reused(&token)
	got := collected(t, cached{tokens: []v1alpha1.PayUToken{token}})
	const series = "payu_token_renewal_timestamp_seconds{environment=Test,name=links,namespace=shop}"
	if want := float64(start.Add(time.Hour).Unix()); got[series] != want {
		t.Errorf("renewal at %v, want %v", got[series], want)
	}
}

func TestReadyIsOneOnlyWhileTheConditionIsTrueAndTheTokenLives(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status metav1.ConditionStatus
		life   time.Duration
		want   float64
	}{
		{metav1.ConditionTrue, time.Second, 1},
		{metav1.ConditionTrue, 0, 0}, // nobody has looked at it since
		{metav1.ConditionTrue, -time.Hour, 0},
		{metav1.ConditionFalse, time.Hour, 0},
		{metav1.ConditionUnknown, time.Hour, 0},
	} {
		got := collected(t, cached{tokens: []v1alpha1.PayUToken{observed("links", test.status, time.Hour, test.life)}})
		if ready := got["payu_token_ready{environment=Test,name=links,namespace=shop}"]; ready != test.want {
			t.Errorf("Ready %s with %s left counts %v, want %v", test.status, test.life, ready, test.want)
		}
	}
}

func TestSuspendedTokensAreToldFromOthers(t *testing.T) {
	t.Parallel()
	suspended := observed("links", metav1.ConditionTrue, time.Hour, time.Hour)
	suspended.Spec.Suspend = true
	got := collected(t, cached{tokens: []v1alpha1.PayUToken{suspended, observed("refunds", metav1.ConditionTrue, time.Hour, time.Hour)}})
	for name, want := range map[string]float64{"links": 1, "refunds": 0} {
		if is := got["payu_token_suspended{environment=Test,name="+name+",namespace=shop}"]; is != want {
			t.Errorf("%s is %v, want %v", name, is, want)
		}
	}
}

// outcomes are the reasons of requests as the contract writes them in metrics.
var outcomes = map[payu.Reason]string{
	payu.InvalidClient:        "invalid_client",
	payu.InvalidScope:         "invalid_scope",
	payu.UnauthorizedClient:   "unauthorized_client",
	payu.InvalidRequest:       "invalid_request",
	payu.UnsupportedGrantType: "unsupported_grant_type",
	payu.RateLimited:          "rate_limited",
	payu.ServerError:          "server_error",
	payu.OAuthError:           "oauth_error",
	payu.Unreachable:          "unreachable",
	payu.InvalidResponse:      "invalid_response",
	payu.ScopeReduced:         "scope_reduced",
}

func TestRequestsAreCountedByOutcomeAndTimed(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	m := NewRequestMetrics(registry)
	want := map[string]float64{}
	for _, environment := range []string{"Test", "Production"} {
		want["payu_token_request_duration_seconds_count{environment="+environment+"}"] = 0
		want["payu_token_request_duration_seconds_sum{environment="+environment+"}"] = 0
		want[requests(environment, "success")], want[requests(environment, "reused")] = 0, 0
		for _, outcome := range outcomes {
			want[requests(environment, outcome)] = 0
		}
	}
	if diff := cmp.Diff(want, series(t, registry)); diff != "" {
		t.Errorf("before any request (-want +got):\n%s", diff)
	}
	m.Observe("Test", time.Second, false, nil)
	m.Observe("Test", 2*time.Second, false, nil)
	m.Observe("Test", 3*time.Second, true, nil)
	maps.Copy(want, map[string]float64{
		requests("Test", "success"):                                   2,
		requests("Test", "reused"):                                    1,
		"payu_token_request_duration_seconds_count{environment=Test}": 3,
		"payu_token_request_duration_seconds_sum{environment=Test}":   6,

		"payu_token_request_duration_seconds_count{environment=Production}": float64(len(outcomes)),
		"payu_token_request_duration_seconds_sum{environment=Production}":   float64(len(outcomes)) / 2,
	})
	for reason, outcome := range outcomes {
		m.Observe("Production", time.Second/2, false, &payu.Error{Reason: reason})
		want[requests("Production", outcome)] = 1
	}
	if diff := cmp.Diff(want, series(t, registry)); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

func requests(environment, outcome string) string {
	return fmt.Sprintf("payu_token_requests_total{environment=%s,outcome=%s}", environment, outcome)
}

func TestSnakeCase(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		v1alpha1.ReasonTokenValid:          "token_valid",
		v1alpha1.ReasonSucceeded:           "succeeded",
		v1alpha1.ReasonTokenReused:         "token_reused",
		v1alpha1.ReasonCredentialsNotFound: "credentials_not_found",
		v1alpha1.ReasonCredentialsInvalid:  "credentials_invalid",
		v1alpha1.ReasonTargetConflict:      "target_conflict",
		v1alpha1.ReasonTargetWriteFailed:   "target_write_failed",
		v1alpha1.ReasonTemplateInvalid:     "template_invalid",
		v1alpha1.ReasonSuspended:           "suspended",
		"":                                 "",
	} {
		if got := snakeCase(reason); got != want {
			t.Errorf("%s is %s, want %s", reason, got, want)
		}
	}
}

// TestEveryReasonOfPayUIsAReasonOfTheAPI: conditions take the reasons of requests as they are.
func TestEveryReasonOfPayUIsAReasonOfTheAPI(t *testing.T) {
	t.Parallel()
	api := []string{
		v1alpha1.ReasonInvalidClient, v1alpha1.ReasonInvalidScope, v1alpha1.ReasonUnauthorizedClient, v1alpha1.ReasonInvalidRequest,
		v1alpha1.ReasonUnsupportedGrantType, v1alpha1.ReasonRateLimited, v1alpha1.ReasonServerError, v1alpha1.ReasonOAuthError,
		v1alpha1.ReasonUnreachable, v1alpha1.ReasonInvalidResponse, v1alpha1.ReasonScopeReduced,
	}
	for _, reason := range api {
		if outcomes[payu.Reason(reason)] == "" {
			t.Errorf("no request ends with %s", reason)
		}
	}
	if len(api) != len(outcomes) {
		t.Errorf("%d reasons of requests, %d of the API", len(outcomes), len(api))
	}
}
