package gitops_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// crds are the kinds of others that the examples use, as modules that hold them: nothing of theirs is kept here.
var crds = map[string]string{
	"github.com/fluxcd/kustomize-controller@v1.9.6":       "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
	"github.com/fluxcd/source-controller@v1.9.1":          "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
	"github.com/external-secrets/external-secrets@v1.3.2": "config/crds/bases/external-secrets.io_externalsecrets.yaml",
	"github.com/bitnami-labs/sealed-secrets@v0.40.0":      "helm/sealed-secrets/crds/bitnami.com_sealedsecrets.yaml",
}

// download returns the folder of a module. The go command verifies what it fetches, and keeps it.
func download(t *testing.T, module string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	out, err := command.Output()
	var result struct{ Dir, Error string }
	if err := errors.Join(err, json.Unmarshal(out, &result)); err != nil {
		t.Fatalf("%s: %v: %s", command, err, result.Error)
	}
	return result.Dir
}

// TestExamplesAreValid applies all files of the examples with strict validation, against the CRDs of those whose kinds they
// are. Argo CD's Application is not among them: its module is 60 MB.
func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	w := newPlace(t)
	var paths []string
	for module, path := range crds {
		paths = append(paths, filepath.Join(download(t, module), path))
	}
	lab.Must(envtest.InstallCRDs(cluster.Config, envtest.CRDInstallOptions{Paths: paths}))(t)
	for _, file := range lab.Must(filepath.Glob("../../examples/shop/*/*.yaml"))(t) {
		w.expectValid(file)
	}
	for _, file := range lab.Must(filepath.Glob("../../examples/flux/*.yaml"))(t) {
		w.expectValid(file)
	}
	misspelt := lab.File(w, "misspelt.yaml", `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: shop, namespace: default},
spec: {interval: 10m, prune: true, sourceRef: {kind: GitRepository, name: fleet}, dependson: []}}`)
	if _, err := cluster.Kubectl(w.Context(), dryRun(misspelt)...); err == nil || !strings.Contains(err.Error(), "dependson") {
		t.Errorf("strict validation finds nothing: %v", err)
	}
}

func dryRun(file string) []string {
	return []string{"create", "--dry-run=server", "--validate=strict", "--filename=" + file}
}

func (w *world) expectValid(file string) {
	w.Helper()
	if filepath.Base(file) == "kustomization.yaml" {
		return
	}
	objects := lab.Objects(w.T, string(lab.Must(os.ReadFile(file))(w)))
	for _, o := range objects {
		if o.GetKind() != "Namespace" {
			o.SetNamespace(w.Namespace) // the dry run wants one that is there
		}
	}
	if _, err := cluster.Kubectl(w.Context(), dryRun(w.manifest(objects))...); err != nil {
		w.Errorf("%s: %v", file, err)
	}
}

