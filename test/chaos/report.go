package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// mostLines is how many violations of a kind are shown.
const mostLines = 8

// report judges the run and prints what was done and found. It returns errViolated if a promise was broken.
func (c *chaos) report() error {
	r := c.record()
	search, proof, err := c.searchLeaks()
	if err != nil {
		return err
	}
	r.alarms = search.alarms
	found := slices.Concat(c.harms, search.leaks, r.violations())
	fmt.Println()
	fmt.Print(r.table())
	fmt.Println()
	fmt.Print(c.totals(r))
	fmt.Printf("%s\n\n", proof)
	fmt.Print(listed(found))
	if len(found) > 0 {
		return fmt.Errorf("%w: %d violations, seed %d", errViolated, len(found), c.seed)
	}
	return nil
}

func (c *chaos) record() record {
	r := record{
		subjects: c.population.subjects, sights: c.observer.sights, books: c.books,
		takeovers: c.observer.takeovers, phases: c.phases, end: c.over, pace: c.pace,
	}
	for _, replica := range c.replicas {
		_, exits := replica.count()
		r.exits = append(r.exits, exits...)
	}
	return r
}

// row is what came of one kind of disturbance.
type row struct {
	name     string
	times    int
	longest  time.Duration
	secrets  map[string]bool
	requests int
	well     time.Duration
}

func (r record) table() string {
	rows := map[string]*row{}
	var order []string
	of := func(name string) *row {
		if rows[name] == nil {
			rows[name] = &row{name: name, secrets: map[string]bool{}}
			order = append(order, name)
		}
		return rows[name]
	}
	for _, p := range r.phases {
		each := of(p.name)
		each.times++
		each.well = max(each.well, p.recovered.Sub(p.ended))
	}
	for _, q := range r.books.requests {
		of(r.phaseAt(q.ReceivedAt).name).requests++
	}
	for _, s := range r.subjects {
		for _, g := range r.gaps(s) {
			each := of(g.phase.name)
			each.longest = max(each.longest, g.length())
			each.secrets[s.String()] = true
		}
	}
	lines := []string{"disturbance\ttimes\tlongest without a live token\tSecrets concerned\trequests\tall well again after"}
	for _, name := range order {
		each := rows[name]
		lines = append(lines, fmt.Sprintf("%s\t%d\t%s\t%d\t%d\t%s", name, each.times, lab.Shown(each.longest), len(each.secrets), each.requests, lab.Shown(each.well)))
	}
	return aligned(lines)
}

func aligned(lines []string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	w.Flush()
	return b.String()
}

func (c *chaos) totals(r record) string {
	starts := 0
	for _, replica := range c.replicas {
		n, _ := replica.count()
		starts += n
	}
	outcomes := map[string]int{}
	for _, q := range c.books.requests {
		outcomes[q.Outcome]++
	}
	average, most := r.perLife()
	return aligned([]string{
		fmt.Sprintf("managers:\t%d killed, %d stopped and resumed, %d ended, %d starts in all, %d takeovers", c.kills, c.stops, c.ends, starts, len(r.takeovers)),
		fmt.Sprintf("API server and etcd:\t%d restarts", c.restarts),
		fmt.Sprintf("PayUTokens:\t%d of %d sources; tokens appeared in Secrets %d times, %d of them renewals", len(r.subjects), c.population.sources(),
			c.observer.written(), c.observer.written()-len(c.population.regular())),
		fmt.Sprintf("token requests:\t%d (%s)", len(c.books.requests), counted(outcomes)),
		fmt.Sprintf("per life of %s:\t%.2f requests of a source on average, %d tokens for it at most", lab.Shown(tokenLife), average, most),
		fmt.Sprintf("for all lives of %s:\t%s", lab.Shown(steadyLife), r.steadyRequests()),
	})
}

