package controller

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Deliveries tell pods that a Secret which they mount holds a new token. The kubelet looks at a mounted Secret when it syncs the pod,
// about once a minute, and at once if an annotation of the pod changes.
//
// They keep no pod in memory, but the names of those that are tried again: for each write (for several of one namespace together, if
// they wait) the pods of the namespace are listed, one namespace at a time. What one namespace waits for keeps neither another one
// waiting nor a worker that renews.
type Deliveries struct {
	client client.Client
	live   client.Reader
	clock  clock.PassiveClock
	pods   *prometheus.CounterVec
	// changed is called with the PayUTokens whose outcome is another one than before.
	changed func([]types.NamespacedName)

	queue   workqueue.TypedRateLimitingInterface[string] // of namespaces
	lanes   *lanes
	listing sync.Mutex

	mu       sync.Mutex
	waiting  map[string]map[types.NamespacedName]*notice // by namespace and PayUToken
	outcomes map[types.NamespacedName]outcome            // by PayUToken
	// safe tells until when the right to patch pods, and its fence, are taken to be there, by namespace.
	safe map[string]time.Time
}

// notice says that the pods that mount a Secret are to be told of a write.
type notice struct {
	payUToken types.NamespacedName
	uid       types.UID
	secret    string
	// tell is false if no pod is to be told, and only the right to do so is looked at.
	tell bool
	// again is true for a write that a notice was given of before, perhaps by a former process.
	again bool
	since time.Time        // when the first attempt was due
	tried map[podRef]tried // the pods that were tried
}

// tried is what became of the last attempt to tell a pod: one that was told, or cannot be, is not tried again, and others come last.
type tried struct {
	outcome podOutcome
	words   string // why it was not told
}

// outcome is what became of the last notice of a PayUToken.
type outcome struct {
	uid     types.UID
	secret  string
	failure *failure // why pods were not told, nil if they were
	at      time.Time
}

const (
	// deliveryWorkers is how many namespaces have their pods told at once.
	deliveryWorkers = 8
	// deliveryPatience is how long pods are tried again where the API server does not answer.
	deliveryPatience = time.Minute
	// attemptTimeout bounds one attempt in one namespace.
	attemptTimeout = 30 * time.Second
	// safeFor is how long a look at the right to patch pods, and at its fence, is good for.
	safeFor = time.Minute
	// lookAgainAfter is when a right that was missing is looked for again.
	lookAgainAfter = time.Minute
	// kubeletTurn is the time after which the kubelets have brought a token without being told.
	kubeletTurn = 2 * time.Minute
	// lastDeliveriesTimeout bounds the telling of pods while the operator stops. What is left, the next leader tells.
	lastDeliveriesTimeout = 5 * time.Second
)

// NewDeliveries returns Deliveries, which the manager starts. Their metric is registered. The client's scheme has core/v1 and
// authorization.k8s.io/v1, and live reads from the API server.
func NewDeliveries(c client.Client, live client.Reader, clock clock.PassiveClock, registry prometheus.Registerer) *Deliveries {
	d := &Deliveries{
		client: c, live: live, clock: clock,
		pods: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "payu_token_deliveries_total",
			Help: "Pods to be told of a new token, where spec.target.delivery is Prompt, by outcome: told, gone, failed, " +
				"or forbidden (the right to patch pods, or the policy that restricts it, is missing: once for each write of a Secret).",
		}, []string{"outcome"}),
		changed:  func([]types.NamespacedName) {},
		queue:    workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](250*time.Millisecond, 8*time.Second)),
		lanes:    newLanes(deliveryWorkers),
		waiting:  map[string]map[types.NamespacedName]*notice{},
		outcomes: map[types.NamespacedName]outcome{},
		safe:     map[string]time.Time{},
	}
	registry.MustRegister(d.pods)
	for _, outcome := range podOutcomes {
		d.pods.WithLabelValues(string(outcome)) // increase() would not see the first one
	}
	return d
}

// NeedLeaderElection lets the manager end this after all that needs it, which is what writes Secrets.
func (*Deliveries) NeedLeaderElection() bool { return false }

// Start has pods told until ctx has ended, and then those that wait.
func (d *Deliveries) Start(ctx context.Context) error {
	telling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var running sync.WaitGroup
	for range deliveryWorkers {
		running.Go(func() { d.work(telling) })
	}
	<-ctx.Done()
	defer time.AfterFunc(lastDeliveriesTimeout, cancel).Stop()
	d.queue.ShutDown()
	running.Wait()
	return nil
}

