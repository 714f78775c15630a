package controller

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// absent is the resourceVersion to apply an object with that must not exist yet: no object has it, so that the API
// server answers with a conflict if somebody has created one meanwhile.
const absent = "1"

const (
	mostRepairs  = 5
	repairWindow = 10 * time.Minute
	fightPause   = time.Hour
)

// errGone ends a pass in silence: the namespace is being deleted, or is gone.
var errGone = errors.New("the namespace is terminating")

// act does one step and changes the situation and the memory by what came of it. Its errors are the API server's.
func (r *Reconciler) act(ctx context.Context, s *situation, next step) error {
	switch next {
	case readCredentials:
		return r.readCredentials(ctx, s)
	case readAndTry:
		return r.readAndTry(ctx, s)
	case tryWrite:
		return r.tryWrite(ctx, s)
	case join:
		s.memory.attempts(s)
	case ask:
		r.ask(ctx, s)
	case write:
		return r.writeToken(ctx, s)
	case rewrite:
		return r.rewrite(ctx, s)
	}
	return nil
}

// readCredentials learns the source from the API server, and with it what is known of the requests for it.
func (r *Reconciler) readCredentials(ctx context.Context, s *situation) error {
	source, v, unreadable, err := r.credentials.read(ctx, s.token)
	if err != nil {
		return err
	}
	s.read, s.unreadable = true, unreadable
	s.setVersion(v)
	if unreadable != nil {
		return nil
	}
	m := s.memory
	m.origin, m.key, m.version, m.inputs = source, source.Key(), v, m.blueprint.inputs
	s.source = &m.origin
	r.share(s.token, m.key.Source)
	if s.restorable() && !s.provoked() && s.token.Status.CredentialsVersion == v.resourceVersion {
		r.restore(s)
	}
	s.progress = r.Tokens.Look(m.key)
	return nil
}

// restore makes known to all with the same source, or the same client, what a former process noted in the status.
func (r *Reconciler) restore(s *situation) {
	status := s.token.Status
	var heldFor *payu.Error
	if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRefreshed); c != nil && c.Reason == v1alpha1.ReasonRateLimited {
		heldFor = &payu.Error{Reason: payu.RateLimited, Detail: c.Message}
	}
	r.Tokens.Restore(s.memory.key, int(status.Failures), status.NextAttemptAt.Time, heldFor)
}

// ask begins a request for a new token; the pass after its end finds what came of it.
func (r *Reconciler) ask(ctx context.Context, s *situation) {
	m := s.memory
	var held payu.Token
	if m.source == m.key.Source {
		held = m.token
	}
	s.asked = true
	s.progress = r.Tokens.Ask(ctx, *s.source, s.progress.Attempts, held)
	if s.progress.InFlight {
		m.attempts(s)
	}
}

// attempts notes that the request which is in flight is this PayUToken's attempt.
func (m *memory) attempts(s *situation) {
	m.tried, m.attempt, m.attemptSource, m.wanted = provocationOf(s.token), s.progress.Attempts+1, m.key.Source, 0
}

// readAndTry reads the credentials and tries the write, both at once.
func (r *Reconciler) readAndTry(ctx context.Context, s *situation) error {
	secret := s.sample()
	if secret == nil {
		return r.readCredentials(ctx, s)
	}
	trial := make(chan error, 1)
	go func() { trial <- r.tryNew(ctx, s, secret) }()
	err := r.readCredentials(ctx, s)
	refusal := <-trial
	if err != nil || s.unreadable != nil {
		return err
	}
	return r.tried(ctx, s, refusal)
}

// tryWrite finds out whether the API server would accept the target, before PayU is asked for a token.
func (r *Reconciler) tryWrite(ctx context.Context, s *situation) error {
	secret := s.sample()
	if secret == nil {
		return nil
	}
	if s.isFirst() {
		return r.tried(ctx, s, r.tryNew(ctx, s, secret))
	}
	return r.tried(ctx, s, r.apply(ctx, s, secret, client.DryRunAll))
}

// tryNew finds out whether the API server would accept a new target. Of those of a kind that begin at once, one asks for all.
func (r *Reconciler) tryNew(ctx context.Context, s *situation, secret *corev1.Secret) error {
	kind := kindOf(s.token)
	if end, other := r.memories.beginTrial(kind); other != nil {
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	} else {
		defer end()
	}
	if r.memories.accepts(kind, r.now()) {
		return nil
	}
	return r.apply(ctx, s, secret, client.DryRunAll)
}

// sample returns the target with a token that is none, nil if the template cannot be rendered.
func (s *situation) sample() *corev1.Secret {
	sample := payu.Token{AccessToken: "sample", Type: "Bearer", FetchedAt: s.now, ExpiresAt: s.now.Add(time.Hour)}
	data, p := dataFor(s.token, sample)
	if p != nil {
		s.unrenderable = p
		return nil
	}
	return s.secretFor(sample, data, s.memory.key.Source, s.versionDigest)
}

// tried notes whether the API server accepted the sample.
func (r *Reconciler) tried(ctx context.Context, s *situation, err error) error {
	if err == nil {
		s.proven = true
		s.memory.refusal = nil
	}
	err = r.settle(ctx, s, err)
	if s.memory.refusal != nil {
		s.memory.wanted = s.progress.Attempts + 1
	}
	return err
}

// writeToken writes the freshest token into the target.
func (r *Reconciler) writeToken(ctx context.Context, s *situation) error {
	m := s.memory
	token := s.candidate()
	source, from := m.key.Source, s.versionDigest
	if s.unreadable != nil {
		source, from = m.source, m.version.digest()
	}
	data, p := dataFor(s.token, token)
	if p != nil {
		s.unrenderable = p
		return nil
	}
	m.token, m.source = token, source
	return r.applyTarget(ctx, s, s.secretFor(token, data, source, from), token.AccessToken)
}

