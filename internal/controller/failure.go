package controller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// failure is why something was not done, as a condition says it: a reason of the API, and a message for the person who
// fixes it.
type failure struct {
	reason  string
	message string
	// stalled is true if a person must act.
	stalled bool
	// transient is true if the API server did not answer, or failed to do something that a retry may do: the pass is repeated at
	// record.retryAt. A failure may be both, where a read or a removal is refused.
	transient bool
}

var (
	// conflict says that somebody else has changed the target since it was read.
	conflict = &failure{reason: "Conflict"}
	// namespaceGone ends a pass in silence: the namespace is being deleted, or is gone.
	namespaceGone = &failure{reason: "Gone"}
)

func (f *failure) isTransient() bool { return f != nil && f.transient }

func stalled(reason, format string, args ...any) *failure {
	return &failure{reason: reason, message: fmt.Sprintf(format, args...), stalled: true}
}

func transient(reason, format string, args ...any) *failure {
	return &failure{reason: reason, message: fmt.Sprintf(format, args...), transient: true}
}

func isDeadline(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// answerIn returns what the API server answered, and whether it did.
func answerIn(err error) (_ metav1.Status, answered bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return metav1.Status{}, false
	}
	return status.Status(), true
}

// targetFailed reports whether a failure keeps the target from being written.
func targetFailed(f *failure) bool {
	return f != nil && (f.reason == v1alpha1.ReasonTargetConflict || f.reason == v1alpha1.ReasonTargetWriteFailed)
}

// isRefusal reports whether the API server refuses a write, and will refuse it again until somebody acts.
func isRefusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsUnauthorized(err) ||
		apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsNotAcceptable(err) || isDenial(err)
}

// isDenial reports whether an admission webhook denies a write. It may do so with any HTTP status, also with those that
// mean a conflict, or a namespace that is gone, where the API server itself gives them.
func isDenial(err error) bool {
	status, _ := answerIn(err)
	return status.Code >= 400 && status.Code < 500 && status.Code != http.StatusTooManyRequests && byDenial.MatchString(status.Message)
}

// isPolicyDenial reports whether an admission policy denies a write.
func isPolicyDenial(err error) bool {
	status, _ := answerIn(err)
	return byPolicy.MatchString(status.Message)
}

// isRBACDenial reports whether the operator lacks the right to do something.
func isRBACDenial(err error) bool {
	status, _ := answerIn(err)
	return byRBAC.MatchString(status.Message)
}

// isGone reports whether the namespace is being deleted, or is gone.
func isGone(err error) bool {
	return !isDenial(err) && (apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err) && kindOf(err) == "namespaces")
}

// isConflict reports whether the Secret has changed or gone since it was read.
func isConflict(err error) bool {
	return !isDenial(err) && (apierrors.IsConflict(err) || apierrors.IsNotFound(err))
}

// classify tells why a write did not work: the Secret has changed meanwhile, the namespace is being deleted, the API
// server refuses, or it did not answer.
func (o *observation) classify(err error) *failure {
	name := o.desired.Name
	switch {
	case isGone(err):
		return namespaceGone
	case isConflict(err):
		return conflict
	case isRefusal(err):
		return stalled(v1alpha1.ReasonTargetWriteFailed, "The API server refuses to write Secret %q: %s%s", name, wordsOf(err), o.remedyFor(err))
	default:
		return failedTo("write", name, err)
	}
}

// remedyFor says what to do about a refusal that the API server's own words do not explain.
func (o *observation) remedyFor(err error) string {
	status, _ := answerIn(err)
	fields, metadata := fieldsOf(status), o.obj.Spec.Target.Template.Metadata
	switch {
	case o.secret != nil && o.secret.Immutable != nil && *o.secret.Immutable:
		return ": the Secret is immutable; delete it, and it is created again"
	case slices.Contains(fields, "type"):
		return ": the type of a Secret cannot be changed; delete the Secret, and it is created with the new type"
	case slices.Contains(fields, "metadata.labels"):
		return ": correct spec.target.template.metadata.labels" + firstOf(target.LabelFaults(metadata.Labels))
	case slices.Contains(fields, "metadata.annotations"):
		return ": correct spec.target.template.metadata.annotations" + firstOf(target.AnnotationFaults(metadata.Annotations))
	default:
		return ""
	}
}

// firstOf says what the first of some faults is, empty if there are none.
func firstOf(faults []target.Fault) string {
	if len(faults) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s): %s", faults[0].What, faults[0].Rule)
}

// failedTo says that the API server did not do something with a Secret. It is tried again; if it was refused, a person must act, too.
func failedTo(do, name string, err error) *failure {
	f := transient(v1alpha1.ReasonTargetWriteFailed, "The API server failed to %s Secret %q: %s", do, name, wordsOf(err))
	if isRefusal(err) {
		f.stalled = true
	}
	return f
}

// kindOf returns the kind of the object that an answer of the API server is about, empty if it does not say.
func kindOf(err error) string {
	status, _ := answerIn(err)
	if status.Details == nil {
		return ""
	}
	return status.Details.Kind
}

// What the API server's own words look like, from their beginning: whatever a webhook or a policy says comes later, and they
// may say anything, and know the values of the Secret.
var (
	byDenial  = regexp.MustCompile(`^admission webhook "([^"]{1,253})" denied the request`)
	byWebhook = regexp.MustCompile(`^(?:Internal error occurred: )?failed calling webhook "([-.a-z0-9]{1,253})"`)
	forbidden = `^(?:secrets|pods) (?:"[-.a-z0-9]{1,253}" )?is forbidden: `
	byPolicy  = regexp.MustCompile(forbidden + `(ValidatingAdmissionPolicy|MutatingAdmissionPolicy) '([-.a-z0-9]{1,253})' `)
	byRBAC    = regexp.MustCompile(forbidden + `(User "[-.:@a-zA-Z0-9]{1,253}" cannot [a-z]{1,20} resource "[a-z/]{1,30}")`)
	byUID     = regexp.MustCompile(`uid mismatch`)
	byQuota   = regexp.MustCompile(forbidden + `(exceeded quota: [-.a-z0-9]{1,253}), requested: `)
	ownField  = regexp.MustCompile(`^(type|immutable|data|metadata\.(labels|annotations|ownerReferences|name))\b`)
)

// wordsOf returns why the API server does not do something, in one line, and in no words but its own.
func wordsOf(err error) string {
	status, answered := answerIn(err)
	switch {
	case isDeadline(err):
		return "it did not answer in time"
	case !answered:
		return "the connection failed"
	}
	if m := byDenial.FindStringSubmatch(status.Message); m != nil {
		return fmt.Sprintf("admission webhook %q denied it", m[1])
	}
	if m := byWebhook.FindStringSubmatch(status.Message); m != nil {
		return fmt.Sprintf("admission webhook %q failed", m[1])
	}
	if m := byPolicy.FindStringSubmatch(status.Message); m != nil {
		return fmt.Sprintf("%s %q denied it", m[1], m[2])
	}
	for _, own := range []*regexp.Regexp{byRBAC, byQuota} {
		if m := own.FindStringSubmatch(status.Message); m != nil {
			return m[1]
		}
	}
	if fields := fieldsOf(status); len(fields) > 0 {
		return "invalid " + strings.Join(fields, ", ")
	}
	return fmt.Sprintf("HTTP %d", status.Code)
}

// fieldsOf returns the fields of a Secret that the API server does not accept.
func fieldsOf(status metav1.Status) (fields []string) {
	if status.Details == nil {
		return nil
	}
	for _, cause := range status.Details.Causes {
		if field := ownField.FindString(cause.Field); field != "" && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	return fields
}
