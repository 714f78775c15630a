package controller

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// failure is why something was not done, as a condition says it: a reason of the API, and a message for the person who
// fixes it.
type failure struct {
	reason  string
	message string
	// stalled is true if a person must act.
	stalled bool
	// transient is true if the API server did not answer: the pass is repeated with the queue's back-off.
	transient bool
	// timedOut is true if it did not answer in time.
	timedOut bool
}

var (
	// conflict says that somebody else has changed the target since it was read.
	conflict = &failure{reason: "Conflict"}
	// gone ends a pass in silence: the namespace is being deleted, or is gone.
	gone = &failure{reason: "Gone"}
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

// targetFailed reports whether a failure keeps the target from being written.
func targetFailed(f *failure) bool {
	return f != nil && (f.reason == v1alpha1.ReasonTargetConflict || f.reason == v1alpha1.ReasonTargetWriteFailed)
}

// isRefusal reports whether the API server refuses a write, and will refuse it again until somebody acts.
func isRefusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsUnauthorized(err) ||
		apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsNotAcceptable(err)
}

// isGone reports whether the namespace is being deleted, or is gone.
func isGone(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err)
}

var (
	// byWebhook and byPolicy recognise whose words an error of the API server repeats.
	byWebhook = regexp.MustCompile(`webhook "([^"]{1,253})"`)
	byPolicy  = regexp.MustCompile(`(Validating|Mutating)AdmissionPolicy '([^']{1,253})'`)
)

// wordsOf returns what the API server says, in one line of bounded length. An admission webhook or policy may say
// anything, and may know the values of the Secret: then only its name is repeated, unless the values are known to be
// placeholders.
func wordsOf(err error, placeholders bool, values ...string) string {
	var status apierrors.APIStatus
	switch {
	case isDeadline(err):
		return "it did not answer in time"
	case !errors.As(err, &status):
		return "the connection failed"
	}
	message := status.Status().Message
	if !placeholders {
		if m := byWebhook.FindStringSubmatch(message); m != nil {
			return fmt.Sprintf("admission webhook %q %s", m[1], verbOf(message))
		}
		if m := byPolicy.FindStringSubmatch(message); m != nil {
			return fmt.Sprintf("%sAdmissionPolicy %q denied the request", m[1], m[2])
		}
		if repeats(message, values) {
			return string(status.Status().Reason)
		}
	}
	message, _, _ = strings.Cut(message, ", requested: ") // the numbers of a quota vary
	return oneLine(message)
}

func verbOf(message string) string {
	if strings.Contains(message, "denied the request") {
		return "denied the request"
	}
	return "failed"
}

// repeats reports whether a text holds one of the values, raw or encoded.
func repeats(text string, values []string) bool {
	for _, value := range values {
		if value == "" {
			continue
		}
		for _, form := range []string{value, base64.StdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value))} {
			if strings.Contains(text, strings.TrimRight(form, "=")) {
				return true
			}
		}
	}
	return false
}

func oneLine(message string) string {
	const most = 300
	line := strings.Join(strings.Fields(message), " ")
	if len(line) > most {
		return strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}
