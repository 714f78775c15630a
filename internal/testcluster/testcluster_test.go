package testcluster_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
)

// TestStory runs one control plane through all that a test may do to it.
func TestStory(t *testing.T) {
	ctx := t.Context()
	cluster := start(t)

	namespace := must(cluster.Namespace(ctx))(t)
	if second := must(cluster.Namespace(ctx))(t); second == namespace {
		t.Errorf("two namespaces are named %q", namespace)
	}
	if err := cluster.Client.List(ctx, &v1alpha1.PayUTokenList{}); err != nil {
		t.Errorf("the CRD is not installed: %v", err)
	}

	reader := must(cluster.AddServiceAccount(namespace, "reader"))(t)
	if name := whoami(t, reader); name != "system:serviceaccount:"+namespace+":reader" {
		t.Errorf("the ServiceAccount is known as %q", name)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "kept"}}
	if err := reader.Client.Create(ctx, secret.DeepCopy()); !apierrors.IsForbidden(err) {
		t.Errorf("RBAC does not stop a user without a role: %v", err)
	}
	if err := cluster.Client.Create(ctx, secret.DeepCopy()); err != nil {
		t.Fatal(err)
	}

	open := watchSecrets(t, cluster)
	check(t, "restarting the API server under a watch", cluster.RestartAPIServer())
	for range open.ResultChan() { // ends with the API server
	}
	check(t, "reading what was there before the restart", cluster.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret))
	if name := whoami(t, reader); !strings.HasSuffix(name, ":reader") {
		t.Errorf("after the restart the ServiceAccount is known as %q", name)
	}

	check(t, "stopping etcd", cluster.StopEtcd())
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := cluster.Client.Get(soon, client.ObjectKeyFromObject(secret), secret); err == nil {
		t.Error("the API server reads a Secret while etcd is down")
	}
	check(t, "starting etcd", cluster.StartEtcd())
	check(t, "reading what was there before the outage", cluster.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret))
}

func TestStopLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	cluster := must(testcluster.Start("event-ttl=2h"))(t)
	check(t, "stopping", cluster.Stop())
	if left := must(filepath.Glob(os.TempDir() + "/*"))(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := cluster.Client.List(t.Context(), &v1alpha1.PayUTokenList{}); err == nil {
		t.Error("the API server still answers")
	}
}

func TestStartTellsWhatIsMissing(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	if _, err := testcluster.Start(); err == nil || !strings.Contains(err.Error(), "etcd") {
		t.Errorf("starting without programs: %v", err)
	}
}

func start(t *testing.T) *testcluster.Cluster {
	t.Helper()
	cluster := must(testcluster.Start())(t)
	t.Cleanup(func() { check(t, "stopping", cluster.Stop()) })
	return cluster
}

func watchSecrets(t *testing.T, cluster *testcluster.Cluster) watch.Interface {
	t.Helper()
	secrets := must(kubernetes.NewForConfig(cluster.Config))(t).CoreV1().Secrets(metav1.NamespaceAll)
	return must(secrets.Watch(t.Context(), metav1.ListOptions{}))(t)
}

func whoami(t *testing.T, user *testcluster.User) string {
	t.Helper()
	return must(user.Kubectl(t.Context(), "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"))(t)
}

// must ends the test unless err is nil.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
