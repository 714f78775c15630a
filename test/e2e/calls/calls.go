// Package calls is what a workload did with its token: the calls that it made, and what they add up to.
package calls

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

// Call is a call of a resource with the token that was in the file at that moment.
type Call struct {
	At      time.Time `json:"at"`     // before the file was read
	Token   string    `json:"token"`  // its Digest
	Status  int       `json:"status"` // 0 if there was no answer
	Problem string    `json:"problem,omitempty"`
}

// Worked reports whether the resource took the token.
func (c Call) Worked() bool { return c.Status == http.StatusOK }

// Digest names a token and gives nothing of it away.
func Digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:6])
}

// Summary is what some calls in a row add up to.
type Summary struct {
	Calls, Renewals, Refusals, Unanswered int
	// LongestGap is the longest time between two calls that worked.
	LongestGap time.Duration
}

// Summarize adds up. The first call tells only which token there was before, and since when it worked.
func Summarize(calls []Call) Summary {
	var s Summary
	if len(calls) == 0 {
		return s
	}
	before, worked := calls[0], calls[0].At
	for _, c := range calls[1:] {
		s.Calls++
		if c.Token != before.Token {
			s.Renewals++
		}
		s.LongestGap = max(s.LongestGap, c.At.Sub(worked))
		switch {
		case c.Worked():
			worked = c.At
		case c.Status == 0:
			s.Unanswered++
		default:
			s.Refusals++
		}
		before = c
	}
	return s
}

// Add adds what another workload did at the same time. Of renewals, the one that saw fewer counts.
func (s Summary) Add(other Summary) Summary {
	return Summary{
		Calls: s.Calls + other.Calls, Renewals: min(s.Renewals, other.Renewals), Refusals: s.Refusals + other.Refusals,
		Unanswered: s.Unanswered + other.Unanswered, LongestGap: max(s.LongestGap, other.LongestGap),
	}
}

// Renewal is the change from one token to the next, as a workload saw it.
type Renewal struct {
	Old, New string    // their Digests
	LastOld  time.Time // the last call that worked with the old one
	FirstNew time.Time // the first call that worked with the new one
}

// Renewals lists the changes of tokens that both worked at some time.
func Renewals(calls []Call) []Renewal {
	var list []Renewal
	var last Call // that worked
	for _, c := range calls {
		if !c.Worked() {
			continue
		}
		if last.Token != "" && c.Token != last.Token {
			list = append(list, Renewal{Old: last.Token, New: c.Token, LastOld: last.At, FirstNew: c.At})
		}
		last = c
	}
	return list
}
