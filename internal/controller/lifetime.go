package controller

import (
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// That PayU states no life of a token is a fact of the source, and what is assumed instead is each PayUToken's own. So the
// state of the source is seen here as if the source had given the life, or as if the request had failed for the lack of one.

// adopt takes the state of the source as it is for this PayUToken.
func (o *observation) adopt(state grant.State) {
	state.Token = o.withLife(state.Token)
	if o.lacksLife(state) {
		state.Err = &payu.Error{Reason: payu.LifetimeUnknown, Detail: "PayU issued a token without a lifetime (expires_in)"}
		state.Failures, state.NextAttempt = max(state.Unstated, 1), state.UnstatedNext
		if !state.Wished && state.AskAt.Before(state.NextAttempt) {
			state.AskAt = state.NextAttempt
		}
	}
	o.state = state
}

// withLife returns a token for which PayU stated no life with the one that spec.assumedLifetime gives it. Without that it keeps the one
// that it took from the token before it, or takes that of the last token that this PayUToken had. Else it has no expiry, and is valid
// at no time.
func (o observation) withLife(token payu.Token) payu.Token {
	if !token.LifeUnstated || token.AccessToken == "" {
		return token
	}
	assumed, life := o.obj.Spec.AssumedLifetime, o.record.life
	switch {
	case assumed != nil:
		token.ExpiresAt = token.FetchedAt.Add(assumed.Truncate(time.Second)) // a Secret's times are whole seconds
	case token.ExpiresAt.IsZero() && life > 0:
		token.ExpiresAt = token.FetchedAt.Add(life)
	}
	return token
}

// lacksLife reports whether this PayUToken has no token since none has a known life. In the second case the token is lost, in a restart.
func (o observation) lacksLife(state grant.State) bool {
	switch {
	case state.Err != nil:
		return false
	case state.Token.AccessToken != "":
		return state.Token.HasNoLife()
	default:
		return state.Unstated > 0 && o.now.Before(state.UnstatedNext)
	}
}

// noteLife keeps the life of the last token of this PayUToken: a later one takes it if PayU states none, whatever has become of the
// Secret and the spec meanwhile.
func (o *observation) noteLife() {
	for _, held := range o.allHeld() {
		if held.Proven && held.Token.Life() > 0 {
			o.record.life = held.Token.Life()
			return
		}
	}
	status := o.obj.Status
	if o.record.life == 0 && status.FetchedAt != nil && status.ExpiresAt != nil {
		o.record.life = min(max(0, status.ExpiresAt.Sub(status.FetchedAt.Time)), payu.LongestLife)
	}
}

// isGivenAgain reports whether a token without a life is one that PayU has given before.
func (o observation) isGivenAgain(token payu.Token) bool {
	first := o.state.Since
	return token.LifeUnstated && !first.IsZero() && token.AccessToken == o.state.Token.AccessToken && token.FetchedAt.After(first)
}

// endOfFirst returns when a token that PayU gives again and again, without a life, has ended if its life is what is assumed: a request
// then finds out. Zero if that is over, or cannot be known.
func (o observation) endOfFirst(token payu.Token) time.Time {
	if !o.isGivenAgain(token) {
		return time.Time{}
	}
	if end := o.state.Since.Add(token.Life() + payu.Floor); end.After(token.FetchedAt) {
		return end
	}
	return time.Time{}
}
