package gitops_test

import (
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// world is a namespace with an operator at work in it, and a PayU for each environment: one that makes a new token for
// each request (Test), and one that gives a token again until it expires (Production).
type world struct {
	*lab.Shop
	payu    *payutest.Running
	reusing *payutest.Running
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newPlace(t)
	w.payu = payutest.Run(t, payutest.Config{})
	w.reusing = payutest.Run(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 12 * time.Second}) // longer than two floors, so that it is asked again within a life
	w.operate()
	t.Cleanup(w.payu.ClearFaults) // ends the requests that hang
	return w
}

// newPlace returns a world without an operator and without a PayU.
func newPlace(t *testing.T) *world {
	t.Helper()
	return &world{Shop: cluster.NewShop(t)}
}

// on returns the same world for a subtest.
func (w *world) on(t *testing.T) *world {
	return &world{Shop: cluster.ShopIn(t, w.Namespace), payu: w.payu, reusing: w.reusing}
}

// operate starts the operator for this namespace.
func (w *world) operate() {
	w.Helper()
	cas := slices.Concat(lab.Must(os.ReadFile(w.payu.CAFile))(w), lab.Must(os.ReadFile(w.reusing.CAFile))(w))
	w.Operate(w.payu, "--production-base-url="+w.reusing.URL, "--ca-file="+lab.File(w, "ca.pem", string(cas)),
		"--token-request-timeout=5m") // no request that hangs is to end by itself
}

// ---- what users do

// credentials creates the Secret "NAME-credentials", with a client that both PayUs know.
func (w *world) credentials(name string) {
	w.Helper()
	w.payu.PutClient(payutest.Client{ID: w.client(name), Secret: lab.MerchantSecret})
	w.reusing.PutClient(payutest.Client{ID: w.client(name), Secret: lab.MerchantSecret})
	w.Credentials(name+"-credentials", w.client(name), lab.MerchantSecret)
}

// client is the client ID of a PayUToken.
func (w *world) client(name string) string { return w.Namespace + "-" + name }

func (w *world) createSecret(name string, data map[string]string) {
	w.Helper()
	lab.Check(w, cluster.Client.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name}, StringData: data,
	}))
}

// create creates a PayUToken that reads "NAME-credentials".
func (w *world) create(name string, edits ...lab.Edit) {
	w.Helper()
	w.Create(name, append([]lab.Edit{lab.With(name + "-credentials")}, edits...)...)
}

func suspend(token *v1alpha1.PayUToken)      { token.Spec.Suspend = true }
func resume(token *v1alpha1.PayUToken)       { token.Spec.Suspend = false }
func inProduction(token *v1alpha1.PayUToken) { token.Spec.Environment = v1alpha1.EnvironmentProduction }

// ---- what Flux and Argo CD see

var kind = v1alpha1.GroupVersion.WithKind("PayUToken")

func (w *world) get(name string) *unstructured.Unstructured {
	w.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	lab.Check(w, cluster.Client.Get(w.Context(), w.Key(name), u))
	return u
}

func conditionsOf(u *unstructured.Unstructured) []metav1.Condition {
	token := &v1alpha1.PayUToken{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, token); err != nil {
		panic(err)
	}
	return token.Status.Conditions
}

// conditions returns the conditions in short: "Ready=True/TokenValid Refreshed=True/Succeeded".
func conditions(u *unstructured.Unstructured) string {
	return lab.Conditions(conditionsOf(u))
}

const good = "Ready=True/TokenValid Refreshed=True/Succeeded"

// await waits for the conditions of a PayUToken, and returns it as it then is.
func (w *world) await(name, want string) *unstructured.Unstructured {
	w.Helper()
	return w.follow(name).until(want, func(u *unstructured.Unstructured) bool { return conditions(u) == want })
}

// story is a PayUToken as time passes: what a watch sees, none left out.
type story struct {
	*world
	name  string
	watch watch.Interface
	seen  func(*unstructured.Unstructured) // called for each state, if set
}

// follow begins with what is there now; the PayUToken need not be there yet.
func (w *world) follow(name string) *story {
	w.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind)
	s := &story{world: w, name: name}
	s.watch = lab.Must(cluster.Client.Watch(w.Context(), list, client.InNamespace(w.Namespace), client.MatchingFields{"metadata.name": name}))(w)
	w.Cleanup(s.watch.Stop)
	return s
}

// until reads on until the PayUToken is as it is wanted.
func (s *story) until(what string, wanted func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	s.Helper()
	deadline, last := time.After(lab.Patience), ""
	for {
		select {
		case event, open := <-s.watch.ResultChan():
			u, ok := event.Object.(*unstructured.Unstructured)
			if !open || !ok {
				s.Fatalf("the watch of %s ended: %v", s.name, event)
			}
			if s.seen != nil {
				s.seen(u)
			}
			if wanted(u) {
				return u
			}
			last = conditions(u)
		case <-deadline:
			s.Fatalf("%s was not seen within %s:\nwant %s\nlast %s", s.name, lab.Patience, what, last)
		}
	}
}
