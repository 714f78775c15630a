package manifests_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestAllNameWhatIsReleased holds what users install against where the release workflow pushes it.
func TestAllNameWhatIsReleased(t *testing.T) {
	t.Parallel()
	image, chart := released(t)
	var values struct{ Image struct{ Repository string } }
	decode(t, "charts/payu-token-operator/values.yaml", &values)
	if values.Image.Repository != image { // TestTheChartSaysTheSame holds config/ against the chart
		t.Errorf("the chart has the image %s, releases are %s", values.Image.Repository, image)
	}
	if krew := content(t, "hack/krew/payutoken.yaml"); !strings.Contains(krew, "uri: https://"+repository(t)+"/releases/download/") {
		t.Errorf("the manifest for krew has other archives than those of %s", repository(t))
	}
	found := map[string]bool{}
	for _, pattern := range []string{"README.md", "docs/*.md", "charts/*/*.md", "charts/*/*.yaml", "config/manager/*.yaml", "examples/*/*.yaml"} {
		for _, file := range lab.Must(filepath.Glob(filepath.Join(root, pattern)))(t) {
			for _, name := range regexp.MustCompile(`ghcr\.io/[\w./-]*\w`).FindAllString(string(lab.Must(os.ReadFile(file))(t)), -1) {
				if found[name] = true; name != image && name != chart {
					t.Errorf("%s names %s, which is neither the image %s nor the chart %s", file, name, image, chart)
				}
			}
		}
	}
	if !found[image] || !found[chart] {
		t.Errorf("image and chart are not both named: %v", found)
	}
}

// released are the places that the release workflow pushes image and chart to.
func released(t *testing.T) (image, chart string) {
	t.Helper()
	var workflow struct{ Env map[string]string }
	decode(t, ".github/workflows/release.yml", &workflow)
	full := strings.TrimPrefix(repository(t), "github.com/")
	owner, _, _ := strings.Cut(full, "/")
	fill := strings.NewReplacer("${{ github.repository }}", full, "${{ github.repository_owner }}", owner)
	return fill.Replace(workflow.Env["IMAGE"]), fill.Replace(workflow.Env["CHARTS"]) + "/" + operator
}

// repository is github.com/owner/name, as the module has it.
func repository(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(lab.Output(t, "go", "list", "-m"))
}

// TestDistHasTheImage makes the manifests of a release.
func TestDistHasTheImage(t *testing.T) {
	t.Parallel()
	const image = "registry.example.com/team/operator:v9.8.7"
	dist := t.TempDir()
	lab.Output(t, "make", "dist", "IMAGE="+image, "DIST="+dist)
	for _, name := range []string{"install.yaml", "install-namespaced.yaml"} {
		manifest := string(lab.Must(os.ReadFile(filepath.Join(dist, name)))(t))
		if got := regexp.MustCompile(`image: (\S+)`).FindStringSubmatch(manifest); got == nil || got[1] != image {
			t.Errorf("%s: %v, want %s", name, got, image)
		}
	}
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	lab.Check(t, yaml.Unmarshal([]byte(content(t, file)), into))
}

func content(t *testing.T, file string) string {
	t.Helper()
	return string(lab.Must(os.ReadFile(filepath.Join(root, file)))(t))
}