// perLife returns how many requests a source with tokens of seconds made in the life of a token, on average, and how many
// tokens it was given in one, at most.
func (r record) perLife() (average float64, most int) {
	sources, requests := 0, 0
	for _, from := range r.sources() {
		if !r.isSteady(from) && len(r.books.gifts[from]) > 0 {
			sources++
			most = max(most, densest(r.books.gifts[from]))
		}
	}
	for _, q := range r.books.requests {
		if !r.isSteady(source{q.ClientID, q.Scope}) {
			requests++
		}
	}
	lives := r.end.Sub(r.phases[0].began).Seconds() / tokenLife.Seconds()
	return float64(requests) / lives / float64(max(sources, 1)), most
}

// densest returns how many gifts there were within the life of one, at most.
func densest(gifts []gift) int {
	most := 0
	for n := range gifts {
		end := gifts[n].asked.Add(tokenLife)
		within, _ := slices.BinarySearchFunc(gifts[n:], end, func(g gift, end time.Time) int { return g.asked.Compare(end) })
		most = max(most, within)
	}
	return most
}

// steadyRequests says what the tokens of hours cost.
func (r record) steadyRequests() string {
	sources, requests := 0, 0
	for _, from := range r.sources() {
		if r.isSteady(from) {
			sources++
		}
	}
	for _, q := range r.books.requests {
		if r.isSteady(source{q.ClientID, q.Scope}) {
			requests++
		}
	}
	return fmt.Sprintf("%d requests for %d sources", requests, sources)
}

func counted(outcomes map[string]int) string {
	var parts []string
	for _, name := range sortedKeys(outcomes) {
		parts = append(parts, fmt.Sprintf("%d %s", outcomes[name], name))
	}
	return strings.Join(parts, ", ")
}

// searchLeaks searches the evidence, and proves the search on the Secrets that must hold what it looks for.
func (c *chaos) searchLeaks() (searched, string, error) {
	var l leaks
	for token, i := range c.books.issued {
		l.learn(fmt.Sprintf("a token of client %s for %q issued at %s", i.ClientID, i.Scopes, clock(i.IssuedAt)), token)
	}
	for n, secret := range c.population.secrets {
		l.learn(fmt.Sprintf("client secret %d", n), secret)
	}
	if err := c.evidence.close(); err != nil {
		return searched{}, "", err
	}
	s, err := l.searchFolder(c.evidence.dir)
	if err != nil {
		return s, "", err
	}
	found, want, err := c.proveSearch(&l)
	if err != nil {
		return s, "", err
	}
	if found < want {
		return s, "", fmt.Errorf("the search for leaks found %d values in the Secrets, not %d: it is broken", found, want)
	}
	return s, fmt.Sprintf("Searched %d files, %.0f MB, for %d tokens and %d client secrets, raw and base64: %d found. The same search found %d in the Secrets themselves.",
		s.files, float64(s.bytes)/1e6, len(c.books.issued), len(c.population.secrets), len(s.leaks), found), nil
}

// proveSearch searches the Secrets as the API server shows them. Each target holds a token, each credentials Secret a
// client secret.
func (c *chaos) proveSearch(l *leaks) (found, want int, err error) {
	ctx, cancel := lab.Within(context.Background(), patience, "the API server lists the Secrets")
	defer cancel()
	var list corev1.SecretList
	if err := c.client.List(ctx, &list); err != nil {
		return 0, 0, err
	}
	text, err := json.Marshal(list)
	if err != nil {
		return 0, 0, err
	}
	tokens := map[source]bool{}
	for _, s := range c.population.regular() {
		tokens[s.source()] = true
	}
	return len(l.search(text)), len(tokens) + len(c.population.clients), nil
}

func listed(found []violation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "violations: %d\n", len(found))
	shownOf := map[string]int{}
	for _, v := range found {
		if shownOf[v.promise]++; shownOf[v.promise] <= mostLines {
			fmt.Fprintf(&b, "  %s: %s\n", v.promise, v.evidence)
		}
	}
	for _, promise := range sortedKeys(shownOf) {
		if more := shownOf[promise] - mostLines; more > 0 {
			fmt.Fprintf(&b, "  %s: %d more\n", promise, more)
		}
	}
	return b.String()
}

// clock is the time of day in UTC, as it stands in the Secrets.
func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// masked shows the beginning of a token.
func masked(token string) string { return token[:min(6, len(token)/4)] + "..." }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
