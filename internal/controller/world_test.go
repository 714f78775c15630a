package controller

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

var cluster *lab.Cluster

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	// A part of what `make test-model` runs; the command line has the last word.
	if err := errors.Join(flag.Set("rapid.checks", "20"), flag.Set("rapid.shrinktime", "20s")); err != nil {
		panic(err)
	}
	os.Exit(func() int {
		var err error
		if cluster, err = lab.StartCluster(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer cluster.Stop()
		return m.Run()
	}())
}

// tester is what testing.T and rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// world is a namespace of a real API server, a PayU over real TLS, and the operator on a clock that tests step: the
// reconciler is called by hand, for every PayUToken, until nothing more is to be done.
type world struct {
	tester
	ctx       context.Context
	namespace string
	clock     *clocktesting.FakePassiveClock
	payu      *payutest.Running
	user      client.WithWatch // the API server as users see it
	api       client.WithWatch // the API server as the operator sees it: tests put faults in its way
	faults    *apiFaults
	loans     *loans
	pods      client.WithWatch // the API server as the operator sees it where it tells pods; nil is api
	operator  *Reconciler
	events    *eventLog
	wakeAt    map[string]time.Time
	after     func() // called whenever something was done while time goes by
}

var start = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, config payutest.Config) *world {
	t.Helper()
	w := &world{tester: t, ctx: t.Context(), clock: clocktesting.NewFakePassiveClock(start), faults: &apiFaults{}, loans: &loans{}}
	config.Clock = w.clock.Now
	if config.Clients == nil {
		config.Clients = []payutest.Client{{ID: "merchant", Secret: secretOne}}
	}
	w.payu = payutest.Run(t, config)
	w.reset()
	return w
}

// reset moves the world to a namespace of its own, with a fresh operator.
func (w *world) reset() {
	w.Helper()
	namespace, err := cluster.Namespace(w.ctx)
	w.must(err)
	w.namespace = namespace
	w.wakeAt = map[string]time.Time{}
	w.user = newMirror(cluster.Client)
	w.restart()
}

const secretOne = "s3cr3t+%26=/one"

// restart replaces the operator by one that remembers nothing.
func (w *world) restart() {
	w.Helper()
	pem, err := os.ReadFile(w.payu.CAFile)
	w.must(err)
	payuClient, err := payu.NewClient(payu.Config{
		BaseURLs: map[string]string{"Test": w.payu.URL, "Production": w.payu.URL},
		CAs:      pem, Timeout: 2 * time.Second, UserAgent: "test", Now: w.clock.Now,
	})
	w.must(err)
	w.api = w.loans.wrap(w.faults.wrap(w.user))
	w.events = &eventLog{}
	pods := w.pods
	if pods == nil {
		pods = w.api
	}
	w.operator = &Reconciler{
		Deliveries: NewDeliveries(pods, pods, w.clock, prometheus.NewRegistry()),
		Client:     w.api, Others: w.api, Live: w.api,
		Grants: &grant.Registry{
			Request: payuClient.Token, Now: w.clock.Now, Random: func() float64 { return 1 },
			MayAsk:  func() bool { return true },
			Measure: func(string, time.Duration, bool, *payu.Error) {},
		},
		Clock: w.clock, Events: w.events, Random: func() float64 { return 1 }, PropagationMargin: 2 * time.Minute, Workers: 2,
	}
	w.operator.prepare()
	w.operator.begin(workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]()))
}

// apiFaults makes requests of the operator to the API server fail.
type apiFaults struct {
	mu     sync.Mutex
	write  func(name string) error // asked before a Secret is applied
	all    error
	patch  error // of the status
	delete error
}

func (f *apiFaults) status(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.patch = err
}

func (f *apiFaults) onStatus() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.all, f.patch)
}

func (f *apiFaults) failDelete(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delete = err
}

func (f *apiFaults) onDelete() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delete
}

func (f *apiFaults) any() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all != nil || f.patch != nil || f.write != nil
}

