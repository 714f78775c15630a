package plugin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// Whoever gives -f a file of credentials must not see them on the screen.
func TestCheckQuotesNoFile(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	const secret = "5ecre7"
	for content, why := range map[string]string{
		"client_id: a\nclient_secret: " + secret + "\n":                           "it has no kind",
		`{"client_id": "a", "client_secret": "` + secret + `"}`:                   "it has no kind",
		`{"client_id": "a", "client_secret": ` + secret + `}`:                     "it has no kind", // YAML
		"client_id=a\nclient_secret=" + secret + "\n":                             "it has no kind",
		"- client_secret: " + secret:                                              "it has no kind",
		manifest + "---\nclient_secret: " + secret + "\n":                         "it has no kind",
		"apiVersion: v1\nclient_secret: " + secret + "\n":                         "it has no kind",
		"client_id: a\nclient_secret: *" + secret + "\n":                          "it is neither YAML nor JSON",
		"client_id: \"a\nclient_secret: \"" + secret + "\n":                       "it is neither YAML nor JSON, see line 1",
		"apiVersion: v1\nkind: Secret\nmetadata: " + secret + "\n":                "apiVersion, kind or metadata has the wrong type",
		"apiVersion: v1\nkind: List\nitems:\n- {client_secret: " + secret + "}\n": "it has no kind",
	} {
		file := s.file("creds.yaml", content)
		s.in = content
		for path, name := range map[string]string{file: file, "-": "standard input"} {
			got := s.check(server, "-f", path)
			if strings.Contains(content, "kind: List") {
				name = "an object in a list"
			}
			got.wantError(t, name+" is not a Kubernetes manifest ("+why+"): credentials belong to --from-env-file")
			s.wantHidden(got, secret)
		}
	}
	folder := t.TempDir()
	check(t, os.WriteFile(filepath.Join(folder, "a.yaml"), []byte("client_secret: "+secret), 0o600))
	check(t, os.WriteFile(filepath.Join(folder, "b.json"), []byte(`{"client_secret": "`+secret+`"}`), 0o600))
	got := s.check(server, "-f", folder)
	got.wantError(t, "a.yaml is not a Kubernetes manifest", "b.json is not a Kubernetes manifest")
	s.wantHidden(got, secret)
	for content, why := range map[string]string{
		"resources: [a.yaml]\n":                                               "a.yaml",
		"resources: [b.json]\n":                                               "b.json",
		"client_secret: *" + secret + "\n":                                    "invalid Kustomization: yaml: unknown anchor",
		"secretGenerator:\n- {name: x, literals: [" + secret + "]}\n":         "invalid literal source, expected key=value",
		"resources: []\npatches:\n- patch: '{client_secret: " + secret + "}'": "PatchTransformer",
	} {
		check(t, os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(content), 0o600))
		got = s.check(server, "-k", folder)
		got.wantError(t, why)
		s.wantHidden(got, secret)
	}
}

// The files of a kustomization are not what is applied.
func TestCheckOfAFolderWithAKustomization(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	for _, kind := range []string{"", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"} {
		folder := t.TempDir()
		check(t, os.WriteFile(filepath.Join(folder, "links.yaml"), []byte(manifest), 0o600))
		check(t, os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(kind+"resources: [links.yaml]\nnamePrefix: my-\n"), 0o600))
		s.check(server, "-f", folder, "--from-env-file", s.file("payu.env", envFile)).
			wantError(t, filepath.Join(folder, "kustomization.yaml")+" is a kustomization: use -k "+folder)
	}
}

// The API server takes labels and annotations of a template that it refuses for the Secret. PayU is not asked for a token then.
func TestCheckRefusesMetadataThatNoSecretCanHave(t *testing.T) {
	t.Parallel()
	server := runPayU(t, payutest.Default)
	s := newShop(t)
	env := s.file("payu.env", envFile)
	for metadata, want := range map[string]string{
		`labels: {team: "pay ments"}`:            `✗ template     TargetWriteFailed: spec.target.template.metadata.labels: "pay ments" of team: a value is empty, or has up to 63`,
		`labels: {"of whom": x}`:                 `spec.target.template.metadata.labels: "of whom": a name has up to 63`,
		`annotations: {"owned by": x}`:           `spec.target.template.metadata.annotations: "owned by": a name has up to 63`,
		`annotations: {Owned-By: "pay ments"}`:   "",
		`labels: {"example.com/team": payments}`: "",
	} {
		got := s.check(server, "-f", s.file("links.yaml", manifest+"  target: {template: {metadata: {"+metadata+"}}}\n"), "--from-env-file", env)
		if want == "" {
			got.want(t, 0, "✓ PayU")
			continue
		}
		got.want(t, 2, "✓ schema       accepted by the API server", want, "! PayU         not asked: correct what is wrong first")
	}
	s.check(server, "-f", s.file("links.yaml", manifest+"  target: {template: {data: {t: x}}}\n"), "--from-env-file", env).want(t, 2, "✗ template     TemplateInvalid")
	if n := server.Counters().Total(); n != 2 {
		t.Errorf("PayU was asked %d times, for manifests of which 2 are right", n)
	}
}
