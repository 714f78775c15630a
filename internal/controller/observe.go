package controller

import (
	"context"
	"hash/fnv"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// observation is what is known of one PayUToken in one pass. Decisions are made from it alone.
type observation struct {
	now    time.Time
	margin time.Duration // the life that a token must have left when its successor is written
	random float64       // the jitter of a back-off
	obj    *v1alpha1.PayUToken

	// desired is the target as the spec asks for it, and template what is wrong with its template, nil if nothing is.
	desired  target.Desired
	template *failure
	// secret is the target, nil if there is none. foreign is why it cannot be written, nil if it is this PayUToken's.
	secret  *corev1.Secret
	foreign *failure
	held    target.Held
	// former is the former target, empty if there is none.
	former formerTarget

	// keys are those of the client, key is that of the source, read the credentials if they were read in this pass, and unusable
	// is why they cannot be used, nil if they can.
	keys     clientKeys
	key      payu.Key
	read     *payu.Credentials
	unusable *failure
	// state is what is known of the source, zero if the credentials are unusable.
	state grant.State

	record record
	// blocked is why a former target, or keys of a former template, were not removed while renewal is suspended; nil if they
	// were.
	blocked *failure
	// pace is what the writes of this pass showed of the namespace's webhooks.
	pace pace
	// delivered is what became of the last delivery to pods, nil if none has ended in this process.
	delivered *outcome
	// wrote is the event that tells of the write that this pass has made, empty if it has made none.
	wrote string
}

// observe returns what is known of a PayUToken, from caches where they are good enough. What cannot be found out is a
// failure of the observation.
func (r *Reconciler) observe(ctx context.Context, obj *v1alpha1.PayUToken) observation {
	name := client.ObjectKeyFromObject(obj)
	if r.records.replaced(name, obj.UID) {
		r.Grants.Leave(name)
	}
	o := observation{now: r.now(), margin: r.PropagationMargin, random: r.Random(), obj: obj, record: r.records.of(name, obj.UID)}
	o.desired, o.template = desiredOf(obj, obj.TargetName())
	o.keys, o.read, o.unusable = r.credentials.keys(ctx, obj)
	o.key = payu.KeyFor(o.keys.client, target.Scopes(obj))
	secret, err := r.target(ctx, o.targetKey())
	if err != nil {
		o.foreign = failedTo("read", o.desired.Name, err)
	}
	r.findFormer(ctx, &o)
	r.complete(ctx, &o, secret)
	return o
}

// complete fills in what follows from the target.
func (r *Reconciler) complete(ctx context.Context, o *observation, secret *corev1.Secret) {
	o.secret = secret
	if o.foreign == nil || !o.foreign.transient {
		o.foreign = r.foreign(ctx, o.obj, o.desired.Name, secret)
	}
	o.readTargets()
	o.noteLife()
	o.join(r.Grants)
	if o.held.Proven {
		o.record.mark = o.markOf(o.held.Token)
	}
}

// readTargets reads what the targets hold.
func (o *observation) readTargets() {
	var proof *target.Proof
	if o.unusable == nil {
		proof = &target.Proof{Key: o.keys.seal, Source: o.key.Source, Granted: o.state.Token.Scope}
	}
	o.held = target.Held{}
	if o.foreign == nil {
		o.held = o.desired.Read(o.secret, proof)
	}
	o.former.held = o.desired.Read(o.former.secret, proof)
}

// join makes the PayUToken a member of its source, with what its Secrets and its status say.
func (o *observation) join(grants *grant.Registry) {
	if o.unusable != nil {
		if !o.unusable.transient || o.unusable.stalled {
			grants.Observed(client.ObjectKeyFromObject(o.obj))
		}
		if o.record.before == nil && o.obj.Status.NextAttemptAt != nil {
			o.record.before = &o.obj.Status
		}
		return
	}
	value, status := o.obj.RefreshRequest(), o.obj.Status
	wish := grant.Wish{Value: value, Handled: value == status.LastHandledRefreshAt, First: status.ObservedGeneration < 1}
	o.adopt(grants.Join(client.ObjectKeyFromObject(o.obj), o.key, o.seed(), wish))
}

// seed is what the Secrets and the status say of the source.
func (o *observation) seed() grant.Seed {
	seed := o.seedOfSecrets()
	status := o.obj.Status
	if o.record.before != nil {
		status, o.record.before = *o.record.before, nil
	}
	refreshed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRefreshed)
	if status.NextAttemptAt == nil || refreshed == nil || !o.ofPresentSpec(status) {
		return seed
	}
	failures, next := int(status.Failures), status.NextAttemptAt.Time
	switch {
	case refreshed.Reason == v1alpha1.ReasonLifetimeUnknown:
		seed.Unstated, seed.UnstatedNext = failures, next
	case !aboutSource(refreshed.Reason):
	case refreshed.Reason == v1alpha1.ReasonTokenReused && !o.holdsToken():
		return grant.Seed{Incomplete: seed.Incomplete} // the token whose end was to be waited for is lost
	default:
		seed.Reused, seed.Failures, seed.NextAttempt = refreshed.Reason == v1alpha1.ReasonTokenReused, failures, next
		if refreshed.Status == metav1.ConditionFalse {
			seed.Err = &payu.Error{Reason: payu.Reason(refreshed.Reason), Detail: "the last request before a restart ended so", Restored: true}
		}
	}
	return seed
}

