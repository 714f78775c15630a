// Package controller keeps the target Secrets of PayUTokens fresh, and says in their status what happened.
//
// A pass over a PayUToken observes what is known of it, decides by an ordered list of rules (rules.go), does at most one
// thing for the token (fetch.go, write.go) and one for the shape of its Secret (reshape.go), and reports the outcome in
// the status (status.go), errors included.
//
// The words, one for each thing:
//
//	PayUToken     the resource, obj in the code; its spec is what a user asks for
//	token         an access token of PayU's, payu.Token
//	source        what a token is made from: environment, client and set of scopes
//	target        the Secret that the token is written to; former target: the one before spec.target.name was changed
//	seal          the annotation of a target that proves what its token was made from
//	held          what a target holds
//	shape         all of a target but its data: type, labels, annotations, owner
//	wish          a refresh that a user asks for with an annotation
//	failure       why something was not done, as it stands in a condition
//	record        what one process remembers of a PayUToken beside all that: what was refused, what was repaired
package controller

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/grant"
)

// +kubebuilder:rbac:groups=auth.payu.in,resources=payutokens,verbs=get;list;watch
// +kubebuilder:rbac:groups=auth.payu.in,resources=payutokens/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// Reconciler keeps the target Secrets of PayUTokens fresh. All exported fields but RequireCredentialsLabel are required.
type Reconciler struct {
	// Client reads PayUTokens and the operator's own Secrets from a cache, and writes.
	Client client.Client
	// Others reads the metadata of all Secrets but the operator's own from a cache.
	Others client.Reader
	// Live reads from the API server.
	Live client.Reader
	// Grants holds the token of each source, and has PayU asked.
	Grants *grant.Registry
	Clock  clock.PassiveClock
	Events events.EventRecorder
	// Deliveries tell the pods that mount a target of a new token, where PayUTokens ask for it.
	Deliveries *Deliveries
	// Random draws from [0, 1) for the jitter of the back-off after a refused write.
	Random func() float64
	// PropagationMargin is the life that a token must have left when its successor is written.
	PropagationMargin time.Duration
	// RequireCredentialsLabel has credentials taken only from Secrets with the label v1alpha1.LabelCredentials.
	RequireCredentialsLabel bool
	// Workers is how many PayUTokens are reconciled at once.
	Workers int

	credentials *credentials
	references  *references
	records     *records
	lanes       *lanes
	progress    *progress
	queue       atomic.Pointer[queue]
}

const (
	// passTimeout bounds what a pass does before it writes the status: a failure is reported within 30 s.
	passTimeout = 25 * time.Second
	// reportTimeout bounds the writing of the status.
	reportTimeout = 13 * time.Second
	// mostSteps bounds a pass. A pass takes two steps at most unless others write the same Secret, or an admission webhook
	// changes what is written: then each repair is a step, and one begins the pause.
	mostSteps = mostRepairs + 3
	// drainPatience bounds the handing on of tokens while the operator stops.
	drainPatience = 10 * time.Second
	// drainPause is between two attempts at that.
	drainPause = time.Second
)

// Reconcile makes one pass over a PayUToken. It returns an error only if the status cannot be read or written: any other
// failure stands in the status, and the pass is repeated with a back-off of its own.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if !r.lanes.enter(request) {
		return reconcile.Result{}, nil // leave has it reconciled
	}
	done, began := r.progress.begin(), r.Clock.Now()
	end, err := r.pass(ctx, request.NamespacedName)
	done()
	if isDeadline(err) || r.Clock.Now().Sub(began) >= hangsAfter {
		end.pace = hung
	}
	r.requeue(r.lanes.leave(request, end.pace))
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: end.wake}, nil
}

// passEnd is how a pass ended.
type passEnd struct {
	wake time.Duration // how long to sleep until the next one; 0 if only an event begins it
	pace pace
}

