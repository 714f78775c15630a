package controller

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// report writes the status if it has changed, with one patch, and says in events and the log what is new.
func (r *Reconciler) report(ctx context.Context, s situation, status v1alpha1.PayUTokenStatus) error {
	before := s.token.Status
	if !equality.Semantic.DeepEqual(before, status) {
		written, err := r.writeStatus(ctx, s.token, status)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("writing the status: %w", err)
		}
		s.memory.statusVersion = written
	}
	r.announceToken(ctx, s, status)
	if trouble := newTrouble(before, status); trouble != nil && (!s.progress.InFlight || s.problem() != nil) {
		r.announceTrouble(ctx, s.token, trouble)
	}
	return nil
}

// writeStatus returns the resourceVersion of the PayUToken with its new status, empty with an error.
func (r *Reconciler) writeStatus(ctx context.Context, token *v1alpha1.PayUToken, status v1alpha1.PayUTokenStatus) (string, error) {
	patch, err := json.Marshal([]map[string]any{ // RFC 6902
		{"op": "test", "path": "/metadata/uid", "value": token.UID}, // not to another one of the same name
		{"op": "add", "path": "/status", "value": status},           // or replace
	})
	if err != nil {
		return "", err
	}
	// All but the metadata in the answer is known.
	written := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: token.Namespace, Name: token.Name}}
	written.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PayUToken"))
	err = r.Client.Status().Patch(ctx, written, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(v1alpha1.ManagedBy))
	return written.ResourceVersion, err
}

// announceToken tells of a token that was written.
func (r *Reconciler) announceToken(ctx context.Context, s situation, status v1alpha1.PayUTokenStatus) {
	if !s.memory.unannounced {
		return
	}
	s.memory.unannounced = false
	r.Events.Eventf(s.token, nil, corev1.EventTypeNormal, v1alpha1.ConditionRefreshed, "WriteToken",
		"Wrote the token into Secret %q", s.token.TargetName())
	log.FromContext(ctx).Info("Wrote the token", "secret", s.token.TargetName(), "expiresAt", status.ExpiresAt)
}

// announceTrouble tells why there is no new token. That a user suspends a PayUToken is no warning.
func (r *Reconciler) announceTrouble(ctx context.Context, token *v1alpha1.PayUToken, trouble *metav1.Condition) {
	kind := corev1.EventTypeWarning
	if trouble.Reason == v1alpha1.ReasonSuspended {
		kind = corev1.EventTypeNormal
	}
	r.Events.Eventf(token, nil, kind, trouble.Reason, "RenewToken", "%s", trouble.Message)
	log.FromContext(ctx).Info("No new token", "reason", trouble.Reason, "message", trouble.Message)
}

// newTrouble returns the condition that has become False, or False for another reason; nil if none has. The moment
// between a reused token's end and its successor is no trouble: it comes with every life.
func newTrouble(before, after v1alpha1.PayUTokenStatus) *metav1.Condition {
	for _, kind := range []string{v1alpha1.ConditionRefreshed, v1alpha1.ConditionReady} {
		was, is := meta.FindStatusCondition(before.Conditions, kind), meta.FindStatusCondition(after.Conditions, kind)
		if is == nil || is.Status != metav1.ConditionFalse || is.Reason == v1alpha1.ReasonTokenReused {
			continue
		}
		if was == nil || was.Status != is.Status || was.Reason != is.Reason {
			return is
		}
	}
	return nil
}