// TestExamplesFitTogether follows the names from one manifest to the next.
func TestExamplesFitTogether(t *testing.T) {
	t.Parallel()
	whole := built(t, "examples/shop")
	token := only(t, whole, "PayUToken")
	spec := token.Object["spec"].(map[string]any)
	credentials, target := at(t, spec, "credentialsSecretRef.name"), at(t, spec, "target.name")

	t.Run("credentials", func(t *testing.T) {
		external := only(t, whole, "ExternalSecret")
		keys := []any{}
		for _, item := range at(t, external.Object, "spec.data").([]any) {
			keys = append(keys, item.(map[string]any)["secretKey"])
		}
		if at(t, external.Object, "spec.target.name") != credentials || !slices.Equal(keys, []any{"client_id", "client_secret"}) {
			t.Errorf("ExternalSecret makes %v with %v", at(t, external.Object, "spec.target.name"), keys)
		}
		sealed := lab.Objects(t, string(lab.Must(os.ReadFile("../../examples/shop/credentials/sealed-secret.yaml"))(t)))[0]
		data := at(t, sealed.Object, "spec.encryptedData").(map[string]any)
		if sealed.GetName() != credentials || data["client_id"] == nil || data["client_secret"] == nil || len(data) != 2 {
			t.Errorf("SealedSecret makes %v with %v", sealed.GetName(), data)
		}
		for _, o := range []*unstructured.Unstructured{external, sealed} {
			if result := lab.Must(status.Compute(o))(t); result.Status != status.CurrentStatus {
				t.Errorf("Flux takes a new %s for %s: its health check need not be one of the Secret", o.GetKind(), result.Status)
			}
		}
	})
	t.Run("workload", func(t *testing.T) {
		volumes := at(t, only(t, whole, "Deployment").Object, "spec.template.spec.volumes").([]any)
		if name := at(t, volumes[0].(map[string]any), "secret.secretName"); name != target {
			t.Errorf("it mounts %v, the token is in %v", name, target)
		}
	})
	t.Run("sync waves", func(t *testing.T) {
		waves := map[string]string{}
		for _, o := range whole {
			waves[o.GetKind()] = o.GetAnnotations()["argocd.argoproj.io/sync-wave"]
		}
		want := map[string]string{"Namespace": "-2", "ExternalSecret": "-2", "PayUToken": "-1", "Deployment": ""}
		if fmt.Sprint(waves) != fmt.Sprint(want) {
			t.Errorf("waves %v, want %v", waves, want)
		}
	})
	t.Run("Argo CD's paths", func(t *testing.T) {
		for _, name := range []string{"operator", "shop"} {
			application := lab.Objects(t, string(lab.Must(os.ReadFile("../../examples/argocd/"+name+".yaml"))(t)))[0]
			lab.Must(os.Stat(filepath.Join("../..", at(t, application.Object, "spec.source.path").(string))))(t)
		}
	})
	t.Run("Flux", func(t *testing.T) {
		steps := slices.Concat(kustomizations(t, "operator"), kustomizations(t, "shop"))
		known := map[string]bool{}
		for _, step := range steps {
			built(t, at(t, step.Object, "spec.path").(string))
			dependsOn, _, _ := unstructured.NestedSlice(step.Object, "spec", "dependsOn")
			for _, other := range dependsOn {
				if !known[other.(map[string]any)["name"].(string)] {
					t.Errorf("%s depends on %v, which does not come before it", step.GetName(), other)
				}
			}
			known[step.GetName()] = true
			checks, _, _ := unstructured.NestedSlice(step.Object, "spec", "healthChecks")
			for _, c := range checks {
				expectChecked(t, c.(map[string]any), token, credentials)
			}
		}
		if len(known) != 4 {
			t.Errorf("Kustomizations %v", known)
		}
	})
}

// expectChecked checks that a health check is one of the PayUToken or of its credentials.
func expectChecked(t *testing.T, check map[string]any, token *unstructured.Unstructured, credentials any) {
	t.Helper()
	want := map[string]any{"apiVersion": "v1", "kind": "Secret", "name": credentials, "namespace": token.GetNamespace()}
	if check["kind"] != "Secret" {
		want = map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind.Kind, "name": token.GetName(), "namespace": token.GetNamespace()}
	}
	if fmt.Sprint(check) != fmt.Sprint(want) {
		t.Errorf("health check of %v, want %v", check, want)
	}
}

func kustomizations(t *testing.T, name string) []*unstructured.Unstructured {
	t.Helper()
	objects := lab.Objects(t, string(lab.Must(os.ReadFile("../../examples/flux/"+name+".yaml"))(t)))
	return slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() != "Kustomization" })
}

// only returns the one object of a kind.
func only(t *testing.T, objects []*unstructured.Unstructured, kind string) *unstructured.Unstructured {
	t.Helper()
	found := slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return o.GetKind() != kind })
	if len(found) != 1 {
		t.Fatalf("%d objects of kind %s, want 1", len(found), kind)
	}
	return found[0]
}

// at returns the value at a path, which must be there.
func at(t *testing.T, o map[string]any, path string) any {
	t.Helper()
	value, found, err := unstructured.NestedFieldNoCopy(o, strings.Split(path, ".")...)
	if err != nil || !found {
		t.Fatalf("nothing at %s: %v", path, err)
	}
	return value
}

// TestKubectlWait waits as docs/gitops.md says, and is not taken in by a condition of an earlier spec.
func TestKubectlWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.credentials("links")
	for _, f := range later(payutest.Fault{Hang: true}) {
		f.ClientID = w.client("links")
		w.payu.Inject(f)
	}
	w.create("links")
	wait := []string{"wait", "--for=condition=Ready", "payutoken/links", "--namespace=" + w.Namespace}
	w.MustKubectl(append(wait, "--timeout=60s")...)
	w.Change("links", lab.For("read_payment_links"))
	if _, err := cluster.Kubectl(w.Context(), append(wait, "--timeout=1s")...); err == nil || !strings.Contains(err.Error(), "timed out") {
		t.Errorf("while the answer for the new spec is awaited: %v", err)
	}
	w.payu.ClearFault(w.client("links"))
	w.MustKubectl(append(wait, "--timeout=60s")...)
}
