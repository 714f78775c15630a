package plugin_test

import (
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// A target that the operator would not write is a problem of the manifest, and PayU is not asked.
func TestCheckOfATarget(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(*shop)
		code    int
		want    string
	}{
		"free":            {func(*shop) {}, 0, `✓ target       Secret "links" will be created`},
		"somebody's":      {func(s *shop) { s.secret("links", nil) }, 2, `✗ target       TargetConflict: Secret "links" exists and does not belong to this PayUToken`},
		"of an older one": {func(s *shop) { s.create("older", func(p *v1alpha1.PayUToken) { p.Spec.Target.Name = "links" }) }, 2, `TargetConflict: Secret "links" belongs to PayUToken "older"`},
		"its own":         {func(s *shop) { s.targetOf(s.create("links")) }, 0, `✓ target       Secret "links" belongs to this PayUToken`},
		"of one with data": {func(s *shop) {
			s.targetOf(s.create("other", func(p *v1alpha1.PayUToken) { p.Spec.Target.Name = "links" }))
		}, 2, `belongs to PayUToken "other"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := runPayU(t, payutest.Default)
			s := newShop(t)
			test.prepare(s)
			got := s.check(server, "-f", s.file("links.yaml", manifest), "--from-env-file", s.file("payu.env", envFile))
			got.want(t, test.code, test.want)
			if asked := len(server.Requests()) > 0; asked != (test.code == 0) {
				t.Errorf("PayU was asked: %t\n%s", asked, got.stdout)
			}
		})
	}
}

// Where somebody means a cluster that there is not, the check does not go on without one.
func TestCheckOfAContextThatDoesNotExist(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.run("check", "-f", s.file("links.yaml", manifest), "--from-env-file", s.file("payu.env", envFile), "--context=nope").
		wantError(t, `context "nope" does not exist`)
}

// Where a tool makes the credentials Secret, no command writes it: the tool would undo that.
func TestStatusOfCredentialsThatAToolMakes(t *testing.T) {
	t.Parallel()
	for tool, labels := range map[string]map[string]string{
		"External Secrets": {"reconcile.external-secrets.io/managed": "true"},
		"Flux":             {"kustomize.toolkit.fluxcd.io/name": "shop"},
	} {
		s := newShop(t)
		s.written("payu-credentials", labels, nil)
		s.create("links", s.refused(v1alpha1.ReasonInvalidClient, "PayU answered invalid_client"))
		got := s.run("status", "links")
		got.want(t, 2, tool+" makes Secret payu-credentials")
		if strings.Contains(got.stdout, "kubectl create secret") {
			t.Errorf("the plugin says:\n%s", got.stdout)
		}
	}
}

func TestStatusNamesTheKeysToAdd(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.secret("payu-credentials", map[string]string{"other": "x"})
	s.create("links", s.refused(v1alpha1.ReasonCredentialsNotFound, `Secret "payu-credentials" has no key "client_id"`))
	got := s.run("status", "links")
	got.want(t, 2, "Add the keys client_id and client_secret to Secret payu-credentials", "kubectl create secret generic payu-credentials")
	if strings.Contains(got.stdout, "Create Secret payu-credentials") {
		t.Errorf("the Secret exists:\n%s", got.stdout)
	}
}
