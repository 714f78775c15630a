package plugin_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// written creates a Secret as the operator marks its own.
func (s *shop) written(name string, labels, annotations map[string]string) {
	s.Helper()
	check(s.T, cluster.Client.Create(s.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace, Labels: labels, Annotations: annotations},
		StringData: map[string]string{v1alpha1.KeyAccessToken: accessToken, v1alpha1.KeyTokenType: "Bearer"},
	}))
}

// A PayUToken may name another one's target as credentials: the live token there must not be sent to PayU.
func TestCheckRefusesTheOperatorsOwnSecret(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	for name, mark := range map[string]func(*shop){
		"by its label":      func(s *shop) { s.written("other", map[string]string{v1alpha1.LabelTokenUID: "0123"}, nil) },
		"by its annotation": func(s *shop) { s.written("other", nil, map[string]string{v1alpha1.AnnotationSource: "v2:…"}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			mark(s)
			s.create("links", func(p *v1alpha1.PayUToken) {
				p.Spec.CredentialsSecretRef = v1alpha1.CredentialsSecretRef{Name: "other", ClientIDKey: v1alpha1.KeyAccessToken, ClientSecretKey: v1alpha1.KeyTokenType}
			})
			got := s.check(server, "links")
			got.want(t, 2, `✗ credentials  CredentialsInvalid: Secret "other" in namespace "`+s.namespace+`" was written by this operator and holds a token: `+
				"name the Secret with the client ID and client secret in spec.credentialsSecretRef\n")
			s.wantHidden(got, accessToken)
		})
	}
	if n := server.Counters().Total(); n != 0 {
		t.Errorf("PayU was asked %d times", n)
	}
}

// A key that is missing is easiest to find among those that are there.
func TestCheckNamesTheKeysThatAreThere(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	s.secret("payu-credentials", map[string]string{"clientId": merchant, "clientSecret": merchantSecret})
	s.check(server, "-f", s.file("links.yaml", manifest)).want(t, 2,
		`has no key "client_id" (it has the keys clientId, clientSecret): add it, or name a different key in spec.credentialsSecretRef.clientIDKey`)

	file := s.file("links.yaml", strings.Replace(manifest, "{name: payu-credentials}", "{name: payu-credentials, clientIDKey: id, clientSecretKey: secret}", 1))
	for content, want := range map[string]string{
		envFile: `payu.env has no key "id" (it has the keys client_id, client_secret): write the lines id=… and secret=…`,
		"":      `payu.env has no key "id" (it has no keys): write the lines id=… and secret=…`,
		"a=\nb=\nc=\nd=\ne=\nf=\ng=\nh=\ni=\nj=\n": "(it has the keys a, b, c, d, e, f, g, h, 2 more)",
	} {
		s.check(server, "-f", file, "--from-env-file", s.file("payu.env", content)).want(t, 2, want)
	}
}

// Whoever mixes up keys and values has a credential for a key.
func TestCheckPrintsNoKeyThatLooksLikeACredential(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	var (
		hexadecimal = strings.Repeat("0a1B", 8)
		long        = strings.Repeat("xyz", 14)
		dashed      = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
	)
	s.secret("payu-credentials", map[string]string{hexadecimal: "client_id", long: "client_secret", "key": "x"})
	file := s.file("links.yaml", manifest)
	for _, got := range []result{
		s.check(server, "-f", file),
		s.check(server, "-f", file, "--from-env-file", s.file("payu.env", "key=x\n"+long+"=x\n"+hexadecimal+"=x\n")),
		s.check(server, "-f", file, "--from-env-file", s.file("payu.env", "key=x\n"+dashed+"=x\nx"+hexadecimal+"=x\n")),
	} {
		got.want(t, 2, "(it has the keys key, 2 that look like credentials)")
		for _, secret := range []string{hexadecimal, long, dashed} {
			s.wantHidden(got, secret)
		}
	}
	misplaced := s.file("links.yaml", strings.Replace(manifest, "{name: payu-credentials}", "{name: payu-credentials, clientSecretKey: "+hexadecimal+"}", 1))
	got := s.check(server, "-f", misplaced, "--from-env-file", s.file("payu.env", "x=y\n"))
	got.want(t, 2, "has no key of the name in spec.credentialsSecretRef.clientSecretKey, which looks like a credential")
	s.wantHidden(got, hexadecimal)
	got = s.check(server, "-f", file, "--from-env-file", s.file("payu.env", hexadecimal+"=x\n"+hexadecimal+"=y\n"))
	got.want(t, 1, "line 2: the key is repeated, and looks like a credential")
	s.wantHidden(got, hexadecimal)
}

// The credentials were rotated: the status keeps the times of the old token, whose lifetime the operator does not take.
func TestCheckAgreesWithLifetimeUnknown(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	server.Inject(payutest.Fault{Omit: []string{"expires_in"}})
	s := newShop(t)
	s.secret("payu-credentials", map[string]string{"client_id": merchant, "client_secret": merchantSecret})
	s.create("links", s.ready(time.Minute), s.refused(v1alpha1.ReasonLifetimeUnknown, "PayU issued a token without a lifetime (expires_in)"))
	s.check(server, "links").want(t, 2, v1alpha1.ReasonLifetimeUnknown)
}
