package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// plugin is what krew reads of a manifest (kubernetes-sigs/krew: pkg/index/types.go).
type plugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string `json:"version"`
		Homepage         string `json:"homepage"`
		ShortDescription string `json:"shortDescription"`
		Description      string `json:"description"`
		Caveats          string `json:"caveats"`
		Platforms        []struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			URI    string `json:"uri"`
			SHA256 string `json:"sha256"`
			Bin    string `json:"bin"`
		} `json:"platforms"`
	} `json:"spec"`
}

// TestTheManifestIsWhatKrewTakes holds the rules of krew's own validation (internal/index/validation).
func TestTheManifestIsWhatKrewTakes(t *testing.T) {
	var archives []archive
	for _, platform := range platforms {
		system, arch, _ := strings.Cut(platform, "/")
		archives = append(archives, archive{OS: system, Arch: arch, Name: "x.tar.gz", Program: "kubectl-payutoken", SHA256: strings.Repeat("0a", 32)})
	}
	filled, err := fill("v0.1.0", archives)
	if err != nil {
		t.Fatal(err)
	}
	var p plugin
	if err := yaml.UnmarshalStrict(filled, &p); err != nil {
		t.Fatalf("%v in\n%s", err, filled)
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "payutoken" || p.Spec.Version != "v0.1.0" {
		t.Errorf("%s", filled)
	}
	if d := p.Spec.ShortDescription; d == "" || len(d) > 50 || strings.ContainsAny(d, "\r\n") {
		t.Errorf("shortDescription %q", d)
	}
	var got []string
	for _, platform := range p.Spec.Platforms {
		labels := platform.Selector.MatchLabels
		got = append(got, labels["os"]+"/"+labels["arch"])
		if len(labels) != 2 || !regexp.MustCompile(`^[a-f0-9]{64}$`).MatchString(platform.SHA256) || platform.Bin == "" ||
			!strings.HasSuffix(platform.URI, "/releases/download/v0.1.0/x.tar.gz") {
			t.Errorf("%+v", platform)
		}
	}
	if diff := cmp.Diff(platforms, got); diff != "" {
		t.Errorf("platforms -want +got:\n%s", diff)
	}
}

// TestRelease makes one for this machine, twice, and runs what is in it. The command does it: under the race detector, to
// compress a program takes most of a minute.
func TestRelease(t *testing.T) {
	command := filepath.Join(t.TempDir(), "krew")
	run(t, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", command, ".") // as make build does: what it compiled is used
	folders := []string{t.TempDir(), t.TempDir()}
	for _, folder := range folders {
		run(t, command, "--version=v9.8.7", "--out="+folder, "--platforms="+runtime.GOOS+"/"+runtime.GOARCH)
	}
	name := fmt.Sprintf("kubectl-payutoken_v9.8.7_%s_%s.tar.gz", runtime.GOOS, runtime.GOARCH)
	first, second := read(t, folders[0], name), read(t, folders[1], name)
	if !bytes.Equal(first, second) {
		t.Error("the same sources made two archives")
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(first))
	if sums := string(read(t, folders[0], "kubectl-payutoken_v9.8.7_checksums.txt")); sums != sum+"  "+name+"\n" {
		t.Errorf("checksums:\n%s", sums)
	}
	if manifest := string(read(t, folders[0], "payutoken.yaml")); !strings.Contains(manifest, "sha256: "+sum+"\n") {
		t.Errorf("manifest:\n%s", manifest)
	}
	run(t, "tar", "-xzf", filepath.Join(folders[0], name), "-C", folders[0])
	if out := run(t, filepath.Join(folders[0], "kubectl-payutoken"), "version"); !strings.HasPrefix(out, "kubectl-payutoken v9.8.7 (commit ") {
		t.Errorf("version: %s", out)
	}
	if license := read(t, folders[0], "LICENSE"); !bytes.Contains(license, []byte("Apache License")) {
		t.Errorf("LICENSE:\n%s", license)
	}
}

func TestAReleaseNeedsAVersion(t *testing.T) {
	for _, version := range []string{"", "dev", "0.1.0", "v1", "c2ad85f-dirty", "v01.2.3"} {
		if err := release(version, t.TempDir(), nil); err == nil {
			t.Errorf("version %q is taken", version)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

func read(t *testing.T, folder, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
