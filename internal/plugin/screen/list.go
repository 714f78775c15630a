package screen

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

const (
	listBar  = 20
	lifetime = "LIFETIME" // the head over the bars
)

// Columns selects additional columns of a list.
type Columns struct {
	Namespace, Wide bool
	// Width is that of the screen, 0 if there is none: the bars give way, so that times are not cut off.
	Width int
}

// List shows PayUTokens in the given order, one per line.
func List(tokens []v1alpha1.PayUToken, now time.Time, columns Columns) Page {
	page := list(tokens, now, columns, listBar)
	over := page.width() - columns.Width
	switch {
	case columns.Width == 0 || over <= 0:
		return page
	case listBar-over >= len(lifetime):
		return list(tokens, now, columns, listBar-over)
	default:
		return list(tokens, now, columns, 0)
	}
}

// list shows PayUTokens with bars of so many characters, or with none.
func list(tokens []v1alpha1.PayUToken, now time.Time, columns Columns, cells int) Page {
	heads := []string{"NAME", "ENVIRONMENT", "READY", "REASON", lifetime, "EXPIRES", "RENEWAL"}
	if cells == 0 {
		heads = slices.DeleteFunc(heads, func(head string) bool { return head == lifetime })
	}
	if columns.Namespace {
		heads = append([]string{"NAMESPACE"}, heads...)
	}
	if columns.Wide {
		heads = append(heads, "SECRET", "SCOPES", "AGE", "MESSAGE")
	}
	rows := make([][]text, len(tokens))
	for i := range tokens {
		rows[i] = row(&tokens[i], now, columns, cells)
	}
	return table(heads, rows)
}

func row(t *v1alpha1.PayUToken, now time.Time, columns Columns, barCells int) []text {
	verdict := Judge(t, now)
	c := verdict.colour()
	expires := "-"
	if t.Status.ExpiresAt != nil {
		expires = when(t.Status.ExpiresAt.Time, now)
	}
	cells := []text{
		in(plain, t.Name),
		in(plain, string(t.Spec.Environment)),
		in(c, verdict.ready()),
		in(c, verdict.Reason),
	}
	if barCells > 0 {
		cells = append(cells, bar(t, now, c, barCells))
	}
	cells = append(cells, in(plain, expires), in(plain, renewal(t, now)))
	if columns.Namespace {
		cells = append([]text{in(plain, t.Namespace)}, cells...)
	}
	if columns.Wide {
		cells = append(cells, in(plain, t.TargetName()), in(plain, scopes(t, ",")),
			in(plain, duration.HumanDuration(now.Sub(t.CreationTimestamp.Time))), in(plain, verdict.Message))
	}
	return cells
}

// Live is a list for a screen with the given number of lines, which is redrawn again and again. Trouble, if not empty,
// says why the list is not up to date.
func Live(tokens []v1alpha1.PayUToken, now time.Time, columns Columns, trouble string, lines int) Page {
	var p Page
	p.add(in(faint, fmt.Sprintf("%s   %s", now.UTC().Format(time.TimeOnly+"Z"), summary(tokens, now))))
	if trouble != "" {
		p.add(in(red, "Not up to date: "+trouble))
	}
	p.lines = append(p.lines, List(tokens, now, columns).lines...)
	if more := len(p.lines) - lines; lines > 0 && more > 0 {
		p.lines = p.lines[:max(0, lines-1)]
		p.add(in(faint, fmt.Sprintf("… and %d more", more+1)))
	}
	return p
}

// summary counts the PayUTokens by health.
func summary(tokens []v1alpha1.PayUToken, now time.Time) string {
	words := [...]string{Failed: "failed", Down: "not ready", Silent: "not handled by the operator", Failing: "failing to renew",
		Waiting: "waiting", Suspended: "suspended", Well: "ready"}
	var counts [len(words)]int
	for i := range tokens {
		counts[Judge(&tokens[i], now).Health]++
	}
	parts := []string{}
	for health, count := range counts {
		if count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count, words[health]))
		}
	}
	if len(parts) == 0 {
		return "no PayUTokens"
	}
	return strings.Join(parts, ", ")
}

func scopes(t *v1alpha1.PayUToken, separator string) string {
	list := make([]string, len(t.Spec.Scopes))
	for i, s := range t.Spec.Scopes {
		list[i] = string(s)
	}
	return strings.Join(list, separator)
}
