package gitops_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// argoCD is what Argo CD makes of the customization in config/argocd, as kustomize builds it.
type argoCD struct {
	healthLua string
	actions   struct {
		Discovery   string       `json:"discovery.lua"`
		Definitions []definition `json:"definitions"`
	}
}

type definition struct {
	Name   string `json:"name"`
	Action string `json:"action.lua"`
}

const customization = "../../config/argocd"

func newArgoCD(t *testing.T) *argoCD {
	t.Helper()
	settings := &corev1.ConfigMap{}
	built := lab.Must(cluster.Kubectl(t.Context(), "kustomize", customization))(t)
	lab.Check(t, yaml.UnmarshalStrict([]byte(built), settings))
	argo := &argoCD{healthLua: settings.Data["resource.customizations.health.auth.payu.in_PayUToken"]}
	lab.Check(t, yaml.UnmarshalStrict([]byte(settings.Data["resource.customizations.actions.auth.payu.in_PayUToken"]), &argo.actions))
	return argo
}

type health struct{ Status, Message string }

// health runs health.lua.
func (a *argoCD) health(t *testing.T, u *unstructured.Unstructured) health {
	t.Helper()
	result, ok := runLua(t, a.healthLua, u).(map[string]any)
	if !ok || len(result) != 2 {
		t.Fatalf("health.lua returned %v", result)
	}
	return health{Status: result["status"].(string), Message: result["message"].(string)}
}

// TestActions runs the actions of config/argocd.
func TestActions(t *testing.T) {
	t.Parallel()
	argo, w := newArgoCD(t), newWorld(t)
	w.credentials("links")
	w.create("links")
	argo.expectActions(t, w.await("links", good), "refresh", "suspend")
	before := w.secret("links").ResourceVersion
	request := argo.run(w, "refresh", "links")
	if _, err := time.Parse(time.RFC3339, request); err != nil {
		t.Error(err)
	}
	w.awaitHandled("links", request)
	if w.secret("links").ResourceVersion == before {
		t.Error("there is no new token")
	}
	argo.run(w, "suspend", "links")
	argo.expectActions(t, w.await("links", "Ready=True/TokenValid Refreshed=False/Suspended"), "resume")
	argo.run(w, "resume", "links")
	resumed := w.await("links", good)
	argo.expectActions(t, resumed, "refresh", "suspend")
	if spec := resumed.Object["spec"].(map[string]any); spec["suspend"] != nil {
		t.Errorf("spec.suspend is left behind: %v", spec["suspend"])
	}
}

// expectActions compares the actions that Argo CD offers, of those that there are.
func (a *argoCD) expectActions(t *testing.T, u *unstructured.Unstructured, want ...string) {
	t.Helper()
	var all, offered, defined []string
	for name, action := range runLua(t, a.actions.Discovery, u).(map[string]any) {
		all = append(all, name)
		if !action.(map[string]any)["disabled"].(bool) {
			offered = append(offered, name)
		}
	}
	for _, definition := range a.actions.Definitions {
		defined = append(defined, definition.Name)
	}
	for _, list := range [][]string{all, offered, defined, want} {
		slices.Sort(list)
	}
	if !slices.Equal(offered, want) || !slices.Equal(all, defined) {
		t.Errorf("actions offered: %v, want %v; discovered %v, defined %v", offered, want, all, defined)
	}
}

// run runs an action as Argo CD does: it sends what the script has changed as a merge patch. It returns the refresh that is
// then requested, if any.
func (a *argoCD) run(w *world, name, token string) string {
	w.Helper()
	i := slices.IndexFunc(a.actions.Definitions, func(d definition) bool { return d.Name == name })
	if i < 0 {
		w.Fatalf("there is no action %s", name)
	}
	live := w.get(token)
	changed := &unstructured.Unstructured{Object: runLua(w.T, a.actions.Definitions[i].Action, live).(map[string]any)}
	lab.Check(w, cluster.Client.Patch(w.Context(), changed, client.MergeFrom(live), client.FieldOwner("argocd-server")))
	return changed.GetAnnotations()[v1alpha1.AnnotationRefreshRequestedAt]
}

// TestCustomizationLeavesTheRestOfArgoCDsSettings adds the customization to an argocd-cm as Argo CD's installation applies it.
func TestCustomizationLeavesTheRestOfArgoCDsSettings(t *testing.T) {
	t.Parallel()
	w := newPlace(t)
	lab.Check(t, cluster.Client.Create(w.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "argocd"}}))
	install := lab.File(w, "install.yaml", `{apiVersion: v1, kind: ConfigMap, metadata: {name: argocd-cm, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}},
data: {resource.customizations.ignoreResourceUpdates.all: "jsonPointers: [/status]"}}`)
	settings := func() *corev1.ConfigMap {
		cm := &corev1.ConfigMap{}
		lab.Check(t, cluster.Client.Get(w.Context(), client.ObjectKey{Namespace: "argocd", Name: "argocd-cm"}, cm))
		return cm
	}
	add := []string{"apply", "--server-side", "--field-manager=payu-token-operator", "-k", customization}
	w.MustKubectl("apply", "--server-side", "--force-conflicts", "--filename="+install)
	w.MustKubectl(add...)
	if cm := settings(); len(cm.Data) != 3 || cm.Labels["app.kubernetes.io/part-of"] != "argocd" {
		t.Errorf("labels %v, keys %v", cm.Labels, cm.Data)
	}
	w.MustKubectl("apply", "--server-side", "--force-conflicts", "--filename="+install) // an upgrade of Argo CD
	if cm := settings(); len(cm.Data) != 3 {
		t.Errorf("after an upgrade: %v", cm.Data)
	}
	w.MustKubectl("apply", "--server-side", "--filename="+install)
	w.MustKubectl(add[0], add[1], "-k", customization) // without a field manager of its own it is taken for the installation
	if cm := settings(); cm.Labels["app.kubernetes.io/part-of"] == "argocd" {
		t.Error("a field manager of its own is not needed: say so in config/argocd/kustomization.yaml")
	}
}
