package chart_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
)

const (
	promptConfig = "../../config/prompt-delivery"
	policyKind   = "ValidatingAdmissionPolicy"
	bindingKind  = "ValidatingAdmissionPolicyBinding"
)

// TestThePolicyIsThatOfConfig compares the policy and its binding with those of config/prompt-delivery, which internal/controller tries
// out, but for whom they restrict.
func TestThePolicyIsThatOfConfig(t *testing.T) {
	t.Parallel()
	source := parseFile(t, promptConfig, "policy", "policy.yaml")
	const ours = namespace + "." + release + "-prompt-delivery"
	rendered := render(t, "prompt")
	policy, binding := find(t, rendered, policyKind, ours, ""), find(t, rendered, bindingKind, ours, "")

	want := find(t, source, policyKind, release+"-prompt-delivery", "").Object["spec"].(map[string]any)
	delete(want, "paramKind")
	want["matchConditions"] = []any{map[string]any{"name": "by-the-operator",
		"expression": "request.userInfo.username == 'system:serviceaccount:" + namespace + ":payu-robot'"}}
	if diff := cmp.Diff(want, policy.Object["spec"]); diff != "" {
		t.Errorf("the policy differs: run make generate (-config +chart):\n%s", diff)
	}
	if rest := string(must(policy.MarshalJSON())(t)) + string(must(binding.MarshalJSON())(t)); strings.Contains(rest, "param") {
		t.Errorf("the policy has a parameter, and the chart has none:\n%s", rest)
	}

	want = find(t, source, bindingKind, release+"-prompt-delivery", "").Object["spec"].(map[string]any)
	delete(want, "paramRef")
	want["policyName"] = policy.GetName()
	if diff := cmp.Diff(want, binding.Object["spec"]); diff != "" {
		t.Errorf("the binding differs (-config +chart):\n%s", diff)
	}
}

