// Package controller keeps the target Secrets of PayUTokens fresh, and says in their status what happened.
//
// A pass gathers what is known of one PayUToken, decides on one step after the other and does it, judges what has
// come of it, and reports that. Deciding and judging are pure functions of the situation.
package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// +kubebuilder:rbac:groups=auth.payu.in,resources=payutokens,verbs=get;list;watch
// +kubebuilder:rbac:groups=auth.payu.in,resources=payutokens/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// Reconciler keeps the target Secrets of PayUTokens fresh. All exported fields are required.
type Reconciler struct {
	// Client reads PayUTokens and the operator's own Secrets from a cache, and writes.
	Client client.Client
	// Others reads the metadata of all Secrets but the operator's own from a cache.
	Others client.Reader
	// Live reads from the API server.
	Live client.Reader
	// Tokens makes the token requests and shares what they give.
	Tokens *payu.Tokens
	Clock  clock.PassiveClock
	Events events.EventRecorder
	// Random draws from [0, 1) for the jitter of the back-off.
	Random func() float64
	// PropagationMargin is the life that a token must have left when its successor is written.
	PropagationMargin time.Duration

	credentials credentials
	references  *references
	memories    *memories
	queue       workqueue.TypedRateLimitingInterface[reconcile.Request]
}

const (
	// staleWait is how long to wait for a cache that has not seen the operator's own last write yet, and
	// stalePatience how long to go on so before reading from the API server.
	staleWait     = 20 * time.Millisecond
	stalePatience = 5 * time.Second
	// mostSteps bounds a pass. A pass takes four steps at most unless others write the same Secret.
	mostSteps = 10
	// passTimeout bounds the API requests of a pass.
	passTimeout = 30 * time.Second
	// drainPatience bounds the handing on of tokens while the operator stops.
	drainPatience = 10 * time.Second
)

// Reconcile makes one pass over a PayUToken. The returned error is the API server's trouble: the queue comes back
// to it, and the status stays as it is.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	token := &v1alpha1.PayUToken{}
	err := r.Client.Get(ctx, request.NamespacedName, token)
	if apierrors.IsNotFound(err) || err == nil && !token.DeletionTimestamp.IsZero() {
		r.forget(request.NamespacedName)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	m := r.memories.of(token)
	m.Lock()
	defer m.Unlock()
	// A pass that has begun is finished, also while the operator stops: it may have the only copy of a token in hand.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), passTimeout)
	defer cancel()
	wakes := r.memories.wakes(request.NamespacedName)
	wake, err := r.pass(ctx, token, m)
	if errors.Is(err, errGone) {
		err, wake = nil, longestSleep
	}
	r.memories.expect(request.NamespacedName, r.now().Add(wake), wakes, err == nil && wake != staleWait)
	return reconcile.Result{RequeueAfter: wake}, err
}

// pass returns how long to sleep until the next one.
func (r *Reconciler) pass(ctx context.Context, token *v1alpha1.PayUToken, m *memory) (time.Duration, error) {
	s, stale, err := r.gather(ctx, token, m)
	if err != nil || stale {
		return staleWait, err
	}
	for range mostSteps {
		step := next(s)
		if step == done {
			return r.conclude(ctx, s)
		}
		if err := r.act(ctx, &s, step); err != nil {
			return 0, errors.Join(err, r.reportExpiry(ctx, s, err))
		}
	}
	return 0, fmt.Errorf("Secret %q changes faster than it can be written", token.TargetName())
}

// conclude reports what has come of a pass.
func (r *Reconciler) conclude(ctx context.Context, s situation) (time.Duration, error) {
	if s.blocked() == nil && s.held().ValidAt(s.now) && !s.outOfShape() {
		s.memory.refusal, s.memory.writeFailures, s.memory.nextWrite = nil, 0, time.Time{}
	}
	if s.blocked() == nil && !s.due() {
		s.memory.tried = provocationOf(s.token) // there was nothing to try
	}
	status := judge(s)
	err := r.removeFormer(ctx, s)
	if err != nil {
		status.SecretName = s.token.Status.SecretName // so that the next pass tries again
	}
	return wakeAfter(s), errors.Join(err, r.report(ctx, s, status))
}

