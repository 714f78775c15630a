package grant

import (
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// A server in reuse mode gives the same token until it expires. At most mostRequests are made in the life of such a token. The
// last of them follow its end quickly, after probeDelays: from the earliest moment at which it can have expired, since
// servers and this process count whole seconds.
const mostRequests = 12

var probeDelays = []time.Duration{0, 400 * time.Millisecond, 900 * time.Millisecond, 1500 * time.Millisecond}

// leastPart bounds the requests also where a restart forgot some: once half of the rest of a life is less than this part of it,
// nothing is asked before its end.
const leastPart = 128

// shortLife is the life of a token for whose end there are no quick requests.
const shortLife = 30 * time.Second

// life counts the requests in the life of one token.
type life struct {
	// endsAfter is the earliest moment at which the token can have expired.
	endsAfter time.Time
	requests  int
	probes    int
	// probing says that the next request is one of the quick ones at the token's end, which the floor does not hold for.
	probing bool
	// limited says that PayU answered with a rate limit: then there are no quick ones.
	limited bool
}

// next returns when to ask again after PayU gave the token once more, to a quick request or another: at half of what is left, so that a server which
// renews early is noticed, and in the end as soon as it can have expired.
func (l *life) next(token, given payu.Token, now time.Time) time.Time {
	l.requests++
	if l.probing {
		l.probes++
	}
	l.probing = false
	if given.EndsAfter.After(l.endsAfter) {
		l.endsAfter = given.EndsAfter
	}
	half := l.endsAfter.Sub(now) / 2
	switch {
	case half >= max(payu.Floor, token.Life()/leastPart) && l.requests < mostRequests-len(probeDelays):
		return now.Add(half)
	case l.probes < len(probeDelays) && !l.limited && token.Life() >= shortLife:
		l.probing = true
		return l.endsAfter.Add(probeDelays[l.probes])
	case l.endsAfter.After(now):
		return l.endsAfter.Add(payu.Floor)
	default:
		return now.Add(payu.Floor)
	}
}

// sameEnd is how far two statements of a token's end may lie apart: requests take time, and servers count whole seconds.
const sameEnd = 30 * time.Second

// completed returns a token for which PayU states no life with what is known of it: the same token ends when PayU said before,
// and one that replaces another takes that one's life. Where nothing is known it has no end.
func completed(known, given payu.Token, endsAfter, now time.Time) payu.Token {
	same := given.AccessToken == known.AccessToken
	switch {
	case !given.LifeUnstated || known.ExpiresAt.IsZero():
		return given
	case same && !known.FromTheFuture(now) && now.Sub(known.ExpiresAt) < sameEnd: // a server may count otherwise
		given.LifeUnstated, given.ExpiresAt, given.EndsAfter = known.LifeUnstated, known.ExpiresAt, endsAfter
	default: // it outlives the life that it had, or the clock was set back since
		given.ExpiresAt = given.FetchedAt.Add(known.Life())
		given.EndsAfter = given.ExpiresAt
	}
	return given
}

// unstated counts the answers in a row that gave a token of which nothing is known how long it lives.
type unstated struct {
	answers int
	next    time.Time // when one more is worth a token that nobody ends
	since   time.Time // when the token was given first
}

// note notes an answer.
func (u *unstated) note(known, given payu.Token, now time.Time) {
	if !given.HasNoLife() {
		*u = unstated{}
		return
	}
	if u.since.IsZero() {
		u.since = known.FetchedAt
	}
	if given.AccessToken != known.AccessToken || given.FetchedAt.Before(u.since) { // or the clock was set back
		u.since = given.FetchedAt
	}
	u.answers++
	u.next = now.Add((&payu.Error{Reason: payu.LifetimeUnknown}).BackOff(u.answers, 0))
}

// restore takes up what a former process noted.
func (u *unstated) restore(seed Seed, now time.Time) {
	if seed.Unstated == 0 || now.Sub(seed.UnstatedNext) >= payu.LongestBackOff {
		return
	}
	u.answers = max(u.answers, seed.Unstated)
	next := seed.UnstatedNext
	if steppedBack(now, next) { // or it was the end of another member's token
		next = now.Add(payu.LongestBackOff)
	}
	if next.After(u.next) {
		u.next = next
	}
}

// isReuse reports whether PayU gave a known token back. The same token with another end than the known one (the local
// clock was set since) is no reuse: the life that PayU states now is the right one, also where it has stated none so
// far. Nor is one without a life: what is assumed of it begins anew.
func isReuse(known, given payu.Token, now time.Time) bool {
	if given.HasNoLife() || known.HasNoLife() && given.Life() > 0 {
		return false
	}
	moved := given.ExpiresAt.Sub(known.ExpiresAt).Abs() > sameEnd && given.Life() > 0
	inForce := known.ValidAt(now) && !known.FetchedAt.After(now) && !moved
	dying := given.ExpiresAt.Sub(now) <= payu.Floor
	return known.AccessToken != "" && known.AccessToken == given.AccessToken && (inForce || dying)
}
