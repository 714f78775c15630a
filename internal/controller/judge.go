package controller

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// longestSleep bounds the time between two passes, so that a clock that was set, or a machine that slept, is
// noticed.
const longestSleep = 10 * time.Minute

// together is how far apart those are looked at of which nothing is due. To wake the process for each by itself takes more than
// to look at it (docs/performance.md).
const together = 5 * time.Second

// judge returns the status that the situation deserves.
func judge(s situation) v1alpha1.PayUTokenStatus {
	status := *s.token.Status.DeepCopy()
	if s.undecided() {
		return status
	}
	status.ObservedGeneration = s.token.Generation
	judgeToken(s, &status)
	judgeAttempts(s, &status)
	judgeConditions(s, &status)
	if s.nothingNewButCredentials(status) {
		return s.token.Status
	}
	return status
}

// nothingNewButCredentials reports whether all is as well as it was, without an attempt or a wait for the next, and only the
// version of the credentials is another: somebody has edited their metadata, which is not worth a write.
func (s situation) nothingNewButCredentials(status v1alpha1.PayUTokenStatus) bool {
	former := s.token.Status
	attempted := s.memory.unannounced || s.progress.Reused || status.Failures > 0
	waits := status.NextAttemptAt != nil // a restart is to know that it is with these credentials
	if attempted || waits || former.CredentialsVersion == "" || former.CredentialsVersion == status.CredentialsVersion {
		return false
	}
	status.CredentialsVersion = former.CredentialsVersion
	return equality.Semantic.DeepEqual(former, status)
}

// undecided reports whether the answer to the first request for a new spec or new credentials is awaited: until it
// is there, the status speaks of what was before.
func (s situation) undecided() bool {
	expires := s.token.Status.ExpiresAt
	return s.progress.InFlight && s.problem() == nil && !s.held().ValidAt(s.now) &&
		(expires == nil || s.now.Before(expires.Time))
}

func judgeToken(s situation, status *v1alpha1.PayUTokenStatus) {
	token := s.holding.token
	if !s.holding.intact {
		status.FetchedAt, status.ExpiresAt, status.RenewAt, status.Scope = nil, nil, nil, ""
		if status.SecretName == s.token.TargetName() {
			status.SecretName = ""
		}
		return
	}
	status.SecretName = s.token.TargetName()
	status.FetchedAt, status.ExpiresAt, status.RenewAt = timeOf(token.FetchedAt), timeOf(token.ExpiresAt), nil
	if s.held().ValidAt(s.now) {
		status.RenewAt = timeOf(s.renewAt())
	}
	if scope := s.grantedScope(); scope != "" {
		status.Scope = scope
	}
}

// grantedScope returns the scope of the held token, empty if a template hides it and this process did not fetch it.
func (s situation) grantedScope() string {
	if s.holding.token.Scope == "" && s.memory.token.FetchedAt.Equal(s.holding.token.FetchedAt) {
		return s.memory.token.Scope
	}
	return s.holding.token.Scope
}

func judgeAttempts(s situation, status *v1alpha1.PayUTokenStatus) {
	if !s.unknown() {
		status.CredentialsVersion = s.version.resourceVersion
	}
	if s.refreshHandled() {
		status.LastHandledRefreshAt = s.token.RefreshRequest()
	}
	switch p := s.obstacle(); {
	case p != nil && p == s.memory.refusal:
		status.Failures, status.NextAttemptAt = int32(s.memory.writeFailures), timeOf(s.memory.nextWrite)
	case p != nil:
		status.Failures, status.NextAttemptAt = 0, nil
	case !s.unknown():
		status.Failures, status.NextAttemptAt = int32(s.progress.Failures), timeOf(s.nextAttempt())
	case s.vindicated():
		status.Failures, status.NextAttemptAt = 0, nil
	}
}

