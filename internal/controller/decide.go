package controller

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// situation is all that is known of one PayUToken at one moment: decisions and judgements are made from it alone.
type situation struct {
	now    time.Time
	token  *v1alpha1.PayUToken
	margin time.Duration // the life that a token must have left when its successor is written
	memory *memory

	// rival is an older PayUToken with the same target, empty if there is none.
	rival string
	// unrenderable is why the template cannot be rendered with the token that PayU gave, nil if it can.
	unrenderable *problem

	// version is that of the credentials, zero if they are not in the cache; versionDigest is its digest.
	version       version
	versionDigest payu.Digest
	// read is true once the credentials were read in this pass.
	read bool
	// unreadable is what is wrong with them, nil if nothing is.
	unreadable *problem
	// source is what a token is made from, nil if the present credentials were not read.
	source *payu.Source
	// progress is what is known of the requests for the source.
	progress payu.Progress
	// latest is when the latest token was fetched that the target of any PayUToken of the source holds.
	latest time.Time

	// target is the Secret of the target's name, nil if there is none; holding is what it holds if it is ours.
	target  *corev1.Secret
	holding holding
	// proven is true once the API server has accepted a trial write in this pass, or a new target like this one just now.
	proven bool
	// asked is true once a request was begun, or found under way, in this pass.
	asked bool
}

// step is what to do next.
type step string

const (
	done            step = "done"
	readCredentials step = "read credentials"
	readAndTry      step = "read credentials and try write"
	tryWrite        step = "try write"
	join            step = "join request"
	ask             step = "ask"
	write           step = "write"
	rewrite         step = "rewrite"
)

// next decides what to do. Each step changes the situation so that it is not decided again.
func next(s situation) step {
	switch {
	case s.needsKey():
		return s.reading()
	case s.blocked() != nil:
		return done
	case s.superseded():
		return write
	case s.held().ValidAt(s.now) && s.outOfShape():
		return rewrite
	case s.progress.InFlight && s.due() && s.provoked():
		return join
	case !s.mustAsk():
		return done
	case s.source == nil:
		return readCredentials
	case !s.proven:
		return tryWrite // in revoke-previous mode a token that cannot be written has killed the one that pods use
	default:
		return ask
	}
}

// reading returns how to read the credentials: a new PayUToken will need a trial, too, and need not wait for one after the
// other.
func (s situation) reading() step {
	if s.isFirst() && !s.proven && s.blocked() == nil {
		return readAndTry
	}
	return readCredentials
}

// isFirst reports whether nothing was written for the PayUToken so far, nor refused.
func (s situation) isFirst() bool {
	return s.target == nil && s.token.Status.ObservedGeneration < 1 && s.memory.secretWrite.Load() == nil && s.memory.refusal == nil
}

// blocked returns what keeps the operator from doing anything, nil if nothing does.
func (s situation) blocked() *problem {
	switch {
	case s.token.Spec.Suspend:
		return &problem{reason: v1alpha1.ReasonSuspended, message: "Renewal is suspended by spec.suspend: set it to false to go on"}
	case s.rival != "":
		return stalled(v1alpha1.ReasonTargetConflict,
			fmt.Sprintf("PayUToken %q, which is older, has the same target Secret %q: name another one in spec.target.name", s.rival, s.token.TargetName()))
	case s.target != nil && !belongsTo(s.target, s.token):
		return stalled(v1alpha1.ReasonTargetConflict,
			fmt.Sprintf("Secret %q exists and is not of this PayUToken: delete it, or name another one in spec.target.name", s.token.TargetName()))
	case s.memory.blueprint.problem != nil:
		return s.memory.blueprint.problem
	case s.unrenderable != nil:
		return s.unrenderable
	case s.memory.refusal != nil && s.resting() && !s.provoked():
		return s.memory.refusal
	default:
		return nil
	}
}

// resting reports whether the target is not to be written yet. A rest longer than any that is ever set means that the
// clock was set back since.
func (s situation) resting() bool {
	rest := s.memory.nextWrite.Sub(s.now)
	return rest > 0 && rest <= fightPause
}

// provoked reports whether a user has changed the PayUToken since the last attempt.
func (s situation) provoked() bool { return s.memory.tried != provocationOf(s.token) }

// refreshPending reports whether a refresh was requested that no attempt has taken up yet.
func (s situation) refreshPending() bool {
	request := s.token.RefreshRequest()
	return request != "" && request != s.memory.tried.refresh && request != s.token.Status.LastHandledRefreshAt
}

// keyKnown reports whether the source's key is known from credentials that were in hand.
func (s situation) keyKnown() bool {
	return s.unreadable == nil && s.memory.knows(s.version)
}

// needsKey reports whether the credentials must be read to go on.
func (s situation) needsKey() bool {
	switch {
	case s.read || s.keyKnown():
		return false
	case s.backingOff():
		return refreshedReason(s.token) == v1alpha1.ReasonRateLimited // for others of the client to wait, too
	case s.version == version{}:
		return true // a cache may lag: only the API server's word is good enough for "not found"
	default:
		return !s.right() || fresher(s.progress.Token, s.held(), s.now)
	}
}

// backingOff reports whether a former process noted, for this spec and these credentials, not to ask PayU yet.
func (s situation) backingOff() bool {
	status := s.token.Status
	return !s.keyKnown() && s.version != version{} && status.NextAttemptAt != nil &&
		status.CredentialsVersion == s.version.resourceVersion && s.restorable() &&
		!s.provoked() && s.now.Before(status.NextAttemptAt.Time)
}

