package docs_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	clientID      = "shop"
	clientSecret  = "secret-of-shop"
	otherClientID = "another-shop" // with the same secret
)

// world is a cluster without nodes, with a shop in it, and a PayU.
type world struct {
	*lab.Shop
	payu *payutest.Running
}

// newWorld has what the pages take for granted: a namespace with credentials.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Shop: lab.RunCluster(t).ShopIn(t, "shop")}
	w.payu = payutest.Run(t, payutest.Config{Clients: []payutest.Client{
		{ID: clientID, Secret: clientSecret}, {ID: otherClientID, Secret: clientSecret},
	}})
	lab.Check(t, w.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}))
	w.Credentials("payu-credentials", clientID, clientSecret)
	return w
}

// on is the world in a test within the test.
func (w *world) on(t *testing.T) *world {
	return &world{Shop: w.ShopIn(t, w.Namespace), payu: w.payu}
}

// operate runs the operator with the rights that its ServiceAccount has, until stop is called or the test ends.
func (w *world) operate() (stop func()) {
	w.Helper()
	account := lab.Must(w.AddServiceAccount(lab.OperatorName, lab.OperatorName))(w)
	return lab.RunOperator(w.T, nil, account.Kubeconfig, append(lab.Asking(w.payu), "--metrics-bind-address=0")...).Stop
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
	w.MustKubectl("apply", "-k", filepath.Join(root, "config", "default"))
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
		w.MustKubectl("delete", "crd", "payutokens.auth.payu.in")
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
	w.MustKubectl("delete", "crd/payutokens.auth.payu.in")
	w.MustKubectl("delete", "secret/payu-credentials", "--namespace=shop")
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
	return filepath.Dir(lab.Must(lab.HelmPath())(t))
}
