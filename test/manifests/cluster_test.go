package manifests_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestChartOnAnAPIServer installs, upgrades and uninstalls the chart, after an API server has looked at all value sets.
func TestChartOnAnAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a control plane")
	}
	c := lab.RunCluster(t)
	for _, name := range []string{namespace, "payu-system", "monitoring", "shop", "billing", "leases"} {
		createNamespace(t, c, name)
	}
	applyMonitoring(t, c)
	for _, values := range valueSets {
		t.Run("accepts "+values, func(t *testing.T) { expectAccepted(t, c, values) })
	}
	t.Run("life", func(t *testing.T) { testLife(t, c) })
	t.Run("prompt delivery", func(t *testing.T) { testPromptDelivery(t, c) })
}

// createNamespace makes a namespace of the strictest Pod Security.
func createNamespace(t *testing.T, c *lab.Cluster, name string) {
	t.Helper()
	labels := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	lab.Check(t, c.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}))
}

// applyMonitoring makes the API server know the kinds of the Prometheus operator.
func applyMonitoring(t *testing.T, c *lab.Cluster) {
	t.Helper()
	file := filepath.Join("testdata", "monitoring.yaml")
	lab.Must(c.Kubectl(t.Context(), "apply", "--filename", file))(t)
	lab.Must(c.Kubectl(t.Context(), "wait", "--for=condition=Established", "--timeout=60s", "--filename", file))(t)
}

// expectAccepted has the API server look at all objects, strictly, and at a pod of the Deployment.
func expectAccepted(t *testing.T, c *lab.Cluster, values string) {
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	manifest := lab.Must(template(t, values))(t)
	lab.Check(t, os.WriteFile(file, []byte(manifest), 0o600))
	out := lab.Must(c.Kubectl(t.Context(), "apply", "--dry-run=server", "--validate=strict", "--filename", file))(t)
	objects := lab.Objects(t, manifest)
	if got := strings.Count(out, "(server dry run)"); got != len(objects) {
		t.Errorf("of %d objects the API server took %d:\n%s", len(objects), got, out)
	}
	for _, deployment := range ofKind(objects, "Deployment") {
		lab.Check(t, c.Client.Create(t.Context(), podOf(t, deployment), client.DryRunAll))
	}
}

// podOf returns a pod as a ReplicaSet would make it, in a namespace of the strictest Pod Security.
func podOf(t *testing.T, deployment *unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	template, _, err := unstructured.NestedMap(deployment.Object, "spec", "template")
	lab.Check(t, err)
	var pod corev1.Pod
	lab.Check(t, runtime.DefaultUnstructuredConverter.FromUnstructured(template, &pod))
	pod.Namespace, pod.GenerateName = deployment.GetNamespace(), "pod-"
	return &pod
}

// testLife is a release from its installation over a CRD that is there to the next one, with a token that stays.
func testLife(t *testing.T, c *lab.Cluster) {
	ctx := t.Context()
	run := func(args ...string) {
		t.Helper()
		lab.Must(helm(t, append(args, "--kubeconfig", c.Kubeconfig, "--namespace", namespace)...))(t)
	}
	run("install", release, chart, "--take-ownership")
	token := lab.NewToken("shop", "links")
	lab.Check(t, c.Client.Create(ctx, token))

	columns := columnsOf(t, c)
	patch := client.RawPatch(types.JSONPatchType, []byte(`[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]`))
	lab.Check(t, c.Client.Patch(ctx, liveCRD(t, c), patch))
	run("upgrade", release, chart, "--set", "logLevel=debug")
	if got := columnsOf(t, c); got != columns {
		t.Errorf("the upgrade did not bring the CRD up to date: it has %d columns, and should have %d", got, columns)
	}

	// In a release without the CRD, Helm would delete the one of the release before.
	operator := lab.Must(c.AddServiceAccount(namespace, release))(t)
	expectRights(t, operator, true)
	run("upgrade", release, chart, "--values", filepath.Join("testdata", "values", "namespaced.yaml"))
	expectRights(t, operator, false)
	expectKept(t, c, token)

	run("uninstall", release)
	if _, err := c.Kubectl(ctx, "get", "deployment", release, "--namespace", namespace); err == nil {
		t.Error("the Deployment is there after the release was uninstalled")
	}
	expectKept(t, c, token)
	run("install", release, chart)
	expectKept(t, c, token)
	run("uninstall", release)
}

// expectRights wants the operator to be able to work in a namespace that it watches, and in all others or in none.
func expectRights(t *testing.T, operator *lab.User, everywhere bool) {
	t.Helper()
	for in, want := range map[string]bool{"shop": true, "default": everywhere} {
		expectMay(t, operator, want, in, "list", "", "secrets", "")
		expectMay(t, operator, want, in, "watch", v1alpha1.GroupVersion.Group, "payutokens", "")
		expectMay(t, operator, want, in, "patch", v1alpha1.GroupVersion.Group, "payutokens", "status")
		expectMay(t, operator, want, in, "create", "events.k8s.io", "events", "")
	}
	expectMay(t, operator, true, namespace, "update", "coordination.k8s.io", "leases", "")
	expectMay(t, operator, everywhere, "", "create", "authentication.k8s.io", "tokenreviews", "")
	expectMay(t, operator, false, "shop", "update", v1alpha1.GroupVersion.Group, "payutokens", "")
}

// expectMay waits a little, since the API server takes a moment to know new roles.
func expectMay(t *testing.T, user *lab.User, want bool, in, verb, group, resource, subresource string) {
	t.Helper()
	await(t, fmt.Sprintf("the operator may %s %s/%s in %q: %t", verb, resource, subresource, in, want), func() error {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: in, Verb: verb, Group: group, Resource: resource, Subresource: subresource},
		}}
		err := user.Client.Create(t.Context(), review)
		return errors.Join(err, lab.Unless(review.Status.Allowed == want, "that is not so"))
	})
}

// expectKept wants the CRD not to be deleted, not even soon, and the PayUToken to be the same.
func expectKept(t *testing.T, c *lab.Cluster, token *v1alpha1.PayUToken) {
	t.Helper()
	if at := liveCRD(t, c).GetDeletionTimestamp(); at != nil {
		t.Error("the CRD is being deleted")
	}
	var now v1alpha1.PayUToken
	lab.Check(t, c.Client.Get(t.Context(), client.ObjectKeyFromObject(token), &now))
	if now.UID != token.UID || now.DeletionTimestamp != nil {
		t.Errorf("the PayUToken is not the one from before, or is being deleted: %v", now.ObjectMeta)
	}
}

func columnsOf(t *testing.T, c *lab.Cluster) int {
	t.Helper()
	versions, _, err := unstructured.NestedSlice(liveCRD(t, c).Object, "spec", "versions")
	lab.Check(t, err)
	columns, _, err := unstructured.NestedSlice(versions[0].(map[string]any), "additionalPrinterColumns")
	lab.Check(t, err)
	return len(columns)
}

func liveCRD(t *testing.T, c *lab.Cluster) *unstructured.Unstructured {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	lab.Check(t, c.Client.Get(t.Context(), client.ObjectKey{Name: "payutokens.auth.payu.in"}, crd))
	return crd
}