// restorable reports whether failures and nextAttemptAt in the status speak of requests to PayU.
func (s situation) restorable() bool {
	wait := s.token.Status.NextAttemptAt
	return wait != nil && aboutPayU(refreshedReason(s.token)) && (s.token.Status.Failures == 0 || wait.Sub(s.now) <= payu.LongestBackOff)
}

// right reports whether the target was made from the present spec and credentials. Where the credentials cannot
// be read nothing speaks against those that it was made from.
func (s situation) right() bool {
	mark := s.holding.seal
	switch {
	case !s.holding.intact || mark.spec != s.memory.blueprint.spec:
		return false
	case s.unreadable != nil:
		return true
	case s.keyKnown():
		return mark.source == s.memory.key.Source
	default:
		return mark.credentials == s.versionDigest
	}
}

// held returns the token that the target holds, made from the present spec and credentials; zero if it does not.
func (s situation) held() payu.Token {
	if !s.right() {
		return payu.Token{}
	}
	return s.holding.token
}

// candidate returns the freshest token that may be written, zero if there is none: the one that all with the same
// source share, if this PayUToken's own credentials were in hand to prove that it is one of them, or the one that
// it had itself.
func (s situation) candidate() payu.Token {
	var own, shared payu.Token
	present := s.keyKnown() || s.unreadable != nil && s.memory.inputs == s.memory.blueprint.inputs
	if present && s.memory.source == s.memory.key.Source {
		own = s.memory.token
	}
	if s.keyKnown() {
		shared = s.progress.Token
	}
	if fresher(own, shared, s.now) && !own.FetchedAt.Equal(shared.FetchedAt) {
		return own
	}
	return shared
}

// superseded reports whether the candidate is to be written in place of what the target holds. Times count whole
// seconds: of two tokens of the same second (a refresh right after a renewal) the one that PayU gave to this process
// last counts, unless the target holds one that this process has not seen, which another leader wrote.
func (s situation) superseded() bool {
	candidate, held, landed := s.candidate(), s.held(), s.memory.landed
	sameTime := candidate.FetchedAt.Equal(held.FetchedAt)
	seen := held.AccessToken == "" || held.AccessToken == landed // a template hides it
	if sameTime && candidate.AccessToken != landed && seen {
		return candidate.ValidAt(s.now)
	}
	return fresher(candidate, held, s.now)
}

// clockTolerance is how far in the future a token may have been fetched: another node's clock may be ahead.
const clockTolerance = 10 * time.Second

// fresher reports whether token a is to replace token b.
func fresher(a, b payu.Token, now time.Time) bool {
	switch {
	case a.AccessToken == "" || !a.ValidAt(now) || fromTheFuture(a, now):
		return false
	case !b.ValidAt(now) || fromTheFuture(b, now):
		return true
	case a.FetchedAt.Equal(b.FetchedAt):
		return a.ExpiresAt.After(b.ExpiresAt)
	default:
		return a.FetchedAt.After(b.FetchedAt)
	}
}

// fromTheFuture reports whether the clock was set back since the token was fetched: its expiry is not to be trusted.
func fromTheFuture(t payu.Token, now time.Time) bool {
	return t.FetchedAt.After(now.Add(clockTolerance))
}

// outOfShape reports whether the target holds the right token but not the right type, labels, annotations or owner.
func (s situation) outOfShape() bool {
	return !s.holding.marked || s.holding.seal.shape != s.memory.blueprint.shape
}

// mustAsk reports whether PayU is to be asked for a token now.
func (s situation) mustAsk() bool {
	switch {
	case s.asked, s.unreadable != nil, s.progress.InFlight, !s.progress.HeldUntil.IsZero(), s.backingOff(), !s.due():
		return false
	default:
		reuseEnds := s.progress.Failures == 0 && fromTheFuture(s.held(), s.now) // the wait was reckoned with another clock
		return s.provoked() || !s.now.Before(s.progress.NextAttempt) || reuseEnds
	}
}

// due reports whether a new token is wanted: there is none, it is old or behind, a user wants one, or the last attempt
// failed.
func (s situation) due() bool {
	held := s.held()
	return !held.ValidAt(s.now) || fromTheFuture(held, s.now) || !s.now.Before(s.renewAt()) ||
		s.behind() || s.refreshPending() || s.progress.Attempts < s.memory.wanted || s.keyKnown() && s.progress.Failures > 0
}

// behind reports whether the target of another PayUToken of the source holds a later token, which PayU did not give to
// this process: another leader ended before it had written that one to all, and in revoke-previous mode the older one
// is dead. One request gives all the same token again. The later one is not taken over, since a seal can be forged.
func (s situation) behind() bool { return s.outpaced() && !s.latest.After(s.now) }

func (s situation) outpaced() bool {
	return s.right() && s.latest.After(s.held().FetchedAt) && s.latest.After(s.progress.Token.FetchedAt)
}

func (s situation) renewAt() time.Time {
	return s.held().RenewAt(renewalPercent(s.token), s.margin, spread(s.token))
}

func renewalPercent(token *v1alpha1.PayUToken) int {
	if token.Spec.RenewalPercent == 0 {
		return 67
	}
	return int(token.Spec.RenewalPercent)
}
