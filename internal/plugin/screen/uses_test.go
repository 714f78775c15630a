package screen_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

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
