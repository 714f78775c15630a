package controller

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// wantsPodsTold reports whether pods are to be told of each write of the target.
func (o observation) wantsPodsTold() bool {
	return o.obj.Spec.Target.Delivery == v1alpha1.DeliveryPrompt
}

// deliver has the pods told that mount the target, which has just been written.
func (r *Reconciler) deliver(o *observation) {
	if o.wantsPodsTold() {
		r.Deliveries.add(o.notice(true))
	}
}

func (o observation) notice(tell bool) notice {
	return notice{payUToken: client.ObjectKeyFromObject(o.obj), uid: o.obj.UID, secret: o.desired.Name, tell: tell}
}

// noteDelivery takes up what became of the last delivery. Where a process knows of none, the right to patch pods is looked at, and
// a write of a former process, if pods may not have been told of it, is told again.
func (r *Reconciler) noteDelivery(o *observation) {
	name := client.ObjectKeyFromObject(o.obj)
	if !o.wantsPodsTold() {
		r.Deliveries.forget(name)
		return
	}
	ended, waits := r.Deliveries.outcome(name, o.obj.UID, o.desired.Name)
	isOver := ended.isOver(o.now)
	if isOver {
		ended.at = o.now // it is looked at now, and if nothing has changed, nobody wakes this PayUToken
	}
	if o.delivered = ended; !waits && (ended == nil || isOver) {
		n := o.notice(o.held.Whole && o.now.Sub(o.held.Token.FetchedAt).Abs() < kubeletTurn)
		n.again = true
		r.Deliveries.add(n)
	}
}

// isOver reports whether to look again for a right that was missing.
func (o *outcome) isOver(now time.Time) bool {
	at := o.lookAgainAt()
	return !at.IsZero() && (!now.Before(at) || at.Sub(now) > lookAgainAfter)
}

// lookAgainAt returns when to look again for a right that is missing; zero if none is.
func (o *outcome) lookAgainAt() time.Time {
	if o == nil || o.failure == nil || o.failure.reason == v1alpha1.ReasonDeliveryFailed {
		return time.Time{}
	}
	return o.at.Add(lookAgainAfter)
}

// conditionOfDelivery says whether pods are told of new tokens. What a former process said stays until this one knows.
func (o observation) conditionOfDelivery(status *v1alpha1.PayUTokenStatus) {
	switch {
	case !o.wantsPodsTold():
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionDelivered)
	case o.delivered == nil:
	case o.delivered.failure == nil:
		o.set(status, metav1.Condition{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPodsTold,
			Message: fmt.Sprintf("Pods that mount Secret %q are told of each new token", o.desired.Name)})
	default:
		o.set(status, metav1.Condition{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionFalse, Reason: o.delivered.failure.reason,
			Message: o.delivered.failure.message})
	}
}