// vindicated reports whether the Secret itself is evidence that all is well, whatever the status says of Refreshed:
// it holds a valid token, and the last attempt was not one with the present spec and credentials.
func (s situation) vindicated() bool {
	status := s.token.Status
	present := status.CredentialsVersion == s.version.resourceVersion && status.ObservedGeneration == s.token.Generation
	return s.held().ValidAt(s.now) && !(present && aboutPayU(refreshedReason(s.token)))
}

// unknown reports whether this process has no word of PayU on the source: then the status may know more.
func (s situation) unknown() bool {
	return !s.keyKnown() || s.progress.Attempts == 0 && s.answer() == nil
}

// answer returns what PayU refused the token with, nil if it did not: the source's own last answer or, where a
// request is due that may not be made yet, the one that told the client to wait.
func (s situation) answer() *payu.Error {
	if s.progress.Err == nil && s.due() {
		return s.progress.HeldFor
	}
	return s.progress.Err
}

func (s situation) nextAttempt() time.Time {
	if s.due() && s.progress.HeldUntil.After(s.progress.NextAttempt) {
		return s.progress.HeldUntil
	}
	return s.progress.NextAttempt
}

// refreshHandled reports whether the refresh request was taken up by an attempt that has ended, or cannot be.
func (s situation) refreshHandled() bool {
	if s.token.RefreshRequest() == "" {
		return false
	}
	if p := s.obstacle(); p != nil {
		return p.reason != v1alpha1.ReasonSuspended
	}
	m := s.memory
	ended := m.attemptSource != m.key.Source || s.progress.Attempts >= m.attempt
	return m.attempt > 0 && m.tried.refresh == s.token.RefreshRequest() && ended
}

// obstacle returns what keeps the operator from asking PayU or writing the target, nil if nothing does.
func (s situation) obstacle() *problem {
	switch {
	case s.blocked() != nil:
		return s.blocked()
	case s.unreadable != nil:
		return s.unreadable
	default:
		return s.memory.refusal
	}
}

// problem returns what keeps a new token away, an obstacle or PayU's answer; nil if nothing does.
func (s situation) problem() *problem {
	if p := s.obstacle(); p != nil {
		return p
	}
	if err := s.answer(); err != nil && s.keyKnown() {
		return &problem{reason: string(err.Reason), message: explain(err, s.token), stalled: err.Permanent()}
	}
	return nil
}

func judgeConditions(s situation, status *v1alpha1.PayUTokenStatus) {
	p := s.problem()
	refreshed, ready := judgeRefreshed(s, p), judgeReady(s, p)
	for _, c := range []*metav1.Condition{ready, refreshed} {
		if c != nil {
			setCondition(s, status, *c)
		}
	}
	switch {
	case p != nil && p.stalled:
		setCondition(s, status, metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: p.reason, Message: p.message})
	case p != nil || !s.unknown() || s.held().ValidAt(s.now) && refreshed != nil:
		status.Conditions = slices.DeleteFunc(status.Conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionStalled })
	}
}

func setCondition(s situation, status *v1alpha1.PayUTokenStatus, c metav1.Condition) {
	c.ObservedGeneration = s.token.Generation
	c.LastTransitionTime = metav1.NewTime(s.now)
	meta.SetStatusCondition(&status.Conditions, c)
}

// judgeReady returns the Ready condition, nil if it stays as it is.
func judgeReady(s situation, p *problem) *metav1.Condition {
	if s.held().ValidAt(s.now) {
		return &metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenValid,
			Message: fmt.Sprintf("Secret %q holds a valid token", s.token.TargetName())}
	}
	if p == nil {
		p = pastProblem(s)
	}
	if p == nil {
		return nil
	}
	return &metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: p.reason, Message: p.message}
}

