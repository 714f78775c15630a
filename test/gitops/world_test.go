package gitops_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// world is a namespace with an operator at work in it, and a PayU for each environment: one that makes a new token for
// each request (Test), and one that gives a token again until it dies (Production).
type world struct {
	*testing.T
	ctx       context.Context
	namespace string
	payu      *payutest.Running
	reusing   *payutest.Running
}

const clientSecret = "s3cr3t+%26=/one"

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
	return &world{T: t, ctx: t.Context(), namespace: must(cluster.Namespace(t.Context()))(t)}
}

// on returns the same world for a subtest.
func (w *world) on(t *testing.T) *world {
	sub := *w
	sub.T, sub.ctx = t, t.Context()
	return &sub
}

// operate starts the operator for this namespace and waits until it is ready. At the end of the test it must end well.
func (w *world) operate() {
	w.Helper()
	cas := slices.Concat(must(os.ReadFile(w.payu.CAFile))(w), must(os.ReadFile(w.reusing.CAFile))(w))
	caFile, probes := w.file("ca.pem", string(cas)), must(process.FreeAddress())(w.T)
	var log bytes.Buffer
	operator := exec.Command(manager, "--kubeconfig="+cluster.Kubeconfig, "--watch-namespaces="+w.namespace,
		"--test-base-url="+w.payu.URL, "--production-base-url="+w.reusing.URL, "--ca-file="+caFile,
		"--token-request-timeout=5m", // no request that hangs is to end by itself
		"--health-probe-bind-address="+probes, "--metrics-bind-address=0")
	operator.Env = []string{"HOME=" + w.TempDir()}
	operator.Stdout, operator.Stderr = &log, &log
	check(w, operator.Start())
	w.Cleanup(func() {
		operator.Process.Signal(syscall.SIGTERM)
		err := operator.Wait()
		if err != nil {
			w.Errorf("the operator: %v", err)
		}
		if w.Failed() {
			w.Logf("the operator's log:\n%s", log.String())
		}
	})
	w.awaitTrue("the operator is ready", func() bool {
		answer, err := http.Get("http://" + probes + "/readyz")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// awaitTrue looks again and again, for what nothing tells the test of.
func (w *world) awaitTrue(what string, look func() bool) {
	w.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for !look() {
		select {
		case <-again.C:
		case <-deadline:
			w.Fatalf("not seen within %s: %s", patience, what)
		}
	}
}

// file writes a file for this test and returns its path.
func (w *world) file(name, content string) string {
	w.Helper()
	path := filepath.Join(w.TempDir(), name)
	check(w, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// ---- what users do

// credentials makes the Secret "NAME-credentials", with a client that both PayUs know.
func (w *world) credentials(name string) {
	w.Helper()
	w.payu.PutClient(payutest.Client{ID: w.client(name), Secret: clientSecret})
	w.reusing.PutClient(payutest.Client{ID: w.client(name), Secret: clientSecret})
	w.createSecret(name+"-credentials", map[string]string{"client_id": w.client(name), "client_secret": clientSecret})
}

// client is the client ID of a PayUToken.
func (w *world) client(name string) string { return w.namespace + "-" + name }

func (w *world) createSecret(name string, data map[string]string) {
	w.Helper()
	check(w, cluster.Client.Create(w.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, StringData: data,
	}))
}

type edit func(*v1alpha1.PayUToken)

// create makes a PayUToken that reads "NAME-credentials".
func (w *world) create(name string, edits ...edit) {
	w.Helper()
	token := &v1alpha1.PayUToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.EnvironmentTest,
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: v1alpha1.SecretName(name + "-credentials")},
			Scopes:               []v1alpha1.Scope{"create_payment_links", "read_payment_links"},
		},
	}
	for _, change := range edits {
		change(token)
	}
	check(w, cluster.Client.Create(w.ctx, token))
}

// change edits a PayUToken.
func (w *world) change(name string, change edit) {
	w.Helper()
	token := &v1alpha1.PayUToken{}
	check(w, cluster.Client.Get(w.ctx, w.key(name), token))
	stored := token.DeepCopy()
	change(token)
	check(w, cluster.Client.Patch(w.ctx, token, client.MergeFrom(stored)))
}

func suspend(token *v1alpha1.PayUToken)      { token.Spec.Suspend = true }
func resume(token *v1alpha1.PayUToken)       { token.Spec.Suspend = false }
func inProduction(token *v1alpha1.PayUToken) { token.Spec.Environment = v1alpha1.EnvironmentProduction }

func scopes(scopes ...v1alpha1.Scope) edit {
	return func(token *v1alpha1.PayUToken) { token.Spec.Scopes = scopes }
}

func target(name string) edit {
	return func(token *v1alpha1.PayUToken) { token.Spec.Target.Name = v1alpha1.SecretName(name) }
}

func refresh(value string) edit {
	return func(token *v1alpha1.PayUToken) {
		metav1.SetMetaDataAnnotation(&token.ObjectMeta, v1alpha1.AnnotationRefreshRequestedAt, value)
	}
}

func (w *world) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: w.namespace, Name: name}
}

// kubectl runs kubectl as an administrator, who must succeed.
func (w *world) kubectl(args ...string) string {
	w.Helper()
	return must(cluster.Kubectl(w.ctx, args...))(w)
}

// ---- what Flux and Argo CD see

var kind = v1alpha1.GroupVersion.WithKind("PayUToken")

func (w *world) get(name string) *unstructured.Unstructured {
	w.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	check(w, cluster.Client.Get(w.ctx, w.key(name), u))
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
	var short []string
	for _, c := range conditionsOf(u) {
		short = append(short, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
	}
	slices.Sort(short) // Ready, Refreshed, Stalled
	return strings.Join(short, " ")
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
	s.watch = must(cluster.Client.Watch(w.ctx, list, client.InNamespace(w.namespace), client.MatchingFields{"metadata.name": name}))(w)
	w.Cleanup(s.watch.Stop)
	return s
}

// until reads on until the PayUToken is as it is wanted.
func (s *story) until(what string, wanted func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	s.Helper()
	deadline, last := time.After(patience), ""
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
			s.Fatalf("%s was not seen within %s:\nwant %s\nlast %s", s.name, patience, what, last)
		}
	}
}
