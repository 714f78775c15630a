package payu

import "time"

// Token is an access token (RFC 6749 section 5.1) and its life. Times are UTC, in whole seconds.
type Token struct {
	AccessToken string
	Type        string    // always "Bearer"
	Scope       string    // granted, space separated
	FetchedAt   time.Time // the local clock just before the request was sent
	ExpiresAt   time.Time // FetchedAt + expires_in; created_at is of no use where a server reuses tokens
	// EndsAfter is the earliest moment at which the token can have expired: the clock just before the request was sent, not
	// truncated, + expires_in. Zero for a token that was read from a Secret.
	EndsAfter time.Time
	// LifeUnstated says that PayU stated no life: ExpiresAt is zero, or what somebody assumes.
	LifeUnstated bool
}

// String keeps the token out of logs and error texts.
func (Token) String() string { return "[redacted]" }

// GoString keeps the token out of %#v.
func (Token) GoString() string { return "[redacted]" }

// MarshalText keeps it out of structured logs.
func (Token) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// ValidAt reports whether the token lives at the given moment. The zero Token never does.
func (t Token) ValidAt(now time.Time) bool { return now.Before(t.ExpiresAt) }

// HasNoLife reports whether PayU stated no life of the token, and none is assumed.
func (t Token) HasNoLife() bool { return t.LifeUnstated && t.ExpiresAt.IsZero() }

// MayLiveAt reports whether the token lives at the given moment as far as is known.
func (t Token) MayLiveAt(now time.Time) bool {
	return t.ValidAt(now) || t.HasNoLife() && t.AccessToken != ""
}

// Life is how long the token lives in all.
func (t Token) Life() time.Duration { return t.ExpiresAt.Sub(t.FetchedAt) }

// RenewAt returns when the token is due to be renewed: after percent of its life, or earlier so that margin is
// left of it, but never before half of it. spread, from 0 to 1, takes up to 5 % of the life off, so that many
// tokens do not renew at the same moment.
func (t Token) RenewAt(percent int, margin time.Duration, spread float64) time.Time {
	life := t.Life()
	at := min(life/100*time.Duration(percent), life-margin)
	at = (at - time.Duration(spread*float64(life/20))).Truncate(time.Second)
	return t.FetchedAt.Add(max(at, life/2))
}

// clockTolerance is how far in the future a token may have been fetched: another node's clock may be ahead.
const clockTolerance = 10 * time.Second

// FromTheFuture reports whether the clock was set back since the token was fetched: its expiry cannot be trusted.
func (t Token) FromTheFuture(now time.Time) bool { return t.FetchedAt.After(now.Add(clockTolerance)) }

// Supersedes reports whether the token lives and is to replace the other one: it was fetched later, or the other one
// is dead or from the future.
func (t Token) Supersedes(other Token, now time.Time) bool {
	switch {
	case t.AccessToken == "" || !t.MayLiveAt(now) || t.FromTheFuture(now):
		return false
	case !other.MayLiveAt(now) || other.FromTheFuture(now):
		return true
	case t.FetchedAt.Equal(other.FetchedAt):
		return t.ExpiresAt.After(other.ExpiresAt)
	default:
		return t.FetchedAt.After(other.FetchedAt)
	}
}
