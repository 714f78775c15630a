package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/e2e/calls"
)

// row is what came of a scenario.
type row struct {
	name string
	calls.Summary
	lifeLeft time.Duration // that the old token had when the workload used the next one, at least; 0 if there is none
	mark     int           // where its calls begin
	notes    []string
	broken   []string // promises
	skipped  string   // why
}

// row sums up the calls of a workload since a mark.
func (s *shop) row(ctx context.Context, mark int) (row, error) {
	list := s.tape.since(mark)
	r := row{Summary: calls.Summarize(list), mark: mark}
	if !s.servedAlways() {
		return r, nil
	}
	issued, err := s.issued(ctx)
	for _, each := range calls.Renewals(list) {
		r.lifeLeft = shorter(r.lifeLeft, issued[each.Old].ExpiresAt.Sub(each.FirstNew))
	}
	return r, err
}

// shorter is the shorter one of two, of which the first may be 0 for none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// served judges a workload that is never to be refused.
func (r row) served() row {
	if r.Refusals > 0 {
		r.broken = append(r.broken, fmt.Sprintf("%d calls were refused", r.Refusals))
	}
	if r.Unanswered > 0 {
		r.broken = append(r.broken, fmt.Sprintf("%d calls had no token file or no answer, which proves nothing", r.Unanswered))
	}
	if r.Renewals < renewals {
		r.broken = append(r.broken, fmt.Sprintf("%d renewals were seen: %d are needed", r.Renewals, renewals))
	}
	return r
}

// inOrder is the rows in the order of the scenarios, which end as they like.
func (p *proof) inOrder() []row {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return slices.SortedStableFunc(slices.Values(p.rows), func(a, b row) int {
		return cmp.Compare(place(names, a.name), place(names, b.name))
	})
}

// place is that of a name in a list, the end if it is not there.
func place(names []string, name string) int {
	if n := slices.Index(names, name); n >= 0 {
		return n
	}
	return len(names)
}

// shown shows of a duration what a reader cares about.
func shown(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// report prints the table and all that was broken.
func (p *proof) report(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprint(w, "\nscenario\trenewals seen\tcalls made\trefusals\tlongest gap\told token's life left\n")
	broken := 0
	for _, r := range p.inOrder() {
		switch {
		case r.skipped != "":
			fmt.Fprintf(w, "%s\tskipped: %s\n", r.name, r.skipped)
		case r.Calls > 0:
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\n", r.name, r.Renewals, r.Calls, r.Refusals, shown(r.LongestGap), shown(r.lifeLeft))
		}
		broken += len(r.broken)
	}
	w.Flush()
	fmt.Fprintln(out)
	for _, r := range p.inOrder() {
		if len(r.notes) > 0 {
			fmt.Fprintf(out, "%s: %s\n", r.name, strings.Join(r.notes, "; "))
		}
	}
	fmt.Fprintf(out, "\npromises broken: %d\n", broken)
	for _, r := range p.inOrder() {
		for _, each := range r.broken {
			fmt.Fprintf(out, "  %s: %s\n", r.name, each)
		}
	}
	if broken > 0 {
		return fmt.Errorf("%w: %d in all", errBroken, broken)
	}
	return nil
}