// reportExpiry has Ready turn False at the instant of expiry although the API server's trouble has ended the pass.
func (r *Reconciler) reportExpiry(ctx context.Context, s situation, trouble error) error {
	ready := meta.IsStatusConditionTrue(s.token.Status.Conditions, v1alpha1.ConditionReady)
	if errors.Is(trouble, errGone) || !ready || s.held().ValidAt(s.now) {
		return nil
	}
	return r.report(ctx, s, judge(s))
}

// now returns the wall clock: a monotonic one stands still while a machine sleeps.
func (r *Reconciler) now() time.Time { return r.Clock.Now().Round(0).UTC() }

// share notes which source a PayUToken has, so that it is woken when its token changes.
func (r *Reconciler) share(token *v1alpha1.PayUToken, source payu.Digest) {
	if orphan := r.memories.share(client.ObjectKeyFromObject(token), source); !orphan.IsZero() {
		r.Tokens.Forget(orphan)
	}
}

func (r *Reconciler) forget(name types.NamespacedName) {
	if orphan := r.memories.forget(name); !orphan.IsZero() {
		r.Tokens.Forget(orphan)
	}
}

// wake has all PayUTokens of a source looked at: their token has changed, or the request for it has failed.
func (r *Reconciler) wake(source payu.Digest) {
	for _, name := range r.memories.wake(source) {
		r.queue.Add(reconcile.Request{NamespacedName: name})
	}
}

// drain waits until the operator is to stop, lets the requests in flight end, and then looks itself at the PayUTokens
// that no worker takes from the queue any more: a token that PayU gave at the last moment still reaches its Secrets.
func (r *Reconciler) drain(ctx context.Context) error {
	if err := r.Tokens.Drain(ctx); err != nil {
		return err
	}
	err := wait.PollUntilContextTimeout(context.WithoutCancel(ctx), staleWait, drainPatience, true, func(ctx context.Context) (bool, error) {
		waiting := r.memories.waiting()
		for _, name := range waiting {
			if _, err := r.Reconcile(ctx, reconcile.Request{NamespacedName: name}); err != nil {
				log.FromContext(ctx).Error(err, "Handing on a token while stopping", "namespace", name.Namespace, "name", name.Name)
			}
		}
		return len(waiting) == 0, nil
	})
	return err
}

// gather returns what is known of a PayUToken, from caches where they are good enough. stale is true if a cache has
// not seen the operator's own last write yet.
func (r *Reconciler) gather(ctx context.Context, token *v1alpha1.PayUToken, m *memory) (s situation, stale bool, err error) {
	s = situation{now: r.now(), token: token, margin: r.PropagationMargin, memory: m}
	if stale, err = r.catchUp(ctx, &s); err != nil || stale {
		return s, stale, err
	}
	token = s.token
	m.study(token)
	if s.rival, err = r.rivalOf(ctx, token); err != nil {
		return s, false, err
	}
	v, err := r.credentials.peek(ctx, token)
	if err != nil {
		return s, false, err
	}
	s.setVersion(v)
	s.learn()
	switch {
	case s.keyKnown():
		r.share(token, m.key.Source)
		s.source, s.progress = &m.origin, r.Tokens.Look(m.key)
	case s.right():
		if m.key.Source.IsZero() {
			r.share(token, s.holding.seal.source)
		}
		s.progress = payu.Progress{Token: r.Tokens.Look(payu.Key{Source: s.holding.seal.source}).Token}
	}
	r.compare(&s)
	s.proven = s.isFirst() && r.memories.accepts(kindOf(token), s.now)
	return s, false, nil
}

// compare finds out whether others of the source hold a later token, and has those looked at that hold an older one.
func (r *Reconciler) compare(s *situation) {
	var behind []types.NamespacedName
	// What PayU gave to this process reaches all without this.
	s.latest, behind = r.memories.hold(client.ObjectKeyFromObject(s.token), s.held().FetchedAt, s.progress.Token.FetchedAt)
	for _, name := range behind {
		r.queue.Add(reconcile.Request{NamespacedName: name})
	}
}

