package lab_test

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
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestStory runs one control plane through all that a test may do to it.
func TestStory(t *testing.T) {
	ctx := t.Context()
	cluster := lab.RunCluster(t)

	namespace := lab.Must(cluster.Namespace(ctx))(t)
	if second := lab.Must(cluster.Namespace(ctx))(t); second == namespace {
		t.Errorf("two namespaces are named %q", namespace)
	}
	if err := cluster.Client.List(ctx, &v1alpha1.PayUTokenList{}); err != nil {
		t.Errorf("the CRD is not installed: %v", err)
	}

	reader := lab.Must(cluster.AddServiceAccount(namespace, "reader"))(t)
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
	lab.Check(t, cluster.RestartAPIServer())
	for range open.ResultChan() { // ends with the API server
	}
	lab.Check(t, cluster.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret)) // reading what was there before the restart
	if name := whoami(t, reader); !strings.HasSuffix(name, ":reader") {
		t.Errorf("after the restart the ServiceAccount is known as %q", name)
	}

	lab.Check(t, cluster.StopEtcd())
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := cluster.Client.Get(soon, client.ObjectKeyFromObject(secret), secret); err == nil {
		t.Error("the API server reads a Secret while etcd is down")
	}
	lab.Check(t, cluster.StartEtcd())
	lab.Check(t, cluster.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret)) // reading what was there before the outage
}

func TestStopLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	cluster := lab.Must(lab.StartCluster("event-ttl=2h"))(t)
	lab.Check(t, cluster.Stop())
	if left := lab.Must(filepath.Glob(os.TempDir() + "/*"))(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := cluster.Client.List(t.Context(), &v1alpha1.PayUTokenList{}); err == nil {
		t.Error("the API server still answers")
	}
}

func TestStartTellsWhatIsMissing(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	if _, err := lab.StartCluster(); err == nil || !strings.Contains(err.Error(), "etcd") {
		t.Errorf("starting without programs: %v", err)
	}
}

func watchSecrets(t *testing.T, cluster *lab.Cluster) watch.Interface {
	t.Helper()
	secrets := lab.Must(kubernetes.NewForConfig(cluster.Config))(t).CoreV1().Secrets(metav1.NamespaceAll)
	return lab.Must(secrets.Watch(t.Context(), metav1.ListOptions{}))(t)
}

func whoami(t *testing.T, user *lab.User) string {
	t.Helper()
	return lab.Must(user.Kubectl(t.Context(), "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"))(t)
}
