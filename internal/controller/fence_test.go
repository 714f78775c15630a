package controller

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// readFence returns the policy of config/prompt-delivery and its binding.
func readFence() (*admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding, error) {
	content, err := os.ReadFile("../../config/prompt-delivery/policy/policy.yaml")
	if err != nil {
		return nil, nil, err
	}
	documents := strings.Split(string(content), "\n---\n")
	if len(documents) != 2 {
		return nil, nil, fmt.Errorf("policy.yaml has %d documents", len(documents))
	}
	policy, binding := &admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}
	if err := yaml.UnmarshalStrict([]byte(documents[0]), policy); err != nil {
		return nil, nil, err
	}
	return policy, binding, yaml.UnmarshalStrict([]byte(documents[1]), binding)
}

const account = "payu-token-operator"

// mayPatchPodsOnly returns the API server as a ServiceAccount of the world's namespace sees it, which may list and patch its pods.
func (w *world) mayPatchPodsOnly() client.WithWatch {
	w.Helper()
	user, err := cluster.AddServiceAccount(w.namespace, account)
	w.must(err)
	w.must(w.user.Create(w.ctx, &rbacv1.Role{ObjectMeta: w.meta("pods"), Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods", "pods/status", "pods/ephemeralcontainers"}, Verbs: []string{"*"}}}}))
	w.must(w.user.Create(w.ctx, &rbacv1.RoleBinding{ObjectMeta: w.meta("pods"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "pods"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: w.namespace}}}))
	w.await("the right to list pods", func(ctx context.Context) error {
		return user.Client.List(ctx, &corev1.PodList{}, client.InNamespace(w.namespace))
	})
	return user.Client
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.namespace, Name: name}
}

// fence applies the policy of config/prompt-delivery to the account of the world's namespace.
func (w *world) fence() (remove func()) {
	w.Helper()
	policy, binding, err := readFence()
	w.must(err)
	policy.Name = "fence-" + w.namespace
	binding.Name, binding.Spec.PolicyName, binding.Spec.ParamRef.Namespace = policy.Name, policy.Name, w.namespace
	w.must(w.user.Create(w.ctx, &corev1.ConfigMap{ObjectMeta: w.meta(binding.Spec.ParamRef.Name), Data: map[string]string{"name": account, "namespace": w.namespace}}))
	w.must(w.user.Create(w.ctx, policy))
	w.must(w.user.Create(w.ctx, binding))
	return func() {
		_ = w.user.Delete(context.Background(), binding)
		_ = w.user.Delete(context.Background(), policy)
	}
}

// await calls something until it works.
func (w *world) await(what string, try func(context.Context) error) {
	w.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(w.ctx, 20*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		last = try(ctx)
		return last == nil, nil
	}); err != nil {
		w.Fatalf("%s: %v", what, last)
	}
}

// awaitFence waits until the policy is in force.
func (w *world) awaitFence(pods client.Client, pod string) {
	w.Helper()
	w.await("the fence", func(ctx context.Context) error {
		fenced, err := isFenced(ctx, pods, w.namespace, pod)
		if err == nil && !fenced {
			err = fmt.Errorf("it is not in force")
		}
		return err
	})
}

type podEdit func(*corev1.Pod)

// pod creates a pod on a node.
func (w *world) pod(name string, edits ...podEdit) *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{
		ObjectMeta: w.meta(name),
		Spec: corev1.PodSpec{NodeName: "node", AutomountServiceAccountToken: ptr.To(false),
			Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	for _, e := range edits {
		e(pod)
	}
	w.must(w.user.Create(w.ctx, pod, client.FieldOwner("app-owner")))
	return pod
}

// mounting has a pod mount Secrets.
func mounting(secrets ...string) podEdit {
	return func(pod *corev1.Pod) {
		for _, secret := range secrets {
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: secret,
				VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}})
		}
	}
}

// told returns the annotation of a pod.
func (w *world) told(name string) string {
	w.Helper()
	pod := &corev1.Pod{}
	w.must(cluster.Client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, pod))
	return pod.Annotations[v1alpha1.AnnotationTokenWrittenAt]
}

