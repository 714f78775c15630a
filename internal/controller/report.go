package controller

import (
	"context"
	"encoding/json"

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
func (r *Reconciler) report(ctx context.Context, o *observation, status v1alpha1.PayUTokenStatus) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	r.announceWrite(ctx, o.obj, o.wrote, o.desired.Name, status)
	r.announceWrite(ctx, o.obj, o.former.wrote, o.former.name, status)
	before := o.obj.Status
	if !equality.Semantic.DeepEqual(before, status) {
		written, err := r.writeStatus(ctx, o.obj, status)
		if client.IgnoreNotFound(err) != nil || isDenial(err) {
			return statusFailed{err}
		}
		o.record.status, o.record.statusVersion = &status, written
	}
	if trouble := newTrouble(before, status, v1alpha1.ConditionDelivered); trouble != nil {
		r.announceTrouble(ctx, o.obj, "TellPods", "Pods are not told", trouble)
	}
	if trouble := newTrouble(before, status, v1alpha1.ConditionRefreshed, v1alpha1.ConditionReady, v1alpha1.ConditionStalled); trouble != nil {
		r.announceTrouble(ctx, o.obj, "RenewToken", "No new token", trouble)
	}
	return nil
}

// statusFailed is why the status could not be written. It is logged, so that it says nothing in a webhook's words.
type statusFailed struct{ cause error }

// Error implements error.
func (e statusFailed) Error() string { return "writing the status: " + wordsOf(e.cause) }

// Unwrap returns the cause.
func (e statusFailed) Unwrap() error { return e.cause }

// writeStatus returns the resourceVersion of the PayUToken with its new status, empty with an error.
func (r *Reconciler) writeStatus(ctx context.Context, obj *v1alpha1.PayUToken, status v1alpha1.PayUTokenStatus) (string, error) {
	patch, err := json.Marshal([]map[string]any{ // RFC 6902
		{"op": "test", "path": "/metadata/uid", "value": obj.UID}, // not to another one of the same name
		{"op": "add", "path": "/status", "value": status},         // or replace
	})
	if err != nil {
		return "", err
	}
	// All but the metadata in the answer is known.
	written := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: obj.Namespace, Name: obj.Name}}
	written.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PayUToken"))
	err = r.Client.Status().Patch(ctx, written, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(v1alpha1.ManagedBy))
	return written.ResourceVersion, err
}

// announceWrite tells of a token that was written, or of an edit that was undone.
func (r *Reconciler) announceWrite(ctx context.Context, obj *v1alpha1.PayUToken, wrote, secret string, status v1alpha1.PayUTokenStatus) {
	switch wrote {
	case v1alpha1.ConditionRefreshed:
		r.Events.Eventf(obj, nil, corev1.EventTypeNormal, v1alpha1.ConditionRefreshed, "WriteToken", "Wrote the token into Secret %q", secret)
		log.FromContext(ctx).Info("Wrote the token", "secret", secret, "expiresAt", status.ExpiresAt)
	case v1alpha1.EventRepaired:
		r.Events.Eventf(obj, nil, corev1.EventTypeNormal, v1alpha1.EventRepaired, "RepairTarget", "Undid a change of Secret %q by somebody else", secret)
		log.FromContext(ctx).Info("Repaired the target", "secret", secret)
	}
}

// announceTrouble tells why an action was not done. That a user suspends a PayUToken is no warning.
func (r *Reconciler) announceTrouble(ctx context.Context, obj *v1alpha1.PayUToken, action, says string, trouble *metav1.Condition) {
	kind := corev1.EventTypeWarning
	if trouble.Reason == v1alpha1.ReasonSuspended {
		kind = corev1.EventTypeNormal
	}
	r.Events.Eventf(obj, nil, kind, trouble.Reason, action, "%s", trouble.Message)
	log.FromContext(ctx).Info(says, "reason", trouble.Reason, "message", trouble.Message)
}

// newTrouble returns the first condition of these kinds that has become bad, or bad for another reason; nil if none has. The moment between a
// reused token's end and its successor is no trouble, since it comes with every life, nor is a token that is being fetched.
func newTrouble(before, after v1alpha1.PayUTokenStatus, kinds ...string) *metav1.Condition {
	for _, kind := range kinds {
		was, is := meta.FindStatusCondition(before.Conditions, kind), meta.FindStatusCondition(after.Conditions, kind)
		bad := metav1.ConditionFalse
		if kind == v1alpha1.ConditionStalled {
			bad = metav1.ConditionTrue
		}
		if is == nil || is.Status != bad || is.Reason == v1alpha1.ReasonTokenReused || is.Reason == v1alpha1.ReasonPending {
			continue
		}
		if was == nil || was.Status != is.Status || was.Reason != is.Reason {
			return is
		}
	}
	return nil
}
