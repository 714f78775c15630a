package screen

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// bar draws a token's lifetime: what has passed, what is left, and when the renewal is.
func bar(t *v1alpha1.PayUToken, now time.Time, c colour, cells int) text {
	if t.Status.FetchedAt == nil || t.Status.ExpiresAt == nil {
		return in(faint, strings.Repeat("·", cells))
	}
	gone, mark := cellOf(t, now, cells), -1
	if t.Status.RenewAt != nil {
		mark = cellOf(t, t.Status.RenewAt.Time, cells)
	}
	var line text
	for i := range cells {
		s := span{"░", faint}
		switch {
		case i == mark:
			s = span{"│", bold}
		case i < gone:
			s = span{"█", c}
		}
		line = line.joined(s)
	}
	return line
}

// joined appends a span, and merges it with the last one if both have the same colour.
func (t text) joined(s span) text {
	if last := len(t) - 1; last >= 0 && t[last].colour == s.colour {
		t[last].text += s.text
		return t
	}
	return append(t, s)
}

// cellOf returns how many of the cells lie before a moment: all of them only once the token has expired.
func cellOf(t *v1alpha1.PayUToken, at time.Time, cells int) int {
	return min(max(int(goneAt(t, at)*float64(cells)), 0), cells)
}

// goneAt is the part of the lifetime that has passed at a moment.
func goneAt(t *v1alpha1.PayUToken, at time.Time) float64 {
	life := t.Status.ExpiresAt.Sub(t.Status.FetchedAt.Time)
	if life <= 0 {
		return 1
	}
	return float64(at.Sub(t.Status.FetchedAt.Time)) / float64(life)
}

// when says how far away a moment is: "in 27m" or "53m ago".
func when(at, now time.Time) string {
	switch away := at.Sub(now); {
	case away >= time.Second:
		return "in " + duration.HumanDuration(away)
	case away > 0:
		return "now"
	default:
		return ago(at, now)
	}
}

func ago(at, now time.Time) string { return duration.HumanDuration(now.Sub(at)) + " ago" }

// renewal says when the next request to PayU is due.
func renewal(t *v1alpha1.PayUToken, now time.Time) string {
	at := due(t)
	switch {
	case t.Spec.Suspend:
		return "suspended"
	case at.Equal(never):
		return "-"
	case now.Before(at):
		return when(at, now)
	case now.Sub(at) <= patience:
		return "now"
	default:
		return fmt.Sprintf("%s late", duration.HumanDuration(now.Sub(at)))
	}
}
