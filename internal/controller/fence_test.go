package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
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

// account is whom the policy restricts: one ServiceAccount for all tests.
var account = types.NamespacedName{Namespace: "default", Name: "payu-token-operator"}

// theFence applies the policy of config/prompt-delivery, once, and returns the API server as the operator's account sees it.
var theFence = sync.OnceValues(func() (client.WithWatch, error) {
	ctx := context.Background()
	policy, binding, err := readFence()
	if err != nil {
		return nil, err
	}
	binding.Spec.ParamRef.Namespace = account.Namespace
	user, err := cluster.AddServiceAccount(account.Namespace, account.Name)
	if err != nil {
		return nil, err
	}
	return user.Client, errors.Join(
		cluster.Client.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: binding.Spec.ParamRef.Name},
			Data: map[string]string{"name": account.Name, "namespace": account.Namespace}}),
		cluster.Client.Create(ctx, policy), cluster.Client.Create(ctx, binding))
})

// fenced returns the API server as an account sees it that may do all with the pods of the world's namespace, but for the fence.
func (w *world) fenced() client.WithWatch {
	w.Helper()
	operator, err := theFence()
	w.must(err)
	w.allowPods(operator, account)
	w.pod("a-pod-without-a-secret")
	w.await("the fence", func(ctx context.Context) error {
		found, err := tryFence(ctx, operator, w.namespace, podRef{name: "a-pod-without-a-secret"}, w.clock.Now())
		if err == nil && found != fenced {
			err = errors.New("it is not in force")
		}
		return err
	})
	return operator
}

// unfenced returns the API server as another account sees it, with the same rights.
func (w *world) unfenced() client.WithWatch {
	w.Helper()
	name := types.NamespacedName{Namespace: w.namespace, Name: "unfenced"}
	user, err := cluster.AddServiceAccount(name.Namespace, name.Name)
	w.must(err)
	w.allowPods(user.Client, name)
	return user.Client
}

