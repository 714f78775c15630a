package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// report writes the status if it has changed, with one patch, and says in events and the log what is new.
func (r *Reconciler) report(ctx context.Context, s situation, status v1alpha1.PayUTokenStatus) error {
	before := s.token.Status
	r.announce(ctx, s, before, status)
	if equality.Semantic.DeepEqual(before, status) {
		return nil
	}
	stored := s.token.DeepCopy()
	s.token.Status = status
	err := r.Client.Status().Patch(ctx, s.token, client.MergeFrom(stored), client.FieldOwner(v1alpha1.ManagedBy))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	s.memory.statusVersion = s.token.ResourceVersion
	return nil
}

// announce tells of a token that was written and of trouble that is new, and of nothing else.
func (r *Reconciler) announce(ctx context.Context, s situation, before, after v1alpha1.PayUTokenStatus) {
	logger := log.FromContext(ctx)
	if s.wrote {
		note := fmt.Sprintf("Wrote the token into Secret %q", s.token.TargetName())
		r.Events.Eventf(s.token, nil, corev1.EventTypeNormal, v1alpha1.ConditionRefreshed, "WriteToken", "%s", note)
		logger.Info("Wrote the token", "secret", s.token.TargetName(), "expiresAt", after.ExpiresAt)
	}
	trouble := newTrouble(before, after)
	if trouble == nil {
		return
	}
	kind := corev1.EventTypeWarning
	if trouble.Reason == v1alpha1.ReasonSuspended {
		kind = corev1.EventTypeNormal
	}
	r.Events.Eventf(s.token, nil, kind, trouble.Reason, "RenewToken", "%s", trouble.Message)
	logger.Info("No new token", "reason", trouble.Reason, "message", trouble.Message)
}

// newTrouble returns the condition that is False for a reason which none was False for before; nil if none is.
func newTrouble(before, after v1alpha1.PayUTokenStatus) *metav1.Condition {
	for _, kind := range []string{v1alpha1.ConditionRefreshed, v1alpha1.ConditionReady} {
		is := meta.FindStatusCondition(after.Conditions, kind)
		known := slices.ContainsFunc(before.Conditions, func(was metav1.Condition) bool {
			return is != nil && was.Status == metav1.ConditionFalse && was.Reason == is.Reason
		})
		if is != nil && is.Status == metav1.ConditionFalse && !known {
			return is
		}
	}
	return nil
}
