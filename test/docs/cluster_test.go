package docs_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
	"github.com/payu-token-operator/payu-token-operator/test/process"
)

const (
	operatorName = "payu-token-operator"

	clientID      = "shop"
	clientSecret  = "secret-of-shop"
	otherClientID = "another-shop" // with the same secret
)

// world is a cluster without nodes, and a PayU.
type world struct {
	*testing.T
	*testcluster.Cluster
	payu *payutest.Running
}

// newWorld has what the pages take for granted: a namespace with credentials.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, Cluster: must(testcluster.Start())(t)}
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	w.payu = payutest.Run(t, payutest.Config{Clients: []payutest.Client{
		{ID: clientID, Secret: clientSecret}, {ID: otherClientID, Secret: clientSecret},
	}})
	check(t, w.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}))
	w.credentials("payu-credentials", clientSecret)
	return w
}

// on is the world in a test within the test.
func (w *world) on(t *testing.T) *world {
	return &world{T: t, Cluster: w.Cluster, payu: w.payu}
}

func (w *world) kubectl(args ...string) string {
	w.Helper()
	return must(w.Kubectl(w.Context(), args...))(w.T)
}

func (w *world) credentials(name, secret string) {
	w.Helper()
	check(w.T, w.Client.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		StringData: map[string]string{"client_id": clientID, "client_secret": secret},
	}))
}

// operate runs the operator with the rights that its ServiceAccount has, until stop is called or the test ends.
func (w *world) operate() (stop func()) {
	w.Helper()
	account := must(w.AddServiceAccount(operatorName, operatorName))(w.T)
	probes := must(process.FreeAddress())(w.T)
	var log bytes.Buffer
	manager := exec.Command(filepath.Join(programs, "manager"), "--kubeconfig="+account.Kubeconfig, "--test-base-url="+w.payu.URL,
		"--ca-file="+w.payu.CAFile, "--metrics-bind-address=0", "--health-probe-bind-address="+probes)
	manager.Stderr = &log
	check(w.T, manager.Start())
	stop = sync.OnceFunc(func() {
		manager.Process.Signal(syscall.SIGTERM)
		if err := manager.Wait(); err != nil {
			w.Errorf("the operator ended with %v and said:\n%s", err, &log)
		}
	})
	w.Cleanup(stop)
	w.await("the operator is ready", func(ctx context.Context) bool {
		request := must(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+probes+"/readyz", nil))(w.T)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return stop
}

// await looks again and again until it sees what is wanted.
func (w *world) await(what string, look func(context.Context) bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !look(ctx) {
		select {
		case <-again.C:
		case <-ctx.Done():
			w.Fatalf("not seen within %s: %s", patience, what)
		}
	}
}

// shell is a terminal of the cluster's administrator, with more variables in its environment.
func (w *world) shell(env ...string) *shell {
	w.Helper()
	path := "PATH=" + filepath.Dir(w.KubectlPath) + ":" + os.Getenv("PATH")
	return newShell(w.T, append([]string{"KUBECONFIG=" + w.Kubeconfig, path}, env...)...)
}

// TestPages plays the pages in one cluster, in which the operator works with the rights of config/rbac and no more.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.kubectl("apply", "-k", filepath.Join(root, "config", "default"))
	stop := w.operate()
	for _, page := range []struct {
		path    string
		prepare string
	}{
		{"docs/payutoken.md", refunds},
		{"docs/consuming.md", ""},
		{"docs/security.md", ""},
		{"docs/migrating.md", "kubectl create secret generic payments-payu -n shop --from-literal=token=former"},
	} {
		t.Run(page.path, func(t *testing.T) {
			s := w.on(t).shell()
			s.mustRun(page.prepare)
			s.play(page.path)
		})
	}
	t.Run("manifests", func(t *testing.T) { w.on(t).acceptsManifests() })
	t.Run("users", func(t *testing.T) { w.on(t).users() })
	stop()
	t.Run("restore", func(t *testing.T) { w.on(t).restore() })
}

// refunds makes the example of docs/payutoken.md of a PayUToken that is not Ready.
const refunds = `
kubectl create secret generic wrong-credentials -n shop --from-literal=client_id=shop --from-literal=client_secret=guessed
kubectl apply -f - <<EOF
apiVersion: auth.payu.in/v1alpha1
kind: PayUToken
metadata: {name: refunds, namespace: shop}
spec:
  environment: Test
  credentialsSecretRef: {name: wrong-credentials}
  scopes: [read_payment_links]
EOF
kubectl wait --for=condition=Stalled payutoken/refunds -n shop
`

// TestOperations plays docs/operations.md in a cluster that knows nothing of PayUTokens yet. Where the page has pods of
// the operator start, the operator starts beside the cluster, as the ServiceAccount that the page has made.
func TestOperations(t *testing.T) {
	t.Parallel()
	const page = "docs/operations.md"
	t.Run("helm", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.kubectl("delete", "crd", "payutokens.auth.payu.in")
		s := w.shell("PATH=" + helmFolder(t) + ":" + filepath.Dir(w.KubectlPath) + ":" + os.Getenv("PATH"))
		s.pods = sync.OnceFunc(func() { w.operate() })
		s.play(page)
		t.Run("restore", func(t *testing.T) { restoreElsewhere(t, page, s) })
	})
	t.Run("kustomize", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		s := w.shell()
		s.mustRun("kubectl delete crd payutokens.auth.payu.in")
		s.playOnly(page, "sh kustomize")
	})
}

// restoreElsewhere applies what a page has backed up to another cluster, in which the operator was installed in the same way.
func restoreElsewhere(t *testing.T, page string, from *shell) {
	t.Helper()
	w := newWorld(t)
	w.kubectl("delete", "crd/payutokens.auth.payu.in")
	w.kubectl("delete", "secret/payu-credentials", "--namespace=shop")
	s := w.shell("PATH=" + helmFolder(t) + ":" + filepath.Dir(w.KubectlPath) + ":" + os.Getenv("PATH"))
	s.dir = from.dir
	s.do(parsePage(t, page).fences[0])
	w.operate()
	s.playOnly(page, "sh restore")
	w.expectRequests(0, 1)
	if s.mustRun("kubectl get secret payment-links-token -n shop -o jsonpath='{.data.access_token}'") == "" {
		t.Error("there is no token")
	}
}

// helmFolder returns the folder of the Helm that the go command builds.
func helmFolder(t *testing.T) string {
	t.Helper()
	tool := exec.Command("go", "tool", "-modfile=hack/helm/go.mod", "-n", "helm")
	tool.Dir = root
	return filepath.Dir(strings.TrimSpace(string(must(tool.Output())(t))))
}
