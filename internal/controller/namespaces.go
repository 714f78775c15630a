package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// ErrNamespaceDown is returned by reads from a watched namespace whose caches are not filled. Such an error is never a NotFound:
// the content of the namespace is unknown.
var ErrNamespaceDown = errors.New("the namespace cannot be watched")

// errFilling is the initial problem of each namespace.
var errFilling = errors.New("its caches are being filled")

// Namespaces is the manager's cache. It holds PayUTokens, the operator's own Secrets, and the metadata of all other Secrets: reading a
// corev1.Secret finds the operator's own only, reading a metav1.PartialObjectMetadata finds the others only.
//
// Each watched namespace has its own caches. A namespace that does not exist, or where the operator lacks permissions, is retried and
// does not affect the others, whereas controller-runtime's cache waits for all of its namespaces.
type Namespaces struct {
	// Names are the namespaces to watch. An empty list means all, in one cache.
	Names []string
	// Tokens selects the PayUTokens to watch.
	Tokens labels.Selector
	// Check returns what is missing in a namespace; nil if nothing is missing or the API server does not respond. It is called for
	// each of Names.
	Check func(ctx context.Context, namespace string) error
	// Interval is the time between two checks of a namespace, and between two attempts to watch it. A namespace whose caches take
	// longer to fill no longer keeps the operator from being ready.
	Interval time.Duration

	cache.Cache // nil: the methods for informers and indexes are not used, see eventsFor

	config  *rest.Config
	options cache.Options // the manager's scheme, REST mapper and HTTP client
	watched map[string]*namespace

	subscribed chan struct{} // closed once queue and handlers are set
	queue      queue
	handlers   handlers
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// NewCache is the manager's option of that name: the manager starts the cache, and its client reads from it.
func (n *Namespaces) NewCache(config *rest.Config, options cache.Options) (cache.Cache, error) {
	n.config, n.options = config, options
	n.options.DefaultTransform = newCommon().compact
	n.subscribed = make(chan struct{})
	n.watched = map[string]*namespace{}
	for _, name := range n.Names {
		n.watched[name] = newNamespace(n, name)
	}
	if len(n.Names) == 0 {
		n.watched[metav1.NamespaceAll] = newNamespace(n, metav1.NamespaceAll)
	}
	return n, nil
}

// Start watches the namespaces until ctx is done. The caches stay readable afterwards.
func (n *Namespaces) Start(ctx context.Context) error {
	var running sync.WaitGroup
	for _, ns := range n.watched {
		running.Go(func() { ns.run(ctx) })
	}
	running.Wait()
	return nil
}

// WaitForCacheSync waits until each namespace is up or known to be down.
func (n *Namespaces) WaitForCacheSync(ctx context.Context) bool {
	for _, ns := range n.watched {
		select {
		case <-ns.known:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Get implements client.Reader.
func (n *Namespaces) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	c, err := n.cacheOf(key.Namespace, object)
	if err != nil {
		return err
	}
	return c.Get(ctx, key, object, options...)
}

// List implements client.Reader. A list of all namespaces omits those that are down.
func (n *Namespaces) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	of := (&client.ListOptions{}).ApplyOptions(options).Namespace
	if _, all := n.watched[metav1.NamespaceAll]; all || of != "" {
		c, err := n.cacheOf(of, list)
		if err != nil {
			return err
		}
		return c.List(ctx, list, options...)
	}
	var items []runtime.Object
	for name := range n.watched {
		c, err := n.cacheOf(name, list)
		if errors.Is(err, ErrNamespaceDown) {
			continue
		}
		part := list.DeepCopyObject().(client.ObjectList)
		if err := c.List(ctx, part, options...); err != nil {
			return err
		}
		more, err := meta.ExtractList(part)
		if err != nil {
			return err
		}
		items = append(items, more...)
	}
	return meta.SetList(list, items)
}

// cacheOf returns the cache for objects of that type in a namespace.
func (n *Namespaces) cacheOf(name string, object runtime.Object) (cache.Cache, error) {
	ns := n.of(name)
	if ns == nil {
		return nil, fmt.Errorf("namespace %q is not one of --watch-namespaces", name)
	}
	now := ns.state.Load()
	if now.problem != nil {
		// The problem is not wrapped, since it may be a NotFound.
		return nil, fmt.Errorf("namespace %q: %w: %s", name, ErrNamespaceDown, now.problem.Error())
	}
	switch object.(type) {
	case *metav1.PartialObjectMetadata, *metav1.PartialObjectMetadataList:
		return now.others, nil
	}
	return now.own, nil
}

// of returns the watched namespace with a name, or nil.
func (n *Namespaces) of(name string) *namespace {
	if all, ok := n.watched[metav1.NamespaceAll]; ok {
		return all
	}
	return n.watched[name]
}

// serves reports whether PayUTokens of a namespace can be reconciled: its caches are filled, and the event handlers have handled
// everything in them.
func (n *Namespaces) serves(name string) bool {
	ns := n.of(name)
	return ns != nil && ns.state.Load().served
}

// handlers handle the events in the watched namespaces.
type handlers struct {
	tokens, ownSecrets, otherSecrets handler.EventHandler
}

// eventsFor returns a source of events for one controller. It passes the controller's queue to keep first. A namespace that comes up
// causes a create event for each object, one that goes down a delete event for each PayUToken.
func (n *Namespaces) eventsFor(h handlers, keep func(queue)) source.Source {
	return &subscription{Namespaces: n, handlers: h, keep: keep}
}

type subscription struct {
	*Namespaces
	handlers handlers
	keep     func(queue)
}

// Start implements source.Source.
func (s *subscription) Start(_ context.Context, q queue) error {
	s.keep(q)
	s.Namespaces.handlers, s.Namespaces.queue = s.handlers, q
	close(s.subscribed)
	return nil
}

// String is the name of the source in the log.
func (*subscription) String() string { return "PayUTokens and Secrets" }

var namespaceUpDesc = prometheus.NewDesc("payu_watched_namespace_up",
	"1 if the operator watches a namespace of --watch-namespaces, 0 if the namespace or a permission in it is missing.", []string{"namespace"}, nil)

// Describe implements prometheus.Collector.
func (n *Namespaces) Describe(ch chan<- *prometheus.Desc) { ch <- namespaceUpDesc }

// Collect implements prometheus.Collector.
func (n *Namespaces) Collect(ch chan<- prometheus.Metric) {
	for _, name := range n.Names {
		up := number(n.watched[name].state.Load().problem == nil)
		ch <- prometheus.MustNewConstMetric(namespaceUpDesc, prometheus.GaugeValue, up, name)
	}
}