// pass makes one pass over a PayUToken. Its error is that of reading the PayUToken or of writing its status.
func (r *Reconciler) pass(ctx context.Context, name types.NamespacedName) (passEnd, error) {
	obj := &v1alpha1.PayUToken{}
	err := r.Client.Get(ctx, name, obj)
	if apierrors.IsNotFound(err) || err == nil && !obj.DeletionTimestamp.IsZero() {
		r.records.forget(name)
		r.Grants.Leave(name)
		r.Deliveries.forget(name)
		return passEnd{}, nil
	}
	if err != nil {
		return passEnd{}, err
	}
	// A pass that has begun is finished, also while the operator stops: it may have the only copy of a token in hand.
	ctx = context.WithoutCancel(ctx)
	o, v, f := r.work(ctx, r.records.latest(obj))
	if f == namespaceGone {
		r.settle(name, o, v, f)
		return passEnd{wake: longestSleep}, nil
	}
	o.now = r.now() // the API server may have taken its time
	o.notePending(v, f)
	o.noteTrouble(v, f)
	if v.why == suspended {
		o.blocked = f
	}
	r.noteDelivery(&o)
	status := statusOf(o, v, f)
	err = r.report(ctx, &o, status)
	r.records.put(name, o.record)
	if err == nil {
		r.settle(name, o, v, f)
	}
	return passEnd{wake: wakeAfter(o), pace: o.pace}, err
}

// settle notes that a PayUToken has dealt with the outcome of the last request, unless an API server that did not answer has
// kept it from that.
func (r *Reconciler) settle(name types.NamespacedName, o observation, v verdict, f *failure) {
	switch {
	case f.isTransient() || v.why.isTransient():
	case o.unusable != nil:
		r.Grants.Excuse(name)
	default:
		r.Grants.Settle(name, o.state.Ended)
	}
}

// work observes, decides and acts until nothing is left to do. Where others have changed a target meanwhile it reads that
// again.
func (r *Reconciler) work(ctx context.Context, obj *v1alpha1.PayUToken) (observation, verdict, *failure) {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	o := r.observe(ctx, obj)
	for range mostSteps {
		v := decide(o)
		f := r.act(ctx, &o, v)
		switch {
		case f == nil && (v.token == write || v.reshape):
			continue
		case f != conflict:
			f = r.finish(ctx, &o, v, f)
		}
		if f != conflict {
			return o, v, f
		}
		if f := r.reread(ctx, &o); f != nil {
			return o, v, f
		}
	}
	return o, verdict{}, transient(v1alpha1.ReasonTargetWriteFailed, "Secret %q changes faster than it can be written", o.desired.Name)
}

// act does what was decided, and returns the first failure.
func (r *Reconciler) act(ctx context.Context, o *observation, v verdict) *failure {
	f := r.actOnToken(ctx, o, v)
	if v.reshape && f != conflict {
		f = cmp.Or(f, r.reshape(ctx, o))
	}
	return f
}

// finish does what follows for the former target. f is what the pass ended with so far.
func (r *Reconciler) finish(ctx context.Context, o *observation, v verdict, f *failure) *failure {
	switch {
	case targetFailed(v.why) || targetFailed(f):
		r.renewFormer(ctx, o)
	case f == nil && (v.why == nil || v.why == suspended):
		f = cmp.Or(r.removeLeftovers(ctx, o), r.removeFormer(ctx, o), o.former.unread)
	}
	r.reownFormer(ctx, o)
	return f
}

func (r *Reconciler) actOnToken(ctx context.Context, o *observation, v verdict) *failure {
	switch v.token {
	case write:
		return r.write(ctx, o)
	case fetch:
		return r.fetch(ctx, o)
	case awaitStart:
		r.Grants.AwaitStart(client.ObjectKeyFromObject(o.obj))
	}
	return nil
}

// now returns the wall clock: a monotonic one stands still while a machine sleeps.
func (r *Reconciler) now() time.Time { return r.Clock.Now().Round(0).UTC() }

// requeue has PayUTokens reconciled.
func (r *Reconciler) requeue(requests []reconcile.Request) {
	if q := r.queue.Load(); q != nil {
		for _, request := range requests {
			(*q).Add(request)
		}
	}
}

// changed has PayUTokens reconciled, because the token of their source has changed, the request for it has failed, or a delivery has
// ended otherwise than the one before.
func (r *Reconciler) changed(members []grant.Member) {
	requests := make([]reconcile.Request, len(members))
	for i, m := range members {
		requests[i] = reconcile.Request{NamespacedName: m}
	}
	r.requeue(requests)
}
