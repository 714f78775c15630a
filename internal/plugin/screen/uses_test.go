package screen_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
)

// shopPod gets the Secret in every way there is.
const shopPod = `
metadata: {name: shop, namespace: shop}
spec:
  volumes:
  - name: token
    secret: {secretName: payment-links-token}
  - name: all-in-one
    projected:
      sources:
      - configMap: {name: settings}
      - secret: {name: payment-links-token}
  - name: other
    secret: {secretName: other-token}
  - name: unused
    secret: {secretName: payment-links-token}
  initContainers:
  - name: init
    env:
    - name: TOKEN
      valueFrom: {secretKeyRef: {name: payment-links-token, key: access_token}}
  containers:
  - name: app
    volumeMounts:
    - {name: token, mountPath: /var/run/payu}
    - {name: other, mountPath: /var/run/other}
    env:
    - {name: PLAIN, value: payment-links-token}
    - name: OTHER
      valueFrom: {secretKeyRef: {name: other-token, key: access_token}}
  - name: legacy
    volumeMounts:
    - {name: token, mountPath: /etc/token, subPath: access_token}
    - {name: token, mountPath: /etc/$(POD)/token, subPathExpr: $(POD)}
    - {name: all-in-one, mountPath: /etc/all}
    envFrom:
    - prefix: PAYU_
      secretRef: {name: payment-links-token}
    - configMapRef: {name: payment-links-token}
  ephemeralContainers:
  - name: debugger
    volumeMounts:
    - {name: token, mountPath: /token}
status:
  phase: Running
  initContainerStatuses:
  - name: init
    state: {terminated: {exitCode: 0}}
  containerStatuses:
  - name: app
    state: {running: {startedAt: "2026-11-22T05:00:00Z"}}
  - name: legacy
    state: {running: {startedAt: "2026-11-22T05:30:00Z"}}
`

func shop(t *testing.T) corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(shopPod), &pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestUsesOf(t *testing.T) {
	started := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	want := []screen.Use{
		{Container: "init", Way: screen.Env, Where: "TOKEN"},
		{Container: "app", Way: screen.Directory, Where: "/var/run/payu", Since: started},
		{Container: "legacy", Way: screen.SubPath, Where: "/etc/token", Since: started.Add(30 * time.Minute)},
		{Container: "legacy", Way: screen.SubPath, Where: "/etc/$(POD)/token", Since: started.Add(30 * time.Minute)},
		{Container: "legacy", Way: screen.Directory, Where: "/etc/all", Since: started.Add(30 * time.Minute)},
		{Container: "legacy", Way: screen.Env, Where: "PAYU_*", Since: started.Add(30 * time.Minute)},
		{Container: "debugger", Way: screen.Directory, Where: "/token"},
	}
	for i := range want {
		want[i].Pod = "shop"
	}
	ended := shop(t)
	ended.Status.Phase = corev1.PodSucceeded
	if diff := cmp.Diff(want, screen.UsesOf("payment-links-token", []corev1.Pod{shop(t), ended})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if uses := screen.UsesOf("nobody-uses-it", []corev1.Pod{shop(t)}); len(uses) > 0 {
		t.Errorf("uses of another Secret: %+v", uses)
	}
}

// toldPods are pods that mount the Secret: one told of the present token, one of the token before, one that was created since.
func toldPods() []corev1.Pod {
	list := pods()[:3]
	for i, told := range []time.Duration{3 * time.Minute, 2 * time.Hour, 0} {
		list[i].CreationTimestamp = *ago(5 * time.Hour)
		if told > 0 {
			list[i].Annotations = map[string]string{v1alpha1.AnnotationTokenWrittenAt: now.Add(-told).Format(time.RFC3339Nano)}
		}
	}
	list[2].CreationTimestamp = *ago(10 * time.Minute)
	return list
}

func prompt(t *v1alpha1.PayUToken) { t.Spec.Target.Delivery = v1alpha1.DeliveryPrompt }

// TestStatusOfDelivery shows which pods were told, and what to do if they are not.
func TestStatusOfDelivery(t *testing.T) {
	for name, edits := range map[string][]edit{
		"told": {prompt, set(v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonPodsTold,
			`Pods that mount Secret "payment-links-token" are told of each new token`)},
		"unfenced": {prompt, set(v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonDeliveryUnfenced, "…")},
		"failing":  {prompt, badDay["failing"], set(v1alpha1.ConditionDelivered, metav1.ConditionFalse, v1alpha1.ReasonDeliveryFailed, "…")},
		"advised":  {badDay["reused"]},
	} {
		t.Run(name, func(t *testing.T) {
			token := well("payment-links", edits...)
			report := screen.Report{Token: &token, Secret: screen.Secret{Name: "payment-links-token"}, Uses: screen.UsesOf("payment-links-token", toldPods())}
			golden(t, "delivery-"+name, screen.Status(report, now, 100).String())
		})
	}
}

// TestNoAdviceOnDelivery is about PayUTokens to which faster delivery would bring nothing.
func TestNoAdviceOnDelivery(t *testing.T) {
	told := set(v1alpha1.ConditionDelivered, metav1.ConditionTrue, v1alpha1.ReasonPodsTold, "…")
	onlyVariables := pods()[:1]
	onlyVariables[0].Spec.Containers = onlyVariables[0].Spec.Containers[1:]
	for name, test := range map[string]struct {
		edits []edit
		pods  []corev1.Pod
	}{
		"it is prompt":              {[]edit{badDay["reused"], prompt, told}, pods()},
		"it is prompt, and new":     {[]edit{badDay["reused"], prompt}, pods()},
		"PayU issues new tokens":    {nil, pods()},
		"no pod mounts it":          {[]edit{badDay["reused"]}, nil},
		"pods have it in variables": {[]edit{badDay["reused"]}, onlyVariables},
	} {
		token := well("payment-links", test.edits...)
		text := screen.Status(screen.Report{Token: &token, Uses: screen.UsesOf("payment-links-token", test.pods)}, now, 100).String()
		if strings.Contains(text, "What to do") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

// pods are three replicas with a directory and a variable, one that was started before the token was fetched, and two pods
// of nobody.
func pods() (list []corev1.Pod) {
	replica := corev1.PodSpec{
		Volumes: []corev1.Volume{{Name: "t", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "payment-links-token"}}}},
		Containers: []corev1.Container{
			{Name: "shop", VolumeMounts: []corev1.VolumeMount{{Name: "t", MountPath: "/var/run/payu"}}},
			{Name: "cache", Env: []corev1.EnvVar{{Name: "PAYU_TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "payment-links-token"}, Key: "access_token"}}}}},
		},
	}
	owner := []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "shop-7d9c", Controller: ptr.To(true)}}
	for i, age := range []time.Duration{10 * time.Minute, 20 * time.Minute, 3 * time.Hour} {
		running := corev1.ContainerStatus{Name: "cache", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: *ago(age)}}}
		list = append(list, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "shop-7d9c-" + string(rune('a'+i)), OwnerReferences: owner},
			Spec:       replica, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{running}},
		})
	}
	single := corev1.PodSpec{Volumes: replica.Volumes, Containers: []corev1.Container{{Name: "debug",
		VolumeMounts: []corev1.VolumeMount{{Name: "t", MountPath: "/token", SubPath: "access_token"}}}}}
	for _, name := range []string{"debug-1", "debug-2"} {
		list = append(list, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: single})
	}
	return list
}