// pastProblem returns why there is no valid token where no refusal tells: that PayU reuses the token to its end, what
// an attempt of a former process said, or that the answer is awaited. Nil if Ready is not True anyway.
func pastProblem(s situation) *problem {
	switch {
	case !meta.IsStatusConditionTrue(s.token.Status.Conditions, v1alpha1.ConditionReady):
		return nil
	case s.keyKnown() && s.progress.Reused:
		return &problem{reason: v1alpha1.ReasonTokenReused, message: "The token has expired, and PayU gave no other one before"}
	}
	if s.candidate().ValidAt(s.now) {
		return &problem{reason: v1alpha1.ReasonTargetWriteFailed, message: "The API server is in trouble: the token that PayU gave is written once that is over"}
	}
	if c := meta.FindStatusCondition(s.token.Status.Conditions, v1alpha1.ConditionRefreshed); c != nil && c.Status == metav1.ConditionFalse {
		return &problem{reason: c.Reason, message: c.Message}
	}
	return &problem{reason: v1alpha1.ReasonUnreachable, message: "PayU has not answered the request for a new token yet"}
}

// judgeRefreshed returns the Refreshed condition, nil if it stays as it is.
func judgeRefreshed(s situation, p *problem) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionRefreshed, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonSucceeded, Message: "PayU gave a new token"}
	switch {
	case p != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, p.reason, p.message
	case !s.unknown() && s.progress.Reused:
		c.Reason, c.Message = v1alpha1.ReasonTokenReused, "PayU gave the same token again, and gives a new one when it expires"
	case !s.unknown():
	case s.vindicated():
	default:
		return nil
	}
	return c
}

func refreshedReason(token *v1alpha1.PayUToken) string {
	if c := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionRefreshed); c != nil {
		return c.Reason
	}
	return ""
}

// aboutPayU reports whether a reason speaks of a request to PayU: such a one stays until the next request.
func aboutPayU(reason string) bool {
	switch reason {
	case "", v1alpha1.ReasonCredentialsNotFound, v1alpha1.ReasonCredentialsInvalid, v1alpha1.ReasonTargetConflict,
		v1alpha1.ReasonTargetWriteFailed, v1alpha1.ReasonTemplateInvalid, v1alpha1.ReasonSuspended:
		return false
	default:
		return true
	}
}

// explain says what PayU's refusal means for the person who reads the condition, and what to do about it.
func explain(err *payu.Error, token *v1alpha1.PayUToken) string {
	ref := token.Spec.CredentialsSecretRef
	switch err.Reason {
	case payu.InvalidClient:
		return fmt.Sprintf("%s: correct %s and %s in Secret %q, or spec.environment", err.Detail, ref.ClientIDKey, ref.ClientSecretKey, ref.Name)
	case payu.InvalidScope, payu.ScopeReduced:
		return err.Detail + ": correct spec.scopes, or ask PayU to allow them for this client"
	case payu.UnauthorizedClient:
		return err.Detail + ": ask PayU to allow the client credentials grant for this client"
	case payu.InvalidRequest, payu.UnsupportedGrantType:
		return err.Detail + ": check the operator's base URL for the environment"
	default:
		return err.Detail
	}
}

// wakeAfter returns how long to sleep until the next pass, if nothing wakes the operator before.
func wakeAfter(s situation) time.Duration {
	wake := s.now.Add(longestSleep).Truncate(together)
	for _, at := range s.moments() {
		if at.After(s.now) && at.Before(wake) {
			wake = at
		}
	}
	return wake.Sub(s.now)
}

// moments returns when something will be due.
func (s situation) moments() []time.Time {
	list := []time.Time{s.progress.NextAttempt, s.progress.HeldUntil, s.memory.nextWrite}
	if held := s.held(); held.ValidAt(s.now) {
		list = append(list, held.ExpiresAt, s.renewAt())
	}
	if at := s.token.Status.NextAttemptAt; at != nil {
		list = append(list, at.Time)
	}
	if s.outpaced() {
		list = append(list, s.latest)
	}
	return list
}

// spread returns a constant of the PayUToken's own, from 0 to 1.
func spread(token *v1alpha1.PayUToken) float64 {
	h := fnv.New32a()
	h.Write([]byte(token.UID))
	return float64(h.Sum32()) / (1 << 32)
}

func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &metav1.Time{Time: t.UTC().Truncate(time.Second)}
}
