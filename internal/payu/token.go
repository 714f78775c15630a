package payu

import "time"

// Token is an access token (RFC 6749 section 5.1) and its life. Times are UTC, in whole seconds.
type Token struct {
	AccessToken string
	Type        string    // always "Bearer"
	Scope       string    // granted, space separated
	FetchedAt   time.Time // the local clock just before the request was sent
	ExpiresAt   time.Time // FetchedAt + expires_in; created_at is of no use where a server reuses tokens
}

// String keeps the token out of logs and error texts.
func (Token) String() string { return "[redacted]" }

// GoString keeps the token out of %#v.
func (Token) GoString() string { return "[redacted]" }

// MarshalText keeps it out of structured logs.
func (Token) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// ValidAt reports whether the token lives at the given moment. The zero Token never does.
func (t Token) ValidAt(now time.Time) bool { return now.Before(t.ExpiresAt) }

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

const (
	// reuseFloor is the shortest wait after a reused token, while it lives.
	reuseFloor = 5 * time.Second
	// reuseSteps bounds the requests per life: the wait is halved down to this part of the life.
	reuseSteps = 1024
	// expiryRounding is how long after the computed expiry a server that counts whole seconds may still reuse a
	// token: one second that FetchedAt lost, one that expires_in lost.
	expiryRounding = 2 * time.Second
)

// nextAfterReuse returns when to ask again after PayU gave a token back that was there already, as it does in
// reuse mode until the token dies: at half of what is left, so that a server which renews early is noticed, and
// in the end just after expiry. A life costs at most 12 requests. life is the token's life as first seen,
// expiresAt its expiry as last seen.
func nextAfterReuse(life time.Duration, expiresAt, now time.Time) time.Time {
	half := expiresAt.Sub(now) / 2
	if half < max(reuseFloor, life/reuseSteps) {
		return expiresAt.Add(expiryRounding)
	}
	return now.Add(half)
}
