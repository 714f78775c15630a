package controller

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// That PayU states no life of a token is a fact of the source, and what is assumed instead is each PayUToken's own. So the
// state of the source is seen here as if the source had given the life, or as if the request had failed for the lack of one.

// adopt takes the state of the source as it is for this PayUToken.
func (o *observation) adopt(state grant.State) {
	state.Token = o.withLife(state.Token)
	if failures, next, lacks := o.lacksLife(state); lacks {
		state.Err = &payu.Error{Reason: payu.LifetimeUnknown, Detail: "PayU issued a token without a lifetime (expires_in)"}
		state.Failures, state.NextAttempt = failures, next
		if !state.Wished && state.AskAt.Before(next) {
			state.AskAt = next
		}
	}
	o.state = state
}

// withLife returns a token for which PayU stated no life with the one that spec.assumedLifetime gives it or, where it is or
// replaces a token in a target, with that one's life. Else it has no expiry, and is valid at no time.
func (o observation) withLife(token payu.Token) payu.Token {
	if !token.LifeUnstated {
		return token
	}
	if assumed := o.obj.Spec.AssumedLifetime; assumed != nil {
		token.ExpiresAt = token.FetchedAt.Add(assumed.Duration)
		return token
	}
	for _, held := range o.allHeld() {
		if held.Proven {
			token.ExpiresAt = token.FetchedAt.Add(held.Token.Life())
			return token
		}
	}
	return token
}

// lacksLife reports whether this PayUToken has no token since none has a known life, how often that happened in a row, and
// when to ask again: seldom, since each answer is a token that nobody ends.
func (o observation) lacksLife(state grant.State) (failures int, next time.Time, lacks bool) {
	status := o.obj.Status
	refreshed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRefreshed)
	noted := refreshed != nil && refreshed.Reason == v1alpha1.ReasonLifetimeUnknown && status.NextAttemptAt != nil && o.ofPresentSpec(status)
	if noted {
		failures, next = int(status.Failures), status.NextAttemptAt.Time
	}
	token := state.Token
	switch {
	case state.Err != nil || token.ValidAt(o.now):
		return 0, time.Time{}, false
	case !token.LifeUnstated || !token.ExpiresAt.IsZero():
		return failures, next, noted && o.now.Before(next) // the token is lost, in a restart
	case noted && token.FetchedAt.Before(next):
		return failures, next, true
	default:
		wait := (&payu.Error{Reason: payu.LifetimeUnknown}).BackOff(failures+1, 0)
		return failures + 1, token.FetchedAt.Add(wait), true
	}
}

// ofPresentSpec reports whether a status is about the present spec and credentials.
func (o observation) ofPresentSpec(status v1alpha1.PayUTokenStatus) bool {
	return status.ObservedGeneration == o.obj.Generation && status.CredentialsVersion == o.keys.version.resourceVersion
}