// seedOfSecrets is what the Secrets say of the source.
func (o *observation) seedOfSecrets() grant.Seed {
	seed := grant.Seed{Incomplete: o.foreign.isTransient() || o.former.unread != nil}
	for _, held := range o.allHeld() {
		token := o.withLife(held.Token)
		if held.Whole && token.ExpiresAt.After(seed.UsableUntil) && !token.FromTheFuture(o.now) { // pods use it, whatever it is made from
			seed.UsableUntil = token.ExpiresAt
		}
		if held.Proven && !held.OldSeal && token.Supersedes(seed.Token, o.now) {
			seed.Token = token
		}
	}
	if seed.Token.LifeUnstated {
		seed.Token.ExpiresAt = time.Time{} // what this PayUToken assumes is nobody else's
	}
	return seed
}

// allHeld is what the target and the former one hold.
func (o observation) allHeld() []target.Held { return []target.Held{o.held, o.former.held} }

// holdsToken reports whether one of the targets holds a live token of the source.
func (o observation) holdsToken() bool {
	return slices.ContainsFunc(o.allHeld(), func(h target.Held) bool { return h.Proven && h.Token.ValidAt(o.now) })
}

// aboutSource reports whether a reason speaks of a request to PayU, and to all members of the source.
func aboutSource(reason string) bool {
	return reason == v1alpha1.ReasonSucceeded || reason == v1alpha1.ReasonTokenReused || slices.Contains(payu.Reasons, payu.Reason(reason))
}

// aboutPayU reports whether a reason speaks of a request to PayU: such a one stays until the next request.
func aboutPayU(reason string) bool {
	return aboutSource(reason) || reason == v1alpha1.ReasonLifetimeUnknown
}

func desiredOf(obj *v1alpha1.PayUToken, name string) (target.Desired, *failure) {
	desired, err := target.For(obj, name)
	if err != nil {
		return desired, stalled(v1alpha1.ReasonTemplateInvalid, "%v", err)
	}
	return desired, nil
}

func (o observation) targetKey() types.NamespacedName {
	return types.NamespacedName{Namespace: o.obj.Namespace, Name: o.desired.Name}
}

// targetVersion is the target's resourceVersion, empty if there is none.
func (o observation) targetVersion() string {
	if o.secret == nil {
		return ""
	}
	return o.secret.ResourceVersion
}

// token returns the token that the target holds, made from the present spec and credentials; zero if it does not. Where
// the credentials cannot be read, nothing speaks against those that it was made from, unless it did not fit before.
func (o observation) token() payu.Token {
	if o.held.Proven || o.unusable != nil && o.held.Plausible && !o.wasUnready() {
		held, known := o.withLife(o.held.Token), o.state.Token
		if held.LifeUnstated && !known.LifeUnstated && held.AccessToken == known.AccessToken {
			held.ExpiresAt = known.ExpiresAt // PayU has stated it since
		}
		return held
	}
	return payu.Token{}
}

// wasUnready reports whether the status says of the present spec that there is no token for it.
func (o observation) wasUnready() bool {
	ready := meta.FindStatusCondition(o.obj.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionFalse && ready.ObservedGeneration == o.obj.Generation
}

// isReady reports whether the target holds a live token.
func (o observation) isReady() bool { return o.token().ValidAt(o.now) }

// hasNewerToken reports whether the source has a live token that the target does not hold.
func (o observation) hasNewerToken() bool {
	shared, held := o.state.Token, o.token()
	if !shared.ValidAt(o.now) || shared.FromTheFuture(o.now) {
		return false
	}
	return shared.Supersedes(held, o.now) || shared.AccessToken != held.AccessToken && !held.Supersedes(shared, o.now) ||
		shared.LifeUnstated && shared.AccessToken == held.AccessToken && !shared.ExpiresAt.Equal(o.held.Token.ExpiresAt) // what is assumed has changed
}

// isDue reports whether a new token is wanted: there is none, it is old, the clock was set back since, a user wants one, or the
// last request failed.
func (o observation) isDue() bool {
	latest := o.token()
	if o.state.Token.Supersedes(latest, o.now) {
		latest = o.state.Token
	}
	return !latest.ValidAt(o.now) || latest.FromTheFuture(o.now) || !o.now.Before(o.renewAt(latest)) ||
		o.state.Wished || o.state.Failures > 0
}

// ofPresentSpec reports whether a status is about the present spec and credentials.
func (o observation) ofPresentSpec(status v1alpha1.PayUTokenStatus) bool {
	return status.ObservedGeneration == o.obj.Generation && status.CredentialsVersion == o.keys.version.resourceVersion
}

func (o observation) renewAt(token payu.Token) time.Time {
	at := token.RenewAt(renewalPercent(o.obj), o.margin, spread(o.obj))
	if end := o.endOfFirst(token); !end.IsZero() && end.Before(at) {
		return end
	}
	return at
}

func renewalPercent(obj *v1alpha1.PayUToken) int {
	if obj.Spec.RenewalPercent == 0 {
		return 67
	}
	return int(obj.Spec.RenewalPercent)
}

// spread returns a constant of the PayUToken's own, from 0 to 1.
func spread(obj *v1alpha1.PayUToken) float64 {
	h := fnv.New32a()
	h.Write([]byte(obj.UID))
	return float64(h.Sum32()) / (1 << 32)
}