func (f *apiFaults) set(all error, write func(name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all, f.write = all, write
}

func (f *apiFaults) on(secret string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil && f.write != nil && secret != "" {
		return f.write(secret)
	}
	return f.all
}

func (f *apiFaults) wrap(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if err := f.on(""); err != nil {
				return err
			}
			return c.Get(ctx, key, o, options...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if err := f.on(o.GetName()); err != nil {
				return err
			}
			return c.Patch(ctx, o, patch, options...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			if err := f.onDelete(); err != nil {
				return err
			}
			return c.Delete(ctx, o, options...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
			if err := f.onStatus(); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, o, patch, options...)
		},
	})
}

// run looks at all PayUTokens, as watches would have it, until no request is in flight and nothing is queued.
func (w *world) run() {
	w.Helper()
	for _, token := range w.tokens() {
		w.reconcile(token.Name)
	}
	w.drainQueue()
}

func (w *world) drainQueue() {
	w.Helper()
	passes := 0
	for w.settle(); w.queue().Len() > 0; w.settle() {
		if passes++; passes > 100 {
			w.Fatalf("the operator asks and asks: %d requests, conditions %s", w.requests(), w.conditions(w.tokens()[0].Name))
		}
		request, _ := w.queue().Get()
		w.queue().Done(request)
		w.reconcile(request.Name)
	}
}

// settle waits until no request to PayU is in flight, and all pods that wait to be told are.
func (w *world) settle() {
	w.operator.Grants.Wait()
	for d := w.operator.Deliveries; d.queue.Len() > 0; {
		namespace, _ := d.queue.Get()
		d.serve(w.ctx, namespace)
		d.queue.Done(namespace)
	}
}

func (w *world) queue() queue { return *w.operator.queue.Load() }

func requestFor(w *world, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Namespace: w.namespace, Name: name}}
}

func (w *world) reconcile(name string) {
	w.Helper()
	result, err := w.look(name)
	delete(w.wakeAt, name)
	switch {
	case err != nil && !w.faults.any():
		w.Fatalf("reconciling %s: %v", name, err)
	case err != nil:
		w.wakeAt[name] = w.clock.Now().Add(30 * time.Second) // the queue's back-off
	case result.RequeueAfter > 0:
		w.wakeAt[name] = w.clock.Now().Add(result.RequeueAfter)
	}
}

// look makes one pass over a PayUToken, with all that is known of what PayUTokens name.
func (w *world) look(name string) (reconcile.Result, error) {
	w.Helper()
	var list v1alpha1.PayUTokenList
	w.must(w.user.List(w.ctx, &list, client.InNamespace(w.namespace)))
	w.operator.references = newReferences()
	for i := range list.Items {
		w.operator.references.replace(nil, &list.Items[i])
	}
	result, err := w.operator.Reconcile(w.ctx, requestFor(w, name))
	for _, o := range w.loans.changed() {
		w.Errorf("the operator has changed %s %q, which it had from a cache, in place", reflect.TypeOf(o).Elem().Name(), o.GetName())
	}
	return result, err
}

// pass lets time go by: whoever is due is looked at when it is due.
func (w *world) pass(d time.Duration) {
	w.Helper()
	end := w.clock.Now().Add(d)
	for passes := 0; ; passes++ {
		if passes > 5000 {
			w.Fatalf("more than %d passes in %v: %v", passes, d, w.wakeAt)
		}
		name, at := w.nextDue()
		if name == "" || at.After(end) {
			w.clock.SetTime(end)
			return
		}
		if at.After(w.clock.Now()) {
			w.clock.SetTime(at)
		}
		w.reconcile(name)
		w.drainQueue()
		if w.after != nil {
			w.after()
		}
	}
}

func (w *world) nextDue() (string, time.Time) {
	var first string
	for _, name := range slices.Sorted(maps.Keys(w.wakeAt)) {
		if first == "" || w.wakeAt[name].Before(w.wakeAt[first]) {
			first = name
		}
	}
	return first, w.wakeAt[first]
}

func (w *world) must(err error) {
	if err != nil {
		w.Helper()
		w.Fatalf("%v", err)
	}
}

// ---- what users do

func (w *world) credentials(name, id, secret string) {
	w.Helper()
	w.apply(&corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Data:       map[string][]byte{"client_id": []byte(id), "client_secret": []byte(secret)},
	})
}

