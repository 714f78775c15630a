package main_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// TestNeitherSecretsNorTokensAreTold has everything go wrong that could make the operator talk, PayU that repeats the
// secret included, and then reads all that it has said.
func TestNeitherSecretsNorTokensAreTold(t *testing.T) {
	t.Parallel()
	const wrongSecret = "wr0ng+%26=/two"
	s := newShop(t)
	server := runPayU(t, payutest.Config{})
	o := s.operate(server, "--log-level=debug")
	s.create("links")
	s.awaitReady("links")
	s.credentials("wrong", merchant, wrongSecret)
	s.create("refused", credentialsOf("wrong"))
	s.awaitCondition("refused", "Ready=False/InvalidClient")
	for _, trouble := range []struct {
		reason string
		fault  payutest.Fault
	}{
		{"ScopeReduced", payutest.Fault{Grant: []string{"read_payment_links"}}},
		{"InvalidResponse", payutest.Fault{Set: map[string]json.RawMessage{"expires_in": json.RawMessage("0")}}},
		{"InvalidScope", payutest.Fault{Error: "invalid_scope", Description: "not for " + merchantSecret}},
		{"ServerError", payutest.Fault{Status: 502, Body: "<html>" + merchantSecret + "</html>"}},
		{"OAuthError", payutest.Fault{Error: "leaked_" + merchantSecret}},
	} {
		trouble.fault.Times = 1
		server.Inject(trouble.fault)
		s.change("links", refresh(trouble.reason))
		s.awaitCondition("links", "Refreshed=False/"+trouble.reason)
	}
	s.change("links", refresh("again"))
	s.awaitCondition("links", "Refreshed=True/Succeeded")
	secret := s.secret("links")
	secret.Immutable = ptr.To(true)
	check(t, cluster.Client.Update(t.Context(), secret))
	s.change("links", refresh("refused by the API server"))
	s.awaitCondition("links", "Refreshed=False/TargetWriteFailed")
	s.create("templated", target("templated"), func(p *v1alpha1.PayUToken) {
		p.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{"x": "{{ index .AccessToken 100000 }}{{ .AccessToken.Value }}"}
	})
	s.awaitCondition("templated", "Ready=False/TemplateInvalid")
	o.stop()

	said := o.log.text()
	if !strings.Contains(said, `"level":"DEBUG`) {
		t.Error("nothing was logged at debug level")
	}
	said += must(cluster.Kubectl(t.Context(), "get", "payutokens,events", "-n", s.namespace, "-o", "yaml"))(t)
	never := []string{merchantSecret, wrongSecret}
	for _, issued := range server.Issued() {
		never = append(never, issued.Token)
	}
	if len(never) < 5 {
		t.Errorf("only %d tokens were issued", len(never)-2)
	}
	for _, value := range never {
		for form, text := range map[string]string{
			"as it is": value, "in base64": base64.StdEncoding.EncodeToString([]byte(value)), "as in a URL": url.QueryEscape(value),
			"in base64 for URLs": base64.RawURLEncoding.EncodeToString([]byte(value)),
		} {
			if at := strings.Index(said, text); at >= 0 {
				t.Errorf("%q was told %s: …%s…", value, form, said[max(0, at-200):min(len(said), at+100)])
			}
		}
	}
}