// work makes attempts, one after the other, until the queue is shut down and empty.
func (d *Deliveries) work(ctx context.Context) {
	for {
		namespace, ended := d.queue.Get()
		if ended {
			return
		}
		d.serve(ctx, namespace)
		d.queue.Done(namespace)
	}
}

// add has the pods told that mount a Secret. A later notice of a PayUToken takes the place of an earlier one.
func (d *Deliveries) add(n notice) {
	n.since, n.tried = d.clock.Now(), map[podRef]tried{}
	namespace := n.payUToken.Namespace
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting[namespace] == nil {
		d.waiting[namespace] = map[types.NamespacedName]*notice{}
	}
	if !n.tell && d.waiting[namespace][n.payUToken] != nil {
		return // what waits looks at the right, too
	}
	d.waiting[namespace][n.payUToken] = &n
	d.queue.Add(namespace)
}

// forget drops what is known of a PayUToken, which is gone, or wants no pods told.
func (d *Deliveries) forget(payUToken types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.outcomes, payUToken)
	d.drop(payUToken)
}

func (d *Deliveries) drop(payUToken types.NamespacedName) {
	notices := d.waiting[payUToken.Namespace]
	if delete(notices, payUToken); len(notices) == 0 {
		delete(d.waiting, payUToken.Namespace)
	}
}

// outcome returns what became of the last notice of a PayUToken for a Secret, nil if none has ended, and whether one waits.
func (d *Deliveries) outcome(payUToken types.NamespacedName, uid types.UID, secret string) (ended *outcome, waits bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o, known := d.outcomes[payUToken]; known && o.uid == uid && o.secret == secret {
		ended = &o
	}
	n := d.waiting[payUToken.Namespace][payUToken]
	return ended, n != nil && n.uid == uid && n.secret == secret
}

// serve makes one attempt for all notices of a namespace, and queues the namespace again for those that are left.
func (d *Deliveries) serve(ctx context.Context, namespace string) {
	notices := d.noticesOf(namespace)
	if len(notices) == 0 {
		d.queue.Forget(namespace)
		return
	}
	place := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace}}
	if !d.lanes.enter(place) {
		return // whoever leaves queues it
	}
	began, pace := d.clock.Now(), brisk
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	results := d.attempt(ctx, namespace, notices)
	if d.clock.Now().Sub(began) >= hangsAfter {
		pace = hung
	}
	for _, next := range d.lanes.leave(place, pace) {
		d.queue.Add(next.Namespace)
	}
	changed, left := d.note(namespace, results)
	if left {
		d.queue.AddRateLimited(namespace)
	} else {
		d.queue.Forget(namespace)
	}
	if len(changed) > 0 {
		d.changed(changed)
	}
}

// noticesOf returns what waits in a namespace.
func (d *Deliveries) noticesOf(namespace string) []*notice {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.waiting[namespace]))
}

// note notes what became of notices, and returns the PayUTokens whose outcome has changed, and whether pods are left to be told.
func (d *Deliveries) note(namespace string, results map[*notice]*result) (changed []types.NamespacedName, left bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n, result := range results {
		if d.waiting[namespace][n.payUToken] != n {
			continue // a later one has taken its place
		}
		if result.undecided > 0 && d.clock.Now().Sub(n.since) < deliveryPatience {
			left = true
			continue
		}
		d.drop(n.payUToken)
		if result.undecided > 0 && !n.tell {
			continue // a later pass has the right looked at again
		}
		d.count(podFailed, result.undecided)
		is := outcome{uid: n.uid, secret: n.secret, failure: result.failureOf(n), at: d.clock.Now()}
		if was, known := d.outcomes[n.payUToken]; !known || !was.saysAsMuchAs(is) {
			changed = append(changed, n.payUToken)
		}
		d.outcomes[n.payUToken] = is
	}
	return changed, left
}

func (d *Deliveries) count(what podOutcome, pods int) {
	d.pods.WithLabelValues(string(what)).Add(float64(pods))
}

func (o outcome) saysAsMuchAs(other outcome) bool {
	return o.uid == other.uid && o.secret == other.secret && (o.failure == nil) == (other.failure == nil) &&
		(o.failure == nil || *o.failure == *other.failure)
}

// isSafe reports whether the right to patch the pods of a namespace, and its fence, were there a short while ago.
func (d *Deliveries) isSafe(namespace string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := d.safe[namespace].Sub(d.clock.Now()) // more than ever was: the clock was set back
	return left > 0 && left <= safeFor
}

func (d *Deliveries) setSafe(namespace string, safe bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.Now()
	maps.DeleteFunc(d.safe, func(other string, until time.Time) bool { return other == namespace || !now.Before(until) })
	if safe {
		d.safe[namespace] = now.Add(safeFor)
	}
}