// apply creates a Secret, or replaces it.
func (w *world) apply(secret *corev1.Secret) {
	w.Helper()
	err := w.user.Create(w.ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		err = w.user.Update(w.ctx, secret)
	}
	w.must(err)
}

type edit func(*v1alpha1.PayUToken)

func (w *world) create(name string, edits ...edit) {
	w.Helper()
	token := &v1alpha1.PayUToken{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.EnvironmentTest,
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "payu-credentials"},
			Scopes:               []v1alpha1.Scope{"create_payment_links", "read_payment_links"},
		},
	}
	for _, e := range edits {
		e(token)
	}
	w.must(w.user.Create(w.ctx, token))
}

func (w *world) edit(name string, edits ...edit) {
	w.Helper()
	token := w.token(name)
	before := token.DeepCopy()
	for _, e := range edits {
		e(token)
	}
	w.must(w.user.Patch(w.ctx, token, client.MergeFrom(before)))
}

func (w *world) delete(o client.Object) {
	w.Helper()
	o.SetNamespace(w.namespace)
	w.must(client.IgnoreNotFound(w.user.Delete(w.ctx, o)))
}

func named(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func targeting(name v1alpha1.SecretName) edit {
	return func(t *v1alpha1.PayUToken) { t.Spec.Target.Name = name }
}

func refresh(value string) edit {
	return func(t *v1alpha1.PayUToken) {
		metav1.SetMetaDataAnnotation(&t.ObjectMeta, v1alpha1.AnnotationRefreshRequestedAt, value)
	}
}

// ---- what users see

func (w *world) token(name string) *v1alpha1.PayUToken {
	w.Helper()
	token := &v1alpha1.PayUToken{}
	w.must(w.user.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, token))
	return token
}

func (w *world) tokens() []v1alpha1.PayUToken {
	w.Helper()
	var list v1alpha1.PayUTokenList
	w.must(w.user.List(w.ctx, &list, client.InNamespace(w.namespace)))
	return list.Items
}

// secret returns a Secret, nil if there is none.
func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	secret := &corev1.Secret{}
	err := w.user.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil
	}
	w.must(err)
	return secret
}

// value returns the access token in a Secret, empty if there is none.
func (w *world) value(name string) string {
	w.Helper()
	if secret := w.secret(name); secret != nil {
		return string(secret.Data[v1alpha1.KeyAccessToken])
	}
	return ""
}

// conditions returns the conditions in short: "Ready=True/TokenValid Refreshed=True/Succeeded".
func (w *world) conditions(name string) string {
	w.Helper()
	status, short := w.token(name).Status, ""
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionRefreshed, v1alpha1.ConditionStalled} {
		if c := meta.FindStatusCondition(status.Conditions, kind); c != nil {
			short += fmt.Sprintf(" %s=%s/%s", kind, c.Status, c.Reason)
		}
	}
	if short == "" {
		return ""
	}
	return short[1:]
}

func (w *world) expectConditions(name, want string) {
	w.Helper()
	if got := w.conditions(name); got != want {
		w.Errorf("conditions of %s:\n got %s\nwant %s\n%+v", name, got, want, w.token(name).Status.Conditions)
	}
}

const good = "Ready=True/TokenValid Refreshed=True/Succeeded"

// requests returns how many requests PayU has seen.
func (w *world) requests() int { return len(w.payu.Requests()) }

func (w *world) expectRequests(want int) {
	w.Helper()
	if got := w.requests(); got != want {
		w.Errorf("PayU saw %d requests, want %d", got, want)
	}
}

// expectLive checks that a target Secret holds a token that PayU accepts.
func (w *world) expectLive(name string) {
	w.Helper()
	info, ok := w.payu.TokenInfo(w.value(name))
	if !ok || !info.LiveAt(w.clock.Now()) {
		w.Errorf("Secret %s holds no live token (known to PayU: %t)", name, ok)
	}
}

// eventLog keeps events as "Warning InvalidClient".
type eventLog struct {
	mu   sync.Mutex
	list []string
}

var _ events.EventRecorder = &eventLog{}

func (l *eventLog) Eventf(_, _ runtime.Object, kind, reason, _, _ string, _ ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, kind+" "+reason)
}

func (l *eventLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}
