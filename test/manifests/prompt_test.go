package manifests_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
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
	if rest := string(lab.Must(policy.MarshalJSON())(t)) + string(lab.Must(binding.MarshalJSON())(t)); strings.Contains(rest, "param") {
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
		if strings.Contains(string(lab.Must(role.MarshalJSON())(t)), `"pods"`) {
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
		out := lab.Must(helm(t, "template", release, chart, "--namespace", in, "--kube-version", "1.30.0", "--set",
			"crds.install=false,watchNamespaces={"+in+"},rbac.aggregateRoles=false,metrics.secure=false,promptDelivery.enabled=true"))(t)
		objects := lab.Objects(t, out)
		for _, object := range objects {
			key := key(object)
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
func testPromptDelivery(t *testing.T, c *lab.Cluster) {
	createPod(t, c, "shop")
	run := func(args ...string) string {
		t.Helper()
		return lab.Must(helm(t, append(args, "--namespace", namespace)...))(t)
	}
	installed := []string{release, chart, "--kubeconfig", c.Kubeconfig, "--values", filepath.Join("testdata", "values", "prompt.yaml")}
	robot := lab.Must(c.AddServiceAccount(namespace, "payu-robot"))(t)

	run(append([]string{"install", "--take-ownership"}, installed...)...)
	expectMay(t, robot, true, "default", "patch", "", "pods", "")
	expectFenced(t, robot, "shop")

	run(append([]string{"upgrade", "--set", "watchNamespaces={shop}"}, installed...)...)
	expectMay(t, robot, false, "default", "patch", "", "pods", "")
	expectFenced(t, robot, "shop")

	run(append([]string{"upgrade", "--set", "promptDelivery.createPolicy=false"}, installed...)...)
	await(t, "a pod to be labelled without a policy", func() error { return label(t, robot, "shop") })
	policy := run("template", release, chart, "--kube-version", "1.30.0", "--values", filepath.Join("testdata", "values", "prompt.yaml"),
		"--show-only", "templates/promptdelivery.yaml")
	file := filepath.Join(t.TempDir(), "policy.yaml")
	lab.Check(t, os.WriteFile(file, []byte(policy), 0o600))
	lab.Must(c.Kubectl(t.Context(), "apply", "--filename", file))(t)
	expectFenced(t, robot, "shop")
	lab.Must(c.Kubectl(t.Context(), "delete", "--filename", file))(t)

	run("uninstall", release, "--kubeconfig", c.Kubeconfig)
	expectMay(t, robot, false, "shop", "patch", "", "pods", "")
}

// createPod creates a pod as the strictest Pod Security wants it.
func createPod(t *testing.T, c *lab.Cluster, in string) {
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
	lab.Check(t, c.Client.Create(t.Context(), pod))
}
