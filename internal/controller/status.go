package controller

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// statusOf returns the status that an observation deserves, after what was done, which ended with f or nil.
func statusOf(o observation, v verdict, f *failure) v1alpha1.PayUTokenStatus {
	why := v.why
	if why == nil {
		why = f
	}
	if o.awaitsFirstToken(why) {
		return o.obj.Status
	}
	status := *o.obj.Status.DeepCopy()
	status.ObservedGeneration = o.obj.Generation
	o.statusOfToken(&status)
	o.statusOfAttempts(&status, why)
	o.conditions(&status, why)
	o.conditionOfDelivery(&status)
	return status
}

// payuFailure returns what PayU refused the token with, nil if it did not: the source's own last answer or, where a
// request is due that may not be made yet, the one that told the client to wait.
func (o observation) payuFailure() *failure {
	err := o.state.Err
	if err == nil && o.isDue() {
		err = heldFor(o.state)
	}
	if err == nil {
		return nil
	}
	return &failure{reason: string(err.Reason), message: o.explain(err), stalled: err.Permanent()}
}

// heldFor returns the response that told the client to wait. What it refused for other scopes says nothing of these.
func heldFor(state grant.State) *payu.Error {
	if err := state.HeldFor; err == nil || !err.Permanent() {
		return err
	}
	return &payu.Error{Reason: payu.RateLimited, Detail: "PayU told this client to wait"}
}

// statusOfToken says which Secret holds which token.
func (o observation) statusOfToken(status *v1alpha1.PayUTokenStatus) {
	status.SecretName = o.secretName()
	held := o.held
	if !held.Whole {
		held = o.former.held
	}
	status.FetchedAt, status.ExpiresAt, status.RenewAt = nil, nil, nil
	if !held.Whole {
		status.Scope = ""
		return
	}
	status.FetchedAt, status.ExpiresAt = timeOf(held.Token.FetchedAt), timeOf(held.Token.ExpiresAt)
	if o.isReady() || held.Proven {
		status.RenewAt = timeOf(o.renewAt(held.Token))
	}
	if held.Token.Scope != "" {
		status.Scope = held.Token.Scope
	}
}

// secretName returns the Secret that the operator looks after: the former target until it is removed.
func (o observation) secretName() string {
	switch {
	case o.former.secret != nil || o.former.unread != nil:
		return o.former.name
	case o.foreign != nil && o.foreign.transient:
		return o.obj.Status.SecretName
	case o.foreign == nil && o.secret != nil:
		return o.obj.TargetName()
	default:
		return ""
	}
}

// statusOfAttempts says what became of the last attempts, and when the next one is.
func (o observation) statusOfAttempts(status *v1alpha1.PayUTokenStatus, why *failure) {
	refused := o.record.refusal
	switch {
	case why != nil && why == refused.failure:
		status.Failures, status.NextAttemptAt = int32(refused.failures), timeOf(refused.next)
	case why != nil:
		status.Failures, status.NextAttemptAt = 0, nil
	default:
		status.Failures, status.NextAttemptAt = int32(o.state.Failures), timeOf(o.nextAttempt())
	}
	// The version of the credentials is that of the last attempt: an edit of their metadata is not worth a write.
	if o.unusable == nil && (o.wrote != "" || status.NextAttemptAt != nil || status.CredentialsVersion == "") {
		status.CredentialsVersion = o.keys.version.resourceVersion
	}
	if o.wishHandled(why) {
		status.LastHandledRefreshAt = o.obj.RefreshRequest()
	}
}

func (o observation) nextAttempt() time.Time {
	if o.isDue() && o.state.HeldUntil.After(o.state.NextAttempt) {
		return o.state.HeldUntil
	}
	return o.state.NextAttempt
}

// wishHandled reports whether the request for a refresh was served by a request that has ended, or cannot be until a
// person acts.
func (o observation) wishHandled(why *failure) bool {
	switch {
	case o.obj.RefreshRequest() == "":
		return false
	case why != nil && why.stalled:
		return true
	default:
		return o.unusable == nil && !o.state.Wished && (why == nil || why == suspended)
	}
}

func (o observation) conditions(status *v1alpha1.PayUTokenStatus, why *failure) {
	switch {
	case why == nil:
		why = o.payuFailure()
	case why == suspended && o.blocked.isTransient():
		why = o.blocked
	}
	o.set(status, o.ready(why))
	if refreshed := o.refreshed(why); refreshed != nil {
		o.set(status, *refreshed)
	} else if was := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRefreshed); was != nil && !aboutPayU(was.Reason) {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionRefreshed) // what it speaks of is over
	}
	if reason := o.stalledBy(why); reason != nil {
		o.set(status, metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: reason.reason, Message: reason.message})
		return
	}
	meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
}

func (o observation) set(status *v1alpha1.PayUTokenStatus, c metav1.Condition) {
	c.ObservedGeneration = o.obj.Generation
	c.LastTransitionTime = metav1.NewTime(o.now)
	meta.SetStatusCondition(&status.Conditions, c)
}

// ready says whether the target holds a live token for the present spec and credentials.
func (o observation) ready(why *failure) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch {
	case o.isReady():
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonTokenValid
		c.Message = fmt.Sprintf("Secret %q holds a valid token", o.obj.TargetName())
	case why != nil:
		c.Reason, c.Message = why.reason, why.message
	case o.record.fights(o):
		c.Reason, c.Message = o.record.fight.failure.reason, o.record.fight.failure.message
	case o.state.Reused:
		c.Reason, c.Message = v1alpha1.ReasonTokenReused, "The token has expired, and PayU issued no other one before"
	default:
		c.Reason, c.Message = v1alpha1.ReasonPending, "A token is being requested from PayU"
	}
	return c
}

// refreshed says whether the last request for a token worked, nil if there is nothing new to say.
func (o observation) refreshed(why *failure) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionRefreshed, Status: metav1.ConditionTrue}
	switch {
	case why != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, why.reason, why.message
	case o.state.Reused:
		c.Reason, c.Message = v1alpha1.ReasonTokenReused, "PayU issued the same token again, and issues a new one when it expires"
	case o.isReady() && o.isGivenAgain(o.state.Token):
		c.Reason, c.Message = v1alpha1.ReasonSucceeded, "PayU issued the same token again, whose assumed lifetime begins anew"
	case o.isReady() || o.state.Ended > 0:
		c.Reason, c.Message = v1alpha1.ReasonSucceeded, "PayU issued a new token"
	default:
		return nil
	}
	return c
}

// stalledBy returns what a person must act on, nil if nothing is.
func (o observation) stalledBy(why *failure) *failure {
	switch {
	case why != nil && why.stalled:
		return why
	case o.record.fights(o):
		return o.record.fight.failure
	case o.foreign == nil && o.secret != nil && !o.held.InShape && o.record.shape.failure != nil:
		return o.record.shape.failure
	case o.blocked != nil && o.blocked.stalled:
		return o.blocked
	default:
		return nil
	}
}

func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &metav1.Time{Time: t.UTC().Truncate(time.Second)}
}