// TestTheFence tries what the policy of config/prompt-delivery has to refuse, and what it has to accept.
func TestTheFence(t *testing.T) {
	t.Parallel()
	w := newPodWorld(t)
	operator := w.mayPatchPodsOnly()
	defer w.fence()()
	w.pod("first", func(pod *corev1.Pod) {
		pod.Labels, pod.Annotations = map[string]string{"app": "shop"}, map[string]string{"kept": "as it is"}
	})
	w.awaitFence(operator, "first")

	const ours = `"auth.payu.in/token-written-at": "2026-11-26T17:00:00.000000001Z"`
	refused := map[string]string{
		"a spec":                    `{"spec": {"containers": [{"name": "app", "image": "evil"}]}}`,
		"a spec beside":             `{"metadata": {"annotations": {` + ours + `}}, "spec": {"activeDeadlineSeconds": 5}}`,
		"a label":                   `{"metadata": {"labels": {"app": "evil"}}}`,
		"a label beside":            `{"metadata": {"annotations": {` + ours + `}, "labels": {"app": "evil"}}}`,
		"a label removed":           `{"metadata": {"annotations": {` + ours + `}, "labels": {"app": null}}}`,
		"an owner":                  `{"metadata": {"annotations": {` + ours + `}, "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}]}}`,
		"a finalizer":               `{"metadata": {"annotations": {` + ours + `}, "finalizers": ["example.com/never"]}}`,
		"generateName":              `{"metadata": {"annotations": {` + ours + `}, "generateName": "evil-"}}`,
		"another annotation":        `{"metadata": {"annotations": {` + ours + `, "other": "set"}}}`,
		"another annotation edited": `{"metadata": {"annotations": {` + ours + `, "kept": "edited"}}}`,
		"another one removed":       `{"metadata": {"annotations": {` + ours + `, "kept": null}}}`,
		"all annotations":           `{"metadata": {"annotations": null}}`,
		"its own removed":           `{"metadata": {"annotations": {"auth.payu.in/token-written-at": null}}}`,
		"a long value":              `{"metadata": {"annotations": {"auth.payu.in/token-written-at": "` + strings.Repeat("x", 41) + `"}}}`,
		"no managers":               `{"metadata": {"annotations": {` + ours + `}, "managedFields": [{}]}}`,
		"other managers":            `{"metadata": {"annotations": {` + ours + `}, "managedFields": [{"manager": "evil", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:containers": {}}}}]}}`,
		"a manager that owns less": `{"metadata": {"annotations": {` + ours + `}, "managedFields": [{"manager": "app-owner", "operation": "Update", "apiVersion": "v1", "time": "2026-11-26T17:00:00Z", "fieldsType": "FieldsV1",
			"fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}}}]}}`,
	}
	for what, patch := range refused {
		t.Run(what, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: w.meta("first")}
			err := operator.Patch(w.ctx, pod, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(v1alpha1.ManagedBy))
			if !isPolicyDenial(err) {
				t.Errorf("not refused by the policy: %v", err)
			}
		})
	}
	t.Run("subresources, creation, deletion", func(t *testing.T) {
		pod := &corev1.Pod{ObjectMeta: w.meta("first")}
		if err := operator.Status().Patch(w.ctx, pod, client.RawPatch(types.MergePatchType, []byte(`{"status": {"reason": "evil"}}`))); !isPolicyDenial(err) {
			t.Errorf("status: %v", err)
		}
		created := &corev1.Pod{ObjectMeta: w.meta("second"), Spec: pod.Spec}
		created.Spec.Containers = []corev1.Container{{Name: "app", Image: "app"}}
		if err := operator.Create(w.ctx, created); !isPolicyDenial(err) {
			t.Errorf("created: %v", err)
		}
		w.told("first")
		if err := operator.Delete(w.ctx, &corev1.Pod{ObjectMeta: w.meta("first")}); !isPolicyDenial(err) {
			t.Errorf("deleted: %v", err)
		}
		w.told("first")
	})
	accept := func(pod string) {
		t.Helper()
		before := &corev1.Pod{}
		w.must(cluster.Client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: pod}, before))
		value := time.Now().UTC().Format(writtenAtLayout)
		if err := annotate(w.ctx, operator, w.namespace, pod, v1alpha1.AnnotationTokenWrittenAt, value); err != nil {
			t.Errorf("%s cannot be told: %v", pod, err)
		} else if w.told(pod) != value {
			t.Errorf("%s was told %q, not %q", pod, w.told(pod), value)
		}
	}
	t.Run("accepted", func(t *testing.T) {
		accept("first")
		accept("first")
		w.pod("bare", func(pod *corev1.Pod) { pod.Annotations, pod.Labels = nil, nil })
		accept("bare")
		w.pod("annotated by a person", func(pod *corev1.Pod) { pod.Name = "by-a-person" })
		w.must(annotate(w.ctx, w.user, w.namespace, "by-a-person", v1alpha1.AnnotationTokenWrittenAt, "now")) // as the operator's field manager
		person := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"annotations": {"auth.payu.in/token-written-at": "then"}}}`))
		w.must(w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("by-a-person")}, person, client.FieldOwner("kubectl-annotate")))
		accept("by-a-person")
		w.pod("managed")
		for i := range 14 {
			other := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata": {"annotations": {"example.com/%d": "x"}}}`, i))
			w.must(w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("managed")}, other, client.FieldOwner(fmt.Sprintf("manager-%d", i))))
		}
		accept("managed")
		accept("managed")
	})
	t.Run("others are free", func(t *testing.T) {
		w.must(annotate(w.ctx, w.user, w.namespace, "first", "other", "set"))
	})
}
