package grant

import (
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// Wish is a refresh that a user asked for with an annotation.
type Wish struct {
	// Value is that of the annotation, empty if there is none.
	Value string
	// Handled says that the status echoes the value.
	Handled bool
	// First says that the PayUToken has no status yet (it is new, copied or restored): the first token that it gets
	// fulfils the wish.
	First bool
}

// wish is what became of a member's Wish.
type wish struct {
	value string
	// after is the number of requests that were sent when the wish was seen: a later one fulfils it.
	after int
	first bool
	// found says that it was there at the first look at the member.
	found     bool
	fulfilled bool
}

// take notes a member's wish. One that was found at the first look, and is older than the live token, was fulfilled by a
// former process: that token may be in the Secret of another member, which is looked at later.
func (m *member) take(w Wish, token payu.Token, now time.Time) {
	if w.Value != m.wish.value {
		m.wish = wish{value: w.Value, after: m.source.begun, first: w.First, found: !m.looked, fulfilled: w.Handled}
	}
	m.looked = true
	if w.Value == "" || m.wish.fulfilled || !token.MayLiveAt(now) {
		return
	}
	at, err := time.Parse(time.RFC3339, w.Value)
	m.wish.fulfilled = m.wish.first || m.wish.found && err == nil && at.Before(token.FetchedAt)
}

// pending reports whether no request has ended yet that was sent after the wish was seen.
func (w wish) pending(s *source) bool {
	return w.value != "" && !w.fulfilled && s.ended <= w.after
}

// moved returns the wish of a member that has changed its source. One that was served stays so.
func (w wish) moved(from, to *source) wish {
	w.fulfilled = !w.pending(from)
	w.after = to.begun
	return w
}