// allowPods lets an account do all with the pods of the world's namespace.
func (w *world) allowPods(c client.Client, account types.NamespacedName) {
	w.Helper()
	w.must(client.IgnoreAlreadyExists(w.user.Create(w.ctx, &rbacv1.Role{ObjectMeta: w.meta("pods"), Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods", "pods/status", "pods/ephemeralcontainers"}, Verbs: []string{"*"}}}})))
	w.must(w.user.Create(w.ctx, &rbacv1.RoleBinding{ObjectMeta: w.meta(account.Name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "pods"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: account.Name, Namespace: account.Namespace}}}))
	w.await("the right to list pods", func(ctx context.Context) error {
		return c.List(ctx, &corev1.PodList{}, client.InNamespace(w.namespace))
	})
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.namespace, Name: name}
}

// await calls something until it works.
func (w *world) await(what string, try func(context.Context) error) {
	w.Helper()
	w.must(lab.Await(w.ctx, 30*time.Second, what, try))
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
	return w.getPod(name).Annotations[v1alpha1.AnnotationTokenWrittenAt]
}

// TestTheFence tries what the policy of config/prompt-delivery has to refuse, and what it has to accept.
func TestTheFence(t *testing.T) {
	t.Parallel()
	w := newPodWorld(t)
	operator := w.fenced()
	w.pod("first", func(pod *corev1.Pod) {
		pod.Labels, pod.Annotations = map[string]string{"app": "shop"}, map[string]string{"kept": "as it is"}
	})
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

// annotate sets one annotation of a pod, as the operator's field manager.
func annotate(ctx context.Context, c client.Client, namespace, pod, annotation, value string, options ...client.PatchOption) error {
	return applyToPod(ctx, c, namespace, podRef{name: pod}, map[string]string{annotation: value}, nil, options...)
}

func TestTheFenceKeepsManagersAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newPodWorld(t)
	operator := w.fenced()
	const ours = `"auth.payu.in/token-written-at": "2026-11-26T17:00:00.000000001Z"`
	try := func(t *testing.T, pod, fields string) {
		t.Helper()
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"annotations": {`+ours+`}, "managedFields": `+fields+`}}`))
		err := operator.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta(pod)}, patch, client.FieldOwner(v1alpha1.ManagedBy))
		if !isPolicyDenial(err) {
			t.Errorf("accepted (%v): %v", err, w.getPod(pod).ManagedFields)
		}
	}
	entry := func(m metav1.ManagedFieldsEntry) string {
		return fmt.Sprintf(`{"manager": %q, "operation": %q, "apiVersion": "v1", "time": %q, "fieldsType": "FieldsV1", "fieldsV1": %s}`, m.Manager, m.Operation, m.Time.UTC().Format(time.RFC3339), m.FieldsV1)
	}
	t.Run("an entry of the same manager with another time", func(t *testing.T) {
		p := w.pod("older", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "shop"} })
		p = w.getPod(p.Name)
		more := p.ManagedFields[0]
		more.Time = ptr.To(metav1.NewTime(more.Time.Add(-time.Hour)))
		more.FieldsV1 = metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:other":{},"f:app":{}}},"f:spec":{"f:activeDeadlineSeconds":{},"f:tolerations":{}}}`)
		try(t, "older", "["+entry(p.ManagedFields[0])+","+entry(more)+"]")
	})
	t.Run("a manager that owns the annotation is given more", func(t *testing.T) {
		w.pod("given")
		person := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"annotations": {"auth.payu.in/token-written-at": "then"}, "labels": {"by": "a-person"}}}`))
		w.must(w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("given")}, person, client.FieldOwner("person")))
		p := w.getPod("given")
		entries := []string{}
		for _, m := range p.ManagedFields {
			if m.Manager == "person" {
				m.FieldsV1 = metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:auth.payu.in/token-written-at":{}},"f:labels":{".":{},"f:by":{}}},"f:spec":{"f:activeDeadlineSeconds":{},"f:tolerations":{}}}`)
			}
			entries = append(entries, entry(m))
		}
		try(t, "given", "["+strings.Join(entries, ",")+"]")
	})
	many := func(name string) {
		w.pod(name, func(p *corev1.Pod) { p.Labels = map[string]string{"app": "shop"} })
		for i := range 12 {
			other := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata": {"annotations": {"example.com/%d": "x"}}}`, i))
			w.must(w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta(name)}, other, client.FieldOwner(fmt.Sprintf("manager-%d", i))))
		}
	}
	t.Run("all managers of ten forged into ancient-changes", func(t *testing.T) {
		many("ten")
		try(t, "ten", `[{"manager": "ancient-changes", "operation": "Update", "apiVersion": "v1", "time": "2026-11-26T17:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec":{"f:tolerations":{}}}}]`)
	})
	t.Run("ancient-changes that applies", func(t *testing.T) {
		many("ten-applied")
		entries := []string{`{"manager": "ancient-changes", "operation": "Apply", "apiVersion": "v1", "time": "2026-11-26T17:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata":{"f:labels":{"f:team":{}}},"f:spec":{"f:tolerations":{}}}}`}
		for _, m := range w.getPod("ten-applied").ManagedFields {
			entries = append(entries, entry(m))
		}
		try(t, "ten-applied", "["+strings.Join(entries, ",")+"]")
		apply := client.RawPatch(types.ApplyPatchType, []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"ten-applied","labels":{"team":"shop"}}}`))
		if err := w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("ten-applied")}, apply, client.FieldOwner("team")); err != nil {
			t.Errorf("another user's apply of a new label, after that: %v", err)
		}
	})
	for name, forged := range map[string]string{ // beside the others
		"another-manager":     `{"manager": "evil", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:tolerations": {}}}}`,
		"the-operator-itself": `{"manager": "payu-token-operator", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:tolerations": {}}}}`,
		"before-the-first":    `{"manager": "before-first-apply", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:tolerations": {}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			w.pod(name, func(p *corev1.Pod) { p.Labels = map[string]string{"app": "shop"} })
			try(t, name, "["+entry(w.getPod(name).ManagedFields[0])+","+forged+"]")
		})
	}
	t.Run("a manager that updates becomes one that applies", func(t *testing.T) {
		w.pod("applies", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "shop"} })
		m := w.getPod("applies").ManagedFields[0]
		m.Operation = metav1.ManagedFieldsOperationApply
		try(t, "applies", "["+entry(m)+"]")
	})
}

func TestTheFenceLetsPodsBeTold(t *testing.T) {
	t.Parallel()
	w := newPodWorld(t)
	operator := w.fenced()
	tell := func(t *testing.T, pod string) {
		t.Helper()
		for range 2 {
			before := w.getPod(pod)
			if err := tellPod(w.ctx, operator, w.namespace, podRef{pod, before.UID}, time.Now()); err != nil {
				t.Errorf("%v", err)
			}
			if w.told(pod) == before.Annotations[v1alpha1.AnnotationTokenWrittenAt] {
				t.Errorf("%q stayed", w.told(pod))
			}
		}
	}
	t.Run("applied by another", func(t *testing.T) {
		w.pod("applied")
		apply := client.RawPatch(types.ApplyPatchType, []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"applied","annotations":{"auth.payu.in/token-written-at":"x","a":"b"},"labels":{"c":"d"}}}`))
		w.must(w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("applied")}, apply, client.FieldOwner("argocd"), client.ForceOwnership))
		tell(t, "applied")
	})
	t.Run("a person used the operator's name", func(t *testing.T) {
		w.pod("named")
		p := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"c":"d"}}}`))
		w.must(w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("named")}, p, client.FieldOwner(v1alpha1.ManagedBy)))
		tell(t, "named")
	})
	t.Run("a large pod", func(t *testing.T) {
		w.pod("large", func(p *corev1.Pod) {
			p.Annotations, p.Labels = map[string]string{}, map[string]string{}
			for i := range 2000 {
				p.Annotations[fmt.Sprintf("example.com/annotation-%d", i)] = strings.Repeat("x", 60)
			}
			for c := range 40 {
				container := corev1.Container{Name: fmt.Sprintf("c-%d", c), Image: "app"}
				for e := range 100 {
					container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprintf("E_%d", e), Value: strings.Repeat("v", 30)})
				}
				p.Spec.Containers = append(p.Spec.Containers, container)
			}
		})
		for i := range 14 {
			other := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata": {"labels": {"example.com/%d": "x"}}}`, i))
			w.must(w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("large")}, other, client.FieldOwner(fmt.Sprintf("manager-%d", i))))
		}
		tell(t, "large")
	})
	t.Run("nobody manages a field", func(t *testing.T) {
		w.pod("unmanaged")
		p := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"managedFields":[{}]}}`))
		w.must(w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("unmanaged")}, p))
		if managers := w.getPod("unmanaged").ManagedFields; len(managers) > 0 {
			t.Fatalf("there are %v", managers)
		}
		tell(t, "unmanaged")
	})
	t.Run("an environment variable twice", func(t *testing.T) {
		w.pod("twice", func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}}
		})
		tell(t, "twice")
	})
	t.Run("the operator's own patch of another type", func(t *testing.T) {
		w.pod("patched")
		p := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"auth.payu.in/token-written-at":"then"}}}`))
		w.must(w.user.Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("patched")}, p, client.FieldOwner(v1alpha1.ManagedBy)))
		tell(t, "patched")
	})
	t.Run("a later pod of the same name is left alone", func(t *testing.T) {
		former := w.pod("again")
		w.must(w.user.Delete(w.ctx, &corev1.Pod{ObjectMeta: w.meta("again")}, client.GracePeriodSeconds(0)))
		for _, now := range []string{"none", "another"} {
			if now == "another" {
				w.pod("again")
			}
			err := tellPod(w.ctx, operator, w.namespace, podRef{"again", former.UID}, time.Now())
			if podOutcomeOf(err) != podGone {
				t.Errorf("with %s there: %v", now, err)
			}
		}
		if w.told("again") != "" {
			t.Errorf("the later pod was told")
		}
	})
}

func (w *world) getPod(name string) *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{}
	w.must(cluster.Client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, pod))
	return pod
}