// rewrite puts the target's type, labels, annotations and owner right, around the data that it holds.
func (r *Reconciler) rewrite(ctx context.Context, s *situation) error {
	token := s.held()
	mark := s.holding.seal
	secret := s.secretFor(token, ownData(s.target, s.token), mark.source, mark.credentials)
	return r.applyTarget(ctx, s, secret, s.memory.landed)
}

// applyTarget writes the target, which holds the AccessToken then, unless the same was written too often of late: then somebody
// else keeps changing it, and two writers would fight for ever.
func (r *Reconciler) applyTarget(ctx context.Context, s *situation, secret *corev1.Secret, token string) error {
	m := s.memory
	mark := payu.DigestOf(secret.Annotations[v1alpha1.AnnotationSource])
	if mark == m.written && m.fights(s.now) {
		m.refuse(s, stalled(v1alpha1.ReasonTargetConflict, fmt.Sprintf(
			"Another controller or user keeps changing Secret %q: stop it, or name another Secret in spec.target.name", s.token.TargetName())), fightPause)
		return nil
	}
	err := r.apply(ctx, s, secret)
	if err != nil {
		return r.settle(ctx, s, err)
	}
	if mark == m.written {
		m.repairs = append(m.repairs, s.now)
	}
	m.landed, m.written, m.refusal, m.writeFailures, m.nextWrite = token, mark, nil, 0, time.Time{}
	m.secretWrite.Store(&ownWrite{name: secret.Name, version: secret.ResourceVersion})
	m.unannounced = true
	s.setTarget(secret)
	r.compare(s) // no pass need follow that would
	return nil
}

// fights reports whether repairs are too many within the window, and forgets those before it.
func (m *memory) fights(now time.Time) bool {
	for len(m.repairs) > 0 && now.Sub(m.repairs[0]) > repairWindow {
		m.repairs = m.repairs[1:]
	}
	return len(m.repairs) >= mostRepairs
}

// refuse notes that the target cannot be written, and for how long not to try again.
func (m *memory) refuse(s *situation, p *problem, wait time.Duration) {
	m.writeFailures++
	m.refusal, m.nextWrite, m.tried = p, s.now.Add(wait), provocationOf(s.token)
	m.repairs = nil
}

// apply sends the whole target in one server-side apply, on the condition that the Secret is still the one that the
// decision was made from. The Secret becomes what the API server answers. It answers a patch in protobuf, and client.Apply in
// JSON, which is more work for both.
func (r *Reconciler) apply(ctx context.Context, s *situation, secret *corev1.Secret, options ...client.PatchOption) error {
	secret.ResourceVersion = absent
	if s.target != nil {
		secret.UID, secret.ResourceVersion = s.target.UID, s.target.ResourceVersion
	}
	whole, err := json.Marshal(secret)
	if err != nil {
		return err
	}
	err = r.Client.Patch(ctx, secret, client.RawPatch(types.ApplyPatchType, whole), append(options, client.FieldOwner(v1alpha1.ManagedBy), client.ForceOwnership)...)
	if s.target == nil {
		r.memories.accept(kindOf(s.token), s.now, err == nil)
	}
	return err
}

// settle tells apart why a write did not work: the Secret has changed meanwhile, the API server refuses, the
// namespace is going away, or the API server is in trouble, which is returned.
func (r *Reconciler) settle(ctx context.Context, s *situation, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return errGone
	case apierrors.IsConflict(err):
		return r.lookLive(ctx, s)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		wait := (&payu.Error{Reason: payu.ServerError}).BackOff(s.memory.writeFailures+1, r.Random())
		s.memory.refuse(s, stalled(v1alpha1.ReasonTargetWriteFailed, fmt.Sprintf(
			"The API server refuses to write Secret %q: %s", s.token.TargetName(), s.refusalOf(err))), wait)
		return nil
	default:
		return fmt.Errorf("writing Secret %q: %w", s.token.TargetName(), err)
	}
}

// lookLive reads the target from the API server.
func (r *Reconciler) lookLive(ctx context.Context, s *situation) error {
	secret := &corev1.Secret{}
	err := r.Live.Get(ctx, targetKey(s.token), secret)
	if apierrors.IsNotFound(err) {
		secret, err = nil, nil
	}
	if err != nil {
		return fmt.Errorf("reading Secret %q: %w", s.token.TargetName(), err)
	}
	s.setTarget(secret)
	return nil
}

// removeFormer removes the Secret that was written under a former target name, once the new one holds a token.
func (r *Reconciler) removeFormer(ctx context.Context, s situation) error {
	former := s.token.Status.SecretName
	if former == "" || former == s.token.TargetName() || !s.held().ValidAt(s.now) {
		return nil
	}
	secret, err := r.cachedTarget(ctx, types.NamespacedName{Namespace: s.token.Namespace, Name: former})
	if err != nil || secret == nil || !belongsTo(secret, s.token) {
		return err
	}
	same := client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}
	if err := r.Client.Delete(ctx, secret, same); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing former target Secret %q: %w", former, err)
	}
	return nil
}

// refusalOf returns the API server's words in one line of bounded length, without the numbers of a quota, which vary.
// An admission webhook may say anything: where it repeats the token, its words are left out.
func (s *situation) refusalOf(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return "without saying why"
	}
	message, _, _ := strings.Cut(status.Status().Message, ", requested: ")
	for _, token := range []string{s.memory.token.AccessToken, s.progress.Token.AccessToken} {
		if token != "" && (strings.Contains(message, token) || strings.Contains(message, base64.StdEncoding.EncodeToString([]byte(token)))) {
			return string(status.Status().Reason)
		}
	}
	return oneLine(message)
}