// learn keeps the token that the target holds in memory, so that it can be written again if the target is damaged.
func (s *situation) learn() {
	if s.right() && fresher(s.holding.token, s.memory.token, s.now) {
		s.memory.token, s.memory.source, s.memory.landed = s.holding.token, s.holding.seal.source, s.holding.token.AccessToken
	}
}

// catchUp reads the target, and sees to it that neither it nor the PayUToken is older than the operator's own last
// write: it has the pass wait for the caches or, when that takes too long, reads from the API server.
func (r *Reconciler) catchUp(ctx context.Context, s *situation) (stale bool, err error) {
	m := s.memory
	lastWrite := m.secretWrite.Load()
	seen := lastWrite.isSeen() // before the cache is read: its event may come meanwhile
	target, err := r.cachedTarget(ctx, targetKey(s.token))
	if err != nil {
		return false, err
	}
	s.setTarget(target)
	tokenStale := isOlder(s.token.ResourceVersion, m.statusVersion)
	secretStale := lastWrite.isAheadOf(s.token.TargetName(), target, seen)
	if target != nil && !secretStale {
		lastWrite.see()
	}
	switch {
	case !tokenStale && !secretStale:
		m.staleSince = time.Time{}
		return false, nil
	case m.staleSince.IsZero(), s.now.Before(m.staleSince): // the first, or the clock was set back
		m.staleSince = s.now
		return true, nil
	case s.now.Sub(m.staleSince) < stalePatience:
		return true, nil
	}
	lastWrite.see()
	live := &v1alpha1.PayUToken{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(s.token), live); err != nil {
		return false, err
	}
	s.token = live
	return false, r.lookLive(ctx, s)
}

// cachedTarget returns the target Secret, nil if there is none. One that is not among the operator's own, but
// exists, is read from the API server.
func (r *Reconciler) cachedTarget(ctx context.Context, key types.NamespacedName) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, key, secret)
	if !apierrors.IsNotFound(err) {
		return secret, err
	}
	foreign := &metav1.PartialObjectMetadata{}
	foreign.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err = r.Others.Get(ctx, key, foreign); err == nil {
		err = r.Live.Get(ctx, key, secret)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return secret, err
}

// rivalOf returns the name of the oldest PayUToken that has the same target and is older than this one; empty if
// there is none.
func (r *Reconciler) rivalOf(ctx context.Context, token *v1alpha1.PayUToken) (string, error) {
	oldest := token
	for _, name := range r.references.tokensOf(targetKey(token)) {
		if name == token.Name {
			continue
		}
		other := &v1alpha1.PayUToken{}
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: token.Namespace, Name: name}, other)
		if client.IgnoreNotFound(err) != nil {
			return "", err
		}
		if err == nil && other.TargetName() == token.TargetName() && other.DeletionTimestamp.IsZero() && isElder(other, oldest) {
			oldest = other
		}
	}
	if oldest == token {
		return "", nil
	}
	return oldest.Name, nil
}

func isElder(a, b *v1alpha1.PayUToken) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

func targetKey(token *v1alpha1.PayUToken) types.NamespacedName {
	return types.NamespacedName{Namespace: token.Namespace, Name: token.TargetName()}
}

func (s *situation) setTarget(secret *corev1.Secret) {
	s.target, s.holding = secret, holding{}
	if secret != nil && belongsTo(secret, s.token) {
		s.holding = holdingIn(secret, s.token)
	}
}

func (s *situation) setVersion(v version) { s.version, s.versionDigest = v, v.digest() }

// isOlder reports whether a resourceVersion is older than the one of the operator's own last write, empty if it has
// not written.
func isOlder(got, written string) bool {
	if written == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(got, written)
	return err == nil && order < 0
}

func oneLine(message string) string {
	const most = 300
	line := strings.Join(strings.Fields(message), " ")
	if len(line) > most {
		return strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}
