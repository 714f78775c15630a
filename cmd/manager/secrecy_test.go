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
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestNeitherSecretsNorTokensAreTold has everything go wrong that could make the operator talk, PayU that repeats the
// secret included, and then reads all that it has said.
func TestNeitherSecretsNorTokensAreTold(t *testing.T) {
	t.Parallel()
	const wrongSecret = "wr0ng+%26=/two"
	s := newShop(t)
	server := lab.RunPayU(t, payutest.Config{})
	o := s.operate(server, "--log-level=debug")
	s.create("links")
	s.AwaitReady("links")
	s.Credentials("wrong", lab.Merchant, wrongSecret)
	s.create("refused", lab.With("wrong"))
	s.AwaitCondition("refused", "Ready=False/InvalidClient")
	for _, trouble := range []struct {
		reason string
		fault  payutest.Fault
	}{
		{"ScopeReduced", payutest.Fault{Grant: []string{"read_payment_links"}}},
		{"InvalidResponse", payutest.Fault{Set: map[string]json.RawMessage{"expires_in": json.RawMessage("0")}}},
		{"InvalidScope", payutest.Fault{Error: "invalid_scope", Description: "not for " + lab.MerchantSecret}},
		{"ServerError", payutest.Fault{Status: 502, Body: "<html>" + lab.MerchantSecret + "</html>"}},
		{"OAuthError", payutest.Fault{Error: "leaked_" + lab.MerchantSecret}},
	} {
		trouble.fault.Times = 1
		server.Inject(trouble.fault)
		s.Change("links", lab.Refresh(trouble.reason))
		s.AwaitCondition("links", "Refreshed=False/"+trouble.reason)
	}
	s.Change("links", lab.Refresh("again"))
	s.AwaitCondition("links", "Refreshed=True/Succeeded")
	secret := s.Secret("links")
	secret.Immutable = ptr.To(true)
	lab.Check(t, cluster.Client.Update(t.Context(), secret))
	s.Change("links", lab.Refresh("refused by the API server"))
	s.AwaitCondition("links", "Refreshed=False/TargetWriteFailed")
	s.create("templated", lab.Into("templated"), func(p *v1alpha1.PayUToken) {
		p.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{"x": "{{ index .AccessToken 100000 }}{{ .AccessToken.Value }}"}
	})
	s.AwaitCondition("templated", "Ready=False/TemplateInvalid")
	o.Stop()

	said := o.Log.Text()
	if !strings.Contains(said, `"level":"DEBUG`) {
		t.Error("nothing was logged at debug level")
	}
	said += lab.Must(cluster.Kubectl(t.Context(), "get", "payutokens,events", "-n", s.Namespace, "-o", "yaml"))(t)
	never := []string{lab.MerchantSecret, wrongSecret}
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
