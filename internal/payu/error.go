package payu

import (
	"fmt"
	"time"
)

// Reason is why a request gave no token, in the words of the PayUToken's conditions.
type Reason string

// The reasons of an Error.
const (
	InvalidClient        Reason = "InvalidClient"
	InvalidScope         Reason = "InvalidScope"
	UnauthorizedClient   Reason = "UnauthorizedClient"
	InvalidRequest       Reason = "InvalidRequest"
	UnsupportedGrantType Reason = "UnsupportedGrantType"
	RateLimited          Reason = "RateLimited"
	ServerError          Reason = "ServerError"
	OAuthError           Reason = "OAuthError"
	Unreachable          Reason = "Unreachable"
	InvalidResponse      Reason = "InvalidResponse"
	ScopeReduced         Reason = "ScopeReduced"
	LifetimeUnknown      Reason = "LifetimeUnknown"
)

// Reasons are those for which requests give no token that can be used. LifetimeUnknown is none: whether a token without a life
// can be used is up to its PayUToken.
var Reasons = []Reason{
	InvalidClient, InvalidScope, UnauthorizedClient, InvalidRequest, UnsupportedGrantType, RateLimited, ServerError, OAuthError,
	Unreachable, InvalidResponse, ScopeReduced,
}

// Error is a request that gave no token. It holds nothing of the answer but a code in known form.
type Error struct {
	Reason Reason
	// Detail says what was wrong, in one line that is the same each time.
	Detail string
	// RetryAfter is how long the server asks to wait, from 5 s to 1 h; 0 if it does not say.
	RetryAfter time.Duration
	// Restored says that a former process had the response: Detail does not tell what it said.
	Restored bool
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Reason, e.Detail) }

// Permanent reports whether the same request will fail until somebody acts.
func (e *Error) Permanent() bool {
	switch e.Reason {
	case InvalidClient, InvalidScope, UnauthorizedClient, InvalidRequest, UnsupportedGrantType, ScopeReduced, LifetimeUnknown:
		return true
	default:
		return false
	}
}

const (
	// Floor is the least time between two requests for the same source.
	Floor          = 5 * time.Second
	transientFirst = Floor
	transientMost  = 5 * time.Minute
	permanentFirst = 15 * time.Minute
	// LongestBackOff is the longest wait before another attempt, retry_after included.
	LongestBackOff = time.Hour
)

// BackOff returns how long to wait after the failures-th failure in a row (1 is the first). A permanent one
// waits 15 min, doubling to 1 h. A transient one waits at least Floor, and up to a part of 5 s, doubling to 5 min: the
// part, from 0 to 1, is drawn by the caller (jitter), so that many do not come back at the same moment. The wait is
// never shorter than the server asks for.
func (e *Error) BackOff(failures int, part float64) time.Duration {
	if e.Permanent() {
		return max(doubled(permanentFirst, LongestBackOff, failures), e.RetryAfter)
	}
	wait := time.Duration(part * float64(doubled(transientFirst, transientMost, failures)))
	return max(wait, Floor, e.RetryAfter)
}

func doubled(first, most time.Duration, failures int) time.Duration {
	wait := first
	for range failures - 1 {
		if wait *= 2; wait >= most {
			return most
		}
	}
	return wait
}