// TestRightToPatchPods is about where the right is granted, and to whom.
func TestRightToPatchPods(t *testing.T) {
	t.Parallel()
	const name = release + "-prompt-delivery"
	inAll := find(t, parseFile(t, promptConfig, "role.yaml"), "ClusterRole", name, "")
	expectSameRole(t, inAll, find(t, render(t, "prompt"), "ClusterRole", name, ""))
	binding := find(t, render(t, "prompt"), "ClusterRoleBinding", name, "")
	subject := []any{map[string]any{"kind": "ServiceAccount", "name": "payu-robot", "namespace": namespace}}
	if diff := cmp.Diff(subject, binding.Object["subjects"]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	inOne := find(t, parseFile(t, promptConfig, "watched", "role.yaml"), "Role", name, "")
	rendered := render(t, "prompt", "--set", "watchNamespaces={shop,billing}")
	for _, watched := range []string{"shop", "billing"} {
		expectSameRole(t, inOne, find(t, rendered, "Role", name, watched))
		find(t, rendered, "RoleBinding", name, watched)
	}
	for _, role := range ofKind(rendered, "ClusterRole") {
		if strings.Contains(string(must(role.MarshalJSON())(t)), `"pods"`) {
			t.Errorf("the ClusterRole %s is about pods, although namespaces to watch are named", role.GetName())
		}
	}
}

// TestPartsOfPromptDelivery is about who creates what: the release, or somebody else.
func TestPartsOfPromptDelivery(t *testing.T) {
	t.Parallel()
	const roles, policies = 2, 2
	for setting, want := range map[string]int{
		"promptDelivery.enabled=false":                        0,
		"rbac.create=false":                                   policies,
		"promptDelivery.createPolicy=false":                   roles,
		"promptDelivery.createPolicy=false,rbac.create=false": 0,
		"watchNamespaces={shop}":                              roles + policies,
	} {
		var got []string
		for _, object := range render(t, "prompt", "--set", setting) {
			if strings.HasSuffix(object.GetName(), "-prompt-delivery") {
				got = append(got, object.GetKind())
			}
		}
		if len(got) != want {
			t.Errorf("%s: %d objects, want %d: %v", setting, len(got), want, got)
		}
	}
}

// TestPoliciesDoNotCollide is about releases of one name in two namespaces, which have no other object in common.
func TestPoliciesDoNotCollide(t *testing.T) {
	t.Parallel()
	taken := map[string]string{}
	for _, in := range []string{"a", "b"} {
		out := must(helm(t, "template", release, chart, "--namespace", in, "--kube-version", "1.30.0", "--set",
			"crds.install=false,watchNamespaces={"+in+"},rbac.aggregateRoles=false,metrics.secure=false,promptDelivery.enabled=true"))(t)
		objects := parse(t, out)
		for _, object := range objects {
			key := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
			if other, is := taken[key]; is {
				t.Errorf("the releases in the namespaces %s and %s share %s", other, in, key)
			}
			taken[key] = in
		}
		if got := len(ofKind(objects, policyKind, bindingKind)); got != 2 {
			t.Errorf("%d policies and bindings", got)
		}
	}
}

// testPromptDelivery installs the chart, and tries out what its account may do to a pod: with a ClusterRole, with Roles, and in a
// release whose policy was applied as the README says.
func testPromptDelivery(t *testing.T, c *testcluster.Cluster) {
	pod := createPod(t, c, "shop")
	run := func(args ...string) string {
		t.Helper()
		return must(helm(t, append(args, "--namespace", namespace)...))(t)
	}
	installed := []string{release, chart, "--kubeconfig", c.Kubeconfig, "--values", filepath.Join("testdata", "values", "prompt.yaml")}
	robot := must(c.AddServiceAccount(namespace, "payu-robot"))(t)

	run(append([]string{"install", "--take-ownership"}, installed...)...)
	expectMay(t, robot, true, "default", "patch", "", "pods", "")
	expectFenced(t, robot, pod)

	run(append([]string{"upgrade", "--set", "watchNamespaces={shop}"}, installed...)...)
	expectMay(t, robot, false, "default", "patch", "", "pods", "")
	expectFenced(t, robot, pod)

	run(append([]string{"upgrade", "--set", "promptDelivery.createPolicy=false"}, installed...)...)
	await(t, "a pod to be labelled without a policy", func() error { return annotateAndLabel(t, robot, pod) })
	policy := run("template", release, chart, "--kube-version", "1.30.0", "--values", filepath.Join("testdata", "values", "prompt.yaml"),
		"--show-only", "templates/promptdelivery.yaml")
	file := filepath.Join(t.TempDir(), "policy.yaml")
	check(t, os.WriteFile(file, []byte(policy), 0o600))
	must(c.Kubectl(t.Context(), "apply", "--filename", file))(t)
	expectFenced(t, robot, pod)
	must(c.Kubectl(t.Context(), "delete", "--filename", file))(t)

	run("uninstall", release, "--kubeconfig", c.Kubeconfig)
	expectMay(t, robot, false, "shop", "patch", "", "pods", "")
}

// expectFenced wants an account to be able to set the one annotation of a pod, and a policy to keep it from all else.
func expectFenced(t *testing.T, user *testcluster.User, pod *corev1.Pod) {
	t.Helper()
	await(t, "the policy", func() error {
		if err := annotateAndLabel(t, user, pod); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "may not change the labels") {
			return fmt.Errorf("a label is not refused by the policy: %w", err)
		}
		return nil
	})
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"annotations": {"auth.payu.in/token-written-at": "2026-11-26T17:00:00.000000001Z"}}}`))
	check(t, user.Client.Patch(t.Context(), nameOf(pod), patch, client.FieldOwner(release)))
}

// annotateAndLabel asks for a label beside the annotation, in a dry run: who manages more of a pod than the annotation is refused that, too.
func annotateAndLabel(t *testing.T, user *testcluster.User, pod *corev1.Pod) error {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(
		`{"metadata": {"labels": {"other": "set"}, "annotations": {"auth.payu.in/token-written-at": "2026-11-26T17:00:00Z"}}}`))
	return user.Client.Patch(t.Context(), nameOf(pod), patch, client.FieldOwner(release), client.DryRunAll)
}

// nameOf returns what names a pod in a request, without what was read of it.
func nameOf(pod *corev1.Pod) client.Object {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	object.SetNamespace(pod.Namespace)
	object.SetName(pod.Name)
	return object
}

func createPod(t *testing.T, c *testcluster.Cluster, in string) *corev1.Pod {
	t.Helper()
	pod := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": in, "name": "app"},
		"spec": map[string]any{
			"securityContext":              map[string]any{"runAsNonRoot": true, "seccompProfile": map[string]any{"type": "RuntimeDefault"}},
			"automountServiceAccountToken": false,
			"containers": []any{map[string]any{"name": "app", "image": "app", "securityContext": map[string]any{
				"allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []any{"ALL"}}}}},
		}}}
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	check(t, c.Client.Create(t.Context(), pod))
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "app"}}
}

// await repeats an attempt until it succeeds: the API server takes a moment to know new roles and policies.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		last = try()
		return last == nil, nil
	}); err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}
