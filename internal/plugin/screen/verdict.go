package screen

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// Health is the state of a PayUToken, the worst first.
type Health int

// The kinds of health.
const (
	Failed    Health = iota // no valid token, and a person must act
	Down                    // no valid token
	Silent                  // the operator has not done what was due
	Failing                 // a valid token, and failing requests for the next one
	Waiting                 // the operator has not reconciled it yet
	Suspended               // a valid token, which is not renewed
	Well
)

// Reasons that no condition has, since only the clock shows them.
const (
	reasonExpired = "Expired" // the token has expired, and the status does not say so
	reasonOverdue = "Overdue" // the renewal is overdue
	reasonNotSeen = "NotSeen" // it is not new, and has no status
	reasonWaiting = "Waiting"
)

// patience is how late the operator may be before it is called silent.
const patience = time.Minute

// Verdict is the state of a PayUToken by its status and the clock. The clock wins: a status that no operator updates says
// Ready for ever.
type Verdict struct {
	Health Health
	// Valid is true if the Secret holds a valid token.
	Valid  bool
	Reason string
	// Message is the message of the failing condition.
	Message string
}

// Judge returns the verdict on a PayUToken.
func Judge(t *v1alpha1.PayUToken, now time.Time) Verdict {
	ready, refreshed := condition(t, v1alpha1.ConditionReady), condition(t, v1alpha1.ConditionRefreshed)
	switch {
	case ready == nil && now.Sub(t.CreationTimestamp.Time) > patience:
		return Verdict{Health: Silent, Reason: reasonNotSeen}
	case ready == nil:
		return Verdict{Health: Waiting, Reason: reasonWaiting}
	case ready.Status != metav1.ConditionTrue && stalled(t):
		return Verdict{Failed, false, ready.Reason, ready.Message}
	case ready.Status != metav1.ConditionTrue:
		return Verdict{Down, false, ready.Reason, ready.Message}
	case expired(t, now):
		return Verdict{Health: Down, Reason: reasonExpired}
	case t.Spec.Suspend:
		return Verdict{Suspended, true, v1alpha1.ReasonSuspended, ""}
	case now.Sub(due(t)) > patience:
		return Verdict{Silent, true, reasonOverdue, ""}
	case t.Status.ObservedGeneration != t.Generation:
		return Verdict{Waiting, true, reasonWaiting, ""}
	case refreshed != nil && refreshed.Status != metav1.ConditionTrue:
		return Verdict{Failing, true, refreshed.Reason, refreshed.Message}
	default:
		return Verdict{Well, true, ready.Reason, ""}
	}
}

// Sort sorts PayUTokens, the worst first, then by expiry.
func Sort(tokens []v1alpha1.PayUToken, now time.Time) {
	slices.SortStableFunc(tokens, func(a, b v1alpha1.PayUToken) int {
		return cmp.Or(
			cmp.Compare(Judge(&a, now).Health, Judge(&b, now).Health),
			timeOf(a.Status.ExpiresAt).Compare(timeOf(b.Status.ExpiresAt)),
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Name, b.Name))
	})
}

func (v Verdict) colour() colour {
	switch v.Health {
	case Failed, Down:
		return red
	case Silent, Failing:
		return yellow
	case Waiting, Suspended:
		return cyan
	default:
		return green
	}
}

// ready is the status of the Ready condition, corrected by the clock.
func (v Verdict) ready() string {
	switch {
	case v.Valid:
		return string(metav1.ConditionTrue)
	case v.Health == Failed, v.Health == Down:
		return string(metav1.ConditionFalse)
	default:
		return string(metav1.ConditionUnknown)
	}
}

func condition(t *v1alpha1.PayUToken, kind string) *metav1.Condition {
	return meta.FindStatusCondition(t.Status.Conditions, kind)
}

// stalled reports whether the operator says that a person must act.
func stalled(t *v1alpha1.PayUToken) bool {
	return meta.IsStatusConditionTrue(t.Status.Conditions, v1alpha1.ConditionStalled)
}

func expired(t *v1alpha1.PayUToken, now time.Time) bool {
	return t.Status.ExpiresAt != nil && !now.Before(t.Status.ExpiresAt.Time)
}

// due is when the next request to PayU is due; never if the status does not say.
func due(t *v1alpha1.PayUToken) time.Time {
	renew, next := timeOf(t.Status.RenewAt), timeOf(t.Status.NextAttemptAt)
	switch {
	case !next.IsZero() && t.Status.Failures > 0, next.After(renew): // after a failure the next attempt counts, not the renewal
		return next
	case renew.IsZero():
		return never
	default:
		return renew
	}
}

var never = time.Unix(1<<40, 0)

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
