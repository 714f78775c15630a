package controller

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

var errQuota = apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "links", nil)

// TestEveryReason produces every reason of the contract on a real API server.
func TestEveryReason(t *testing.T) {
	t.Parallel()
	fault := func(f payutest.Fault) func(*world) { return func(w *world) { w.payu.Inject(f) } }
	refused := func(reason string) string {
		return "Ready=False/" + reason + " Refreshed=False/" + reason + " Stalled=True/" + reason
	}
	failing := func(reason string) string { return "Ready=False/" + reason + " Refreshed=False/" + reason }
	tests := map[string]struct {
		given    func(*world)
		edit     edit
		want     string
		requests int
	}{
		"TokenValid, Succeeded":  {want: good, requests: 1},
		"InvalidClient":          {given: fault(payutest.Fault{Error: "invalid_client"}), want: refused("InvalidClient"), requests: 1},
		"InvalidScope":           {given: fault(payutest.Fault{Error: "invalid_scope"}), want: refused("InvalidScope"), requests: 1},
		"UnauthorizedClient":     {given: fault(payutest.Fault{Error: "unauthorized_client"}), want: refused("UnauthorizedClient"), requests: 1},
		"InvalidRequest":         {given: fault(payutest.Fault{Error: "invalid_request"}), want: refused("InvalidRequest"), requests: 1},
		"UnsupportedGrantType":   {given: fault(payutest.Fault{Error: "unsupported_grant_type"}), want: refused("UnsupportedGrantType"), requests: 1},
		"RateLimited":            {given: fault(payutest.Fault{Error: "rate_limit_exceeded"}), want: failing("RateLimited"), requests: 1},
		"RateLimited: slow_down": {given: fault(payutest.Fault{Error: "slow_down"}), want: failing("RateLimited"), requests: 1},
		"RateLimited: 429":       {given: fault(payutest.Fault{Status: 429}), want: failing("RateLimited"), requests: 1},
		"ServerError":            {given: fault(payutest.Fault{Error: "server_error"}), want: failing("ServerError"), requests: 1},
		"ServerError: 502":       {given: fault(payutest.Fault{Status: 502, Body: "<html>"}), want: failing("ServerError"), requests: 1},
		"ServerError: reuse":     {given: fault(payutest.Fault{Error: "invalid_token_reuse"}), want: failing("ServerError"), requests: 1},
		"OAuthError":             {given: fault(payutest.Fault{Error: "something_new"}), want: failing("OAuthError"), requests: 1},
		"Unreachable":            {given: fault(payutest.Fault{Break: payutest.BreakReset}), want: failing("Unreachable"), requests: 1},
		"InvalidResponse":        {given: fault(payutest.Fault{Body: "<html>Sign in</html>", Status: 200}), want: failing("InvalidResponse"), requests: 1},
		"InvalidResponse: expires_in": {given: fault(payutest.Fault{Set: map[string]json.RawMessage{"expires_in": json.RawMessage("0")}}),
			want: failing("InvalidResponse"), requests: 1},
		"ScopeReduced": {given: fault(payutest.Fault{Grant: []string{"read_payment_links"}}), want: refused("ScopeReduced"), requests: 1},
		"CredentialsNotFound: no Secret": {given: func(w *world) { w.delete(named("payu-credentials")) },
			want: refused("CredentialsNotFound")},
		"CredentialsNotFound: no key": {edit: func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.ClientIDKey = "id" },
			want: refused("CredentialsNotFound")},
		"CredentialsInvalid: empty": {given: func(w *world) { w.credentials("payu-credentials", "merchant", "\n") },
			want: refused("CredentialsInvalid")},
		"CredentialsInvalid: odd byte": {given: func(w *world) { w.credentials("payu-credentials", "merchant", "a\nb") },
			want: refused("CredentialsInvalid")},
		"TargetConflict: foreign": {given: func(w *world) { w.apply(foreign(w, "links")) }, want: refused("TargetConflict")},
		"TargetConflict: rival": {given: func(w *world) { w.create("elder", targeting("links")); w.clockOfAPIServer() },
			want: refused("TargetConflict"), requests: 1},
		"TargetWriteFailed: refused": {given: func(w *world) { w.faults.set(nil, func(string) error { return errQuota }) },
			want: refused("TargetWriteFailed")},
		"TemplateInvalid": {edit: func(p *v1alpha1.PayUToken) {
			p.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{"x": "{{ .RefreshToken }}"}
		}, want: refused("TemplateInvalid")},
		"Suspended": {edit: func(p *v1alpha1.PayUToken) { p.Spec.Suspend = true }, want: failing("Suspended")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{})
			w.credentials("payu-credentials", "merchant", secretOne)
			if test.given != nil {
				test.given(w)
			}
			if test.edit == nil {
				test.edit = func(*v1alpha1.PayUToken) {}
			}
			w.create("links", test.edit)
			w.run()
			w.expectConditions("links", test.want)
			w.expectRequests(test.requests)
			w.expectPlainMessages("links")
			if len(w.wakeAt) == 0 {
				t.Error("nothing wakes this PayUToken again")
			}
		})
	}
}

func foreign(w *world, name string) *corev1.Secret {
	s := named(name)
	s.Namespace, s.Data = w.namespace, map[string][]byte{"theirs": []byte("1")}
	return s
}

// clockOfAPIServer waits for the API server's clock, which counts whole seconds, to show a later time.
func (w *world) clockOfAPIServer() {
	w.Helper()
	elder := w.token("elder").CreationTimestamp
	for time.Since(elder.Time) < time.Second {
		probe := named("probe")
		w.delete(probe)
		w.apply(foreign(w, "probe"))
	}
}

// expectPlainMessages checks that messages are one line without secrets, times or counters.
func (w *world) expectPlainMessages(name string) {
	w.Helper()
	for _, c := range w.token(name).Status.Conditions {
		for _, never := range append([]string{"\n", secretOne, "wrong", "<html>", "2026"}, w.everyToken()...) {
			if strings.Contains(c.Message, never) {
				w.Errorf("message of %s holds %q: %s", c.Type, never, c.Message)
			}
		}
		if c.Message == "" || strings.HasSuffix(c.Message, ".") {
			w.Errorf("message of %s: %q", c.Type, c.Message)
		}
	}
}

func (w *world) everyToken() []string {
	var list []string
	for _, issued := range w.payu.Issued() {
		list = append(list, issued.Token)
	}
	return list
}

func TestAForeignSecretIsNeverTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.apply(foreign(w, "links"))
	before := w.secret("links")
	w.create("links")
	w.run()
	w.pass(3 * time.Hour)
	if after := w.secret("links"); after.ResourceVersion != before.ResourceVersion {
		t.Error("a foreign Secret was changed")
	}
	w.expectRequests(0)
	w.delete(named("links"))
	w.run()
	w.expectConditions("links", good)
}

func TestAnImmutableSecretIsTargetWriteFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	secret := w.secret("links")
	secret.Immutable = ptr.To(true)
	w.must(w.user.Update(w.ctx, secret))
	w.run()
	w.expectConditions("links", good)
	w.pass(90 * time.Minute)
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/TargetWriteFailed Stalled=True/TargetWriteFailed")
	w.expectRequests(1)
	w.delete(named("links"))
	w.run()
	w.pass(6 * time.Minute)
	w.expectConditions("links", good)
	w.expectLive("links")
	w.expectRequests(2)
}

func TestTokenReused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.Reuse})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	version := w.secret("links").ResourceVersion
	w.pass(100 * time.Minute)
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=True/TokenReused")
	if w.secret("links").ResourceVersion != version {
		t.Error("a reused token was written")
	}
}
