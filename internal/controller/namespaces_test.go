package controller

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// watching is the cache of some namespaces, with the events that its handlers received.
type watching struct {
	*testing.T
	*Namespaces
	ctx context.Context

	mu       sync.Mutex
	problems map[string]error // of namespaces
	events   []string
}

// newWatching starts the cache of some namespaces, with problems that a check of them finds.
func newWatching(t *testing.T, problems map[string]error, names ...string) *watching {
	t.Helper()
	w := &watching{T: t, ctx: t.Context(), problems: problems}
	w.Namespaces = &Namespaces{Names: names, Tokens: labels.Everything(), Check: w.problem, Interval: 20 * time.Millisecond}
	w.begin(cluster.Config)
	return w
}

// begin starts the cache, waits until it is ready, and stops it at the end of the test.
func (w *watching) begin(config *rest.Config) {
	w.Helper()
	if _, err := w.NewCache(config, cache.Options{Scheme: cluster.Client.Scheme(), Mapper: cluster.Client.RESTMapper()}); err != nil {
		w.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.ctx)
	stopped := make(chan error)
	go func() { stopped <- w.Start(ctx) }()
	w.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			w.Error(err)
		}
	})
	soon, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	if !w.WaitForCacheSync(soon) {
		w.Fatal("it is not known of each namespace whether it is up or down")
	}
}

// subscribe has the events noted: of PayUTokens "+name" and "-name", of Secrets "own:name" and "other:name". The handler of
// PayUTokens is busy until release is closed, if that is not nil.
func (w *watching) subscribe(release <-chan struct{}) {
	w.Helper()
	noted := func(kind string) handler.EventHandler {
		return handler.Funcs{
			CreateFunc: func(_ context.Context, e event.CreateEvent, _ queue) {
				if kind == "+" && release != nil {
					<-release
				}
				w.note(kind + e.Object.GetName())
			},
			DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ queue) { w.note("-" + e.Object.GetName()) },
		}
	}
	h := handlers{tokens: noted("+"), ownSecrets: noted("own:"), otherSecrets: noted("other:")}
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	w.Cleanup(q.ShutDown)
	if err := w.eventsFor(h, func(queue) {}).Start(w.ctx, q); err != nil {
		w.Fatal(err)
	}
}

func (w *watching) note(event string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, event)
}

func (w *watching) told(event string) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Contains(w.events, event)
	}
}

func (w *watching) problem(_ context.Context, namespace string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problems[namespace]
}

func (w *watching) setProblem(namespace string, problem error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems[namespace] = problem
}

func (w *watching) await(what string, seen func() bool) {
	w.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(30 * time.Second)
	for !seen() {
		select {
		case <-again.C:
		case <-deadline:
			w.Fatalf("not seen: %s", what)
		}
	}
}

func (w *watching) isServed(namespace string) func() bool {
	return func() bool { return w.serves(namespace) }
}

// listed returns the names of the PayUTokens that a list has.
func (w *watching) listed(options ...client.ListOption) []string {
	w.Helper()
	var list v1alpha1.PayUTokenList
	if err := w.List(w.ctx, &list, options...); err != nil {
		w.Fatal(err)
	}
	var names []string
	for _, token := range list.Items {
		names = append(names, token.Name)
	}
	slices.Sort(names)
	return names
}

// fill creates a namespace with a PayUToken of a name, an own and another Secret.
func fill(t *testing.T, name string) (namespace string) {
	t.Helper()
	namespace, err := cluster.Namespace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []client.Object{
		&v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.PayUTokenSpec{
			Environment: v1alpha1.EnvironmentTest, Scopes: []v1alpha1.Scope{"read_payment_links"},
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "credentials"},
		}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "credentials"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}}},
	} {
		if err := cluster.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return namespace
}

// gone looks like a NotFound of what is read.
var gone = apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "gone")

func TestANamespaceThatIsDownKeepsNoOtherFromBeingServed(t *testing.T) {
	t.Parallel()
	a, b := fill(t, "a"), fill(t, "b")
	w := newWatching(t, map[string]error{b: gone}, a, b)
	w.subscribe(nil)
	w.await("a is served", w.isServed(a))
	w.expectUp(map[string]float64{a: 1, b: 0})
	w.expectDown(b)
	if names := w.listed(); !slices.Equal(names, []string{"a"}) {
		t.Errorf("the list has %v", names)
	}

	w.setProblem(b, nil)
	w.await("b is served once it is there", w.isServed(b))
	w.expectUp(map[string]float64{a: 1, b: 1})
	if names := w.listed(); !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("the list has %v", names)
	}
	for _, event := range []string{"+a", "+b", "own:b", "other:credentials"} {
		w.await("the event "+event, w.told(event))
	}

	w.setProblem(a, errors.New("no permission"))
	w.await("a is down", func() bool { return !w.serves(a) })
	w.await("the handlers forget its PayUToken", w.told("-a"))
	w.expectDown(a)
	w.expectUp(map[string]float64{a: 0, b: 1})
	if w.told("-b")() || !w.serves(b) {
		t.Error("the other namespace was touched")
	}
}

