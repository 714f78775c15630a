package gitops_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// ways are how Argo CD applies and compares: against the last-applied annotation, or by server-side apply.
var ways = map[string][]string{
	"client-side": nil,
	"server-side": {"--server-side", "--field-manager=argocd-controller"},
}

// TestKubectlFindsNoDifference applies the samples as Argo CD does, lets the operator and users of Argo CD do their work,
// and compares.
func TestKubectlFindsNoDifference(t *testing.T) {
	t.Parallel()
	argo := newArgoCD(t)
	for _, folder := range sampleFolders {
		for name, way := range ways {
			t.Run(folder+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				objects := w.samples(folder)
				file := w.manifest(objects)
				arguments := append([]string{"--filename=" + file}, way...)
				w.MustKubectl(append([]string{"apply"}, arguments...)...)
				expectNone := func(when string) {
					t.Helper()
					if found := w.diff(arguments...); found != "" {
						t.Errorf("%s:\n%s", when, found)
					}
				}
				for _, o := range tokensOf(objects) {
					w.await(o.GetName(), good)
				}
				expectNone("with tokens")
				versions := w.versions(objects)
				w.MustKubectl(append([]string{"apply"}, arguments...)...) // would end badly with a conflict
				if now := w.versions(objects); now != versions {
					t.Errorf("applied again: resourceVersions %s, before %s", now, versions)
				}
				for _, o := range tokensOf(objects) {
					w.awaitHandled(o.GetName(), argo.run(w, "refresh", o.GetName()))
					argo.run(w, "suspend", o.GetName())
					w.await(o.GetName(), "Ready=True/TokenValid Refreshed=False/Suspended")
				}
				expectNone("refreshed and suspended")
				for _, o := range tokensOf(objects) {
					argo.run(w, "resume", o.GetName())
					w.await(o.GetName(), good)
				}
				expectNone("resumed")
				w.expectOwnStatusOnly(objects)
				for _, o := range tokensOf(objects) {
					lab.Check(t, unstructured.SetNestedField(o.Object, int64(50), "spec", "renewalPercent"))
				}
				arguments[0] = "--filename=" + w.manifest(objects)
				if found := w.diff(arguments...); !strings.Contains(found, "renewalPercent: 50") {
					t.Errorf("a change is not found: %q", found)
				}
			})
		}
	}
}

// TestWhatGitSaysOfSuspendHolds is the other side: written down, spec.suspend is not the action's to change.
func TestWhatGitSaysOfSuspendHolds(t *testing.T) {
	t.Parallel()
	argo, w := newArgoCD(t), newWorld(t)
	w.credentials("links")
	file := lab.File(w, "links.yaml", `{apiVersion: auth.payu.in/v1alpha1, kind: PayUToken, metadata: {name: links, namespace: `+w.Namespace+`},
spec: {environment: Test, credentialsSecretRef: {name: links-credentials}, scopes: [read_payment_links], suspend: false}}`)
	w.MustKubectl("apply", "--filename="+file)
	w.await("links", good)
	argo.run(w, "suspend", "links")
	if found := w.diff("--filename=" + file); !strings.Contains(found, "suspend: false") {
		t.Errorf("no difference in spec.suspend: %q", found)
	}
}

// TestDefaultsMakeNoDifference holds what the CRD must not have: a default below a list, which Argo CD compares as a whole.
func TestDefaultsMakeNoDifference(t *testing.T) {
	t.Parallel()
	defaults := 0
	var look func(path string, value any)
	look = func(path string, value any) {
		schema, ok := value.(map[string]any)
		if !ok {
			return
		}
		if _, found := schema["default"]; found {
			defaults++
			if strings.Contains(path, ".items") {
				t.Errorf("a default below a list: %s", path)
			}
		}
		for key, below := range schema {
			look(path+"."+key, below)
		}
	}
	crd := lab.Objects(t, lab.Must(cluster.Kubectl(t.Context(), "get", "crd", "payutokens.auth.payu.in", "--output=json"))(t))[0]
	for _, version := range at(t, crd.Object, "spec.versions").([]any) {
		look("spec", at(t, version.(map[string]any), "schema.openAPIV3Schema.properties.spec"))
	}
	if defaults == 0 {
		t.Error("no defaults found: the CRD is read wrongly")
	}
}

// TestTheTargetIsNobodysToPrune looks for what makes Argo CD or Flux take a Secret for one of theirs.
func TestTheTargetIsNobodysToPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tracked := func(token *v1alpha1.PayUToken) {
		token.Labels = map[string]string{
			"app.kubernetes.io/instance": "shop", "kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
		}
		token.Annotations = map[string]string{
			"argocd.argoproj.io/tracking-id": "shop:auth.payu.in/PayUToken:" + w.Namespace + "/" + token.Name, "argocd.argoproj.io/sync-wave": "-1",
		}
	}
	retain := func(token *v1alpha1.PayUToken) { token.Spec.Target.DeletionPolicy = v1alpha1.DeletionPolicyRetain }
	for name, edits := range map[string][]lab.Edit{"deleted": {tracked}, "retained": {tracked, retain}} {
		w.credentials(name)
		w.create(name, edits...)
		w.await(name, good)
		secret := w.secret(name)
		for _, marks := range []map[string]string{secret.Labels, secret.Annotations} {
			for key := range marks {
				if key != v1alpha1.LabelManagedBy && !strings.HasPrefix(key, "auth.payu.in/") {
					t.Errorf("Secret %s has %s", name, key)
				}
			}
		}
		if owned := metav1.GetControllerOf(secret) != nil; owned != (name == "deleted") {
			t.Errorf("Secret %s has an owner: %t", name, owned)
		}
	}
}