// expectUp checks the metric.
func (w *watching) expectUp(want map[string]float64) {
	w.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.Namespaces)
	got := series(w.T, registry)
	for namespace, up := range want {
		if got["payu_watched_namespace_up{namespace="+namespace+"}"] != up {
			w.Errorf("want %v for %s in %v", up, namespace, got)
		}
	}
}

// expectDown checks that no read of a namespace says that there is nothing.
func (w *watching) expectDown(namespace string) {
	w.Helper()
	key := client.ObjectKey{Namespace: namespace, Name: "a"}
	for what, err := range map[string]error{
		"a PayUToken":                 w.Get(w.ctx, key, &v1alpha1.PayUToken{}),
		"an own Secret":               w.Get(w.ctx, key, &corev1.Secret{}),
		"the metadata of another one": w.Get(w.ctx, key, secretMetadata()),
		"a list":                      w.List(w.ctx, &v1alpha1.PayUTokenList{}, client.InNamespace(namespace)),
	} {
		if !errors.Is(err, ErrNamespaceDown) || apierrors.IsNotFound(err) {
			w.Errorf("reading %s: %v", what, err)
		}
	}
}

// TestTheCacheOfAllNamespacesTellsSecretsApart begins as a standby, which fills its caches and attaches handlers once it leads.
func TestTheCacheOfAllNamespacesTellsSecretsApart(t *testing.T) {
	t.Parallel()
	namespace := fill(t, "links")
	w := newWatching(t, nil)
	for name, want := range map[string]struct{ own, other bool }{"links": {own: true}, "credentials": {other: true}, "none": {}} {
		key := client.ObjectKey{Namespace: namespace, Name: name}
		own, other := w.Get(w.ctx, key, &corev1.Secret{}), w.Get(w.ctx, key, secretMetadata())
		if (own == nil) != want.own || (other == nil) != want.other || client.IgnoreNotFound(own) != nil || client.IgnoreNotFound(other) != nil {
			t.Errorf("%s: read as own: %v, as another's: %v", name, own, other)
		}
	}
	if names := w.listed(client.InNamespace(namespace)); !slices.Equal(names, []string{"links"}) {
		t.Errorf("the list has %v", names)
	}
	if w.serves(namespace) {
		t.Error("served before there is a controller")
	}
	release := make(chan struct{})
	w.subscribe(release)
	w.await("events of Secrets", func() bool { return w.told("own:links")() && w.told("other:credentials")() })
	if w.serves(namespace) {
		t.Error("served before its handlers were told everything")
	}
	close(release)
	w.await("it is served", w.isServed(namespace))
	if !w.told("+links")() {
		t.Error("served before its handlers were told of the PayUToken")
	}
	w.await("it is reconciled", func() bool { return w.queue.Len() > 0 })
}

func TestReadingANamespaceThatIsNotWatchedFails(t *testing.T) {
	t.Parallel()
	a, other := fill(t, "a"), fill(t, "other")
	w := newWatching(t, nil, a)
	if err := w.Get(w.ctx, client.ObjectKey{Namespace: other, Name: "other"}, &v1alpha1.PayUToken{}); err == nil || apierrors.IsNotFound(err) {
		t.Errorf("read from a namespace that is not watched: %v", err)
	}
	if w.serves(other) {
		t.Error("it is served")
	}
}

// TestANamespaceIsDownWhileTheAPIServerForbidsToWatchIt has a check that finds nothing missing, as with an authorizer whose reviews are
// wrong.
func TestANamespaceIsDownWhileTheAPIServerForbidsToWatchIt(t *testing.T) {
	t.Parallel()
	a := fill(t, "a")
	user, err := cluster.AddUser("forbidden-" + a)
	if err != nil {
		t.Fatal(err)
	}
	w := &watching{T: t, ctx: t.Context(), Namespaces: &Namespaces{Names: []string{a}, Tokens: labels.Everything(), Interval: time.Minute, Check: nothing}}
	w.begin(user.Config)
	w.expectDown(a)
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: a, Name: "a"}, &v1alpha1.PayUToken{}); !strings.Contains(err.Error(), "is forbidden") {
		t.Errorf("it does not say why: %v", err)
	}
}

// TestANamespaceThatCannotBeReadKeepsNoOtherWaiting has an API server that does not respond.
func TestANamespaceThatCannotBeReadKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(release) })
	w := &watching{T: t, ctx: t.Context(), Namespaces: &Namespaces{Names: []string{"a"}, Tokens: labels.Everything(), Interval: time.Millisecond, Check: nothing}}
	w.begin(&rest.Config{Host: silent.URL})
	w.expectDown("a")
}

// nothing is missing.
func nothing(context.Context, string) error { return nil }
