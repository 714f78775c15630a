package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// earliestRenewal is how long after one token the next may be asked for: half of a life, less the fraction of a second
	// that the operator leaves off, and the way of the request.
	earliestRenewal = tokenLife/2 - 2*time.Second
	// watchLag is how long after a write its sight may come, while all works.
	watchLag = time.Second
	// rounding is how far a whole number of seconds may flatter a token's life.
	rounding = 500 * time.Millisecond
	// underWayTime is how soon the requests arrive that were under way when a leader was stopped, mostUnderWay how many.
	underWayTime = time.Second
	mostUnderWay = 5
	// mostReuses is how often PayU may be asked in one life, where it gives the same token again.
	mostReuses = 12
)

// calmName is what a time is called in which nothing is wrong.
const calmName = "calm"

// calmTimes is what is under way while nothing is.
var calmTimes = &phase{name: calmName}

// violation is a promise that was broken, and a line of evidence.
type violation struct{ promise, evidence string }

// record is all that is known of a run when it is over. What follows judges it: nothing here waits or asks.
type record struct {
	subjects  []subject
	sights    map[types.NamespacedName][]sight
	books     *books
	takeovers []takeover
	exits     []exit
	alarms    []alarm
	phases    []*phase
	end       time.Time
	// pace is how long a new leader takes to give every Secret a token.
	pace time.Duration
}

// toleranceAt is how much longer than its cause a delay may be: the operator serves one PayUToken after the other, and
// the machine has other work.
func toleranceAt(pace time.Duration) time.Duration { return 2*time.Second + 2*pace }

func (r record) violations() []violation {
	var all []violation
	for _, s := range r.subjects {
		switch {
		case s.conflict:
			all = append(all, r.judgeConflict(s)...)
		default:
			all = append(all, r.judgeSights(s)...)
			all = append(all, r.judgeGaps(s)...)
		}
	}
	for _, from := range r.sources() {
		all = append(all, r.judgeGifts(from)...)
		all = append(all, r.judgeRefusals(from)...)
	}
	return append(append(all, r.judgeExits()...), r.judgeAlarms()...)
}

// judgeSights looks at every version of a target Secret that held something else than the one before.
func (r record) judgeSights(s subject) []violation {
	var found []violation
	add := func(v sight, promise, format string, args ...any) {
		evidence := fmt.Sprintf("%s at %s (%s): ", s.NamespacedName, clock(v.at), r.phaseAt(v.at).name) + fmt.Sprintf(format, args...)
		found = append(found, violation{promise, evidence})
	}
	var former payutest.Issued
	for _, v := range r.sights[s.NamespacedName] {
		issued, known := r.books.issued[v.token]
		switch {
		case v.gone:
			add(v, "a target Secret was removed", "there is none")
		case v.flaw != "":
			add(v, "a target Secret was not whole", "%s", v.flaw)
		case !known:
			add(v, "a token was not PayU's", "token %s was never issued", masked(v.token))
		case issued.ClientID != s.client || payutest.ScopeSet(issued.Scopes) != payutest.ScopeSet(s.scopes):
			add(v, "a token was somebody else's", "token %s is of client %s for %q", masked(v.token), issued.ClientID, issued.Scopes)
		case deathOf(issued).Before(v.at.Add(-watchLag)) && !r.phaseAt(v.at).mayBeLate():
			add(v, "a token was dead when it was written", "token %s died at %s", masked(v.token), clock(deathOf(issued)))
		case v.expires.After(issued.ExpiresAt.Add(rounding)):
			add(v, "a Secret says that its token lives longer than it does", "%s instead of %s", clock(v.expires), clock(issued.ExpiresAt))
		case issued.IssuedAt.Before(former.IssuedAt):
			add(v, "a token was replaced by an older one", "token %s of %s by %s of %s", masked(former.Token), clock(former.IssuedAt), masked(v.token), clock(issued.IssuedAt))
		}
		if known {
			former = issued
		}
	}
	return found
}

// mayBeLate reports whether a token may be revoked on its way to its Secret: by another leader.
func (p *phase) mayBeLate() bool { return p.sudden && p.overlap }

// deathOf is when PayU stops to accept a token.
func deathOf(i payutest.Issued) time.Time {
	if !i.RevokedAt.IsZero() && i.RevokedAt.Before(i.ExpiresAt) {
		return i.RevokedAt
	}
	return i.ExpiresAt
}

// gap is a time in which a Secret held no live token.
type gap struct {
	subject  subject
	from, to time.Time
	phase    *phase
}

func (g gap) length() time.Duration { return g.to.Sub(g.from) }

// gaps returns when a target Secret held no live token since it first held one.
func (r record) gaps(s subject) []gap {
	var found []gap
	seen := r.sights[s.NamespacedName]
	for n, v := range seen {
		until := r.end
		if n+1 < len(seen) {
			until = seen[n+1].at
		}
		from := v.at
		if issued, known := r.books.issued[v.token]; known && deathOf(issued).After(from) {
			from = deathOf(issued)
		}
		switch last := len(found) - 1; {
		case !from.Before(until):
		case last >= 0 && !found[last].to.Before(from):
			found[last].to = until
		default:
			found = append(found, gap{s, from, until, r.phaseAt(from)})
		}
	}
	return found
}

func (r record) judgeGaps(s subject) []violation {
	var found []violation
	for _, g := range r.gaps(s) {
		if limit := r.limit(g); g.length() > limit {
			found = append(found, violation{"a Secret was without a live token for too long", fmt.Sprintf("%s for %s from %s (%s allows %s)",
				s.NamespacedName, lab.Shown(g.length()), clock(g.from), g.phase.name, lab.Shown(limit))})
		}
	}
	return found
}

// limit returns for how long a Secret may be without a live token: for as long as the operator may be unable to renew it,
// less what the token has left when it is due. Once there is a new leader, that one's work is all that it may wait for.
func (r record) limit(g gap) time.Duration {
	p, busy := g.phase, toleranceAt(r.pace)
	limit := p.outage - (tokenLife - g.subject.renewalAge())
	switch {
	case g.subject.steady, p.outage == 0 && !p.sudden:
		return 0
	case p.sudden:
		limit = p.outage
	}
	if leads, ok := r.takeoverIn(p); ok && p.electing {
		limit = min(limit, leads.Sub(g.from))
	}
	return max(0, limit) + busy
}

// takeoverIn returns when a manager last took over in a phase.
func (r record) takeoverIn(p *phase) (time.Time, bool) {
	for _, t := range slices.Backward(r.takeovers) {
		if r.phaseAt(t.at) == p {
			return t.at, true
		}
	}
	return time.Time{}, false
}

// judgeGifts looks at the requests of a source that were answered with a token.
func (r record) judgeGifts(from source) []violation {
	var found []violation
	gifts := r.books.gifts[from]
	if n := len(gifts); r.isSteady(from) && n != 1 {
		found = append(found, violation{"one request must do for a token of hours", fmt.Sprintf("client %s asked %d times", from.client, n)})
	}
	for n := 1; n < len(gifts); n++ {
		before, now := gifts[n-1], gifts[n]
		apart := now.asked.Sub(before.asked)
		if apart >= earliestRenewal || r.explained(from, before, now) || r.wasUnderWay(now) {
			continue
		}
		found = append(found, violation{"PayU was asked for a token too early", fmt.Sprintf("client %s for %q at %s (%s), %s after the one before, which %s",
			from.client, from.scopes, clock(now.asked), r.phaseAt(now.asked).describe(now.asked), lab.Shown(apart), r.whereabouts(from, before, now.asked))})
	}
	return found
}

// wasUnderWay reports whether a request may have been on its way to PayU when its leader was stopped: it arrives when that
// one goes on, after those of the new leader.
func (r record) wasUnderWay(now gift) bool {
	p := r.phaseAt(now.asked)
	if p.resumed.IsZero() || now.asked.Before(p.resumed) || now.asked.Sub(p.resumed) > underWayTime || p.underWay == mostUnderWay {
		return false
	}
	p.underWay++
	return true
}

// describe names the phase, and says how long a leader had been going on again.
func (p *phase) describe(at time.Time) string {
	if p.resumed.IsZero() || at.Before(p.resumed) {
		return p.name
	}
	return fmt.Sprintf("%s, resumed %s before", p.name, lab.Shown(at.Sub(p.resumed)))
}

// explained reports whether there was a reason to ask for another token so soon: the credentials changed, or the leader
// did and took the former token with it before all its Secrets held it.
func (r record) explained(from source, before, now gift) bool {
	for _, p := range r.phases {
		if p.rotated[from.client] && p.began.After(before.asked) && p.began.Before(now.asked) {
			return true
		}
	}
	if len(r.missing(from, before, now.asked)) == 0 {
		return false
	}
	return slices.ContainsFunc(r.takeovers, func(t takeover) bool {
		return t.at.After(before.asked) && t.at.Before(now.asked) && r.phaseAt(t.at).lossy
	})
}

// missing returns the Secrets of a source that did not hold its token at a moment.
func (r record) missing(from source, given gift, at time.Time) []types.NamespacedName {
	var names []types.NamespacedName
	for _, s := range r.subjects {
		if s.conflict || s.source() != from {
			continue
		}
		held := func(v sight) bool { return v.token == given.token && v.at.Before(at) }
		if !slices.ContainsFunc(r.sights[s.NamespacedName], held) {
			names = append(names, s.NamespacedName)
		}
	}
	return names
}

func (r record) whereabouts(from source, given gift, at time.Time) string {
	if names := r.missing(from, given, at); len(names) > 0 {
		return fmt.Sprintf("%d of its Secrets did not hold, though no process was lost between", len(names))
	}
	return "all its Secrets held"
}

// judgeRefusals looks at the requests of a source that were not answered with a new token.
func (r record) judgeRefusals(from source) []violation {
	refused := map[*phase]map[string]int{}
	var found []violation
	reused := 0
	for _, q := range r.books.requests {
		if q.ClientID != from.client || q.Scope != from.scopes {
			continue
		}
		switch q.Outcome {
		case payutest.OutcomeSuccess:
			reused = 0
		case payutest.OutcomeReused:
			if reused++; reused == mostReuses+1 {
				found = append(found, violation{"PayU was asked too often for a token that it reuses", fmt.Sprintf("client %s for %q, %d times before %s", from.client, from.scopes, reused, clock(q.ReceivedAt))})
			}
		default:
			p := r.phaseAt(q.ReceivedAt)
			if refused[p] == nil {
				refused[p] = map[string]int{}
			}
			refused[p][q.Outcome]++
		}
	}
	for p, outcomes := range refused {
		if n := sum(outcomes); n > p.refusals {
			found = append(found, violation{"more requests failed than the back-off allows", fmt.Sprintf("client %s for %q: %v while %s allows %d", from.client, from.scopes, outcomes, p.name, p.refusals)})
		}
	}
	return found
}

func sum(counts map[string]int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}

// judgeConflict sees that a PayUToken whose target is not its own cost nothing.
func (r record) judgeConflict(s subject) []violation {
	n := 0
	for _, q := range r.books.requests {
		if q.ClientID == s.client {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return []violation{{"a PayUToken in conflict cost requests", fmt.Sprintf("%s, %d", s.NamespacedName, n)}}
}

func (r record) judgeExits() []violation {
	var found []violation
	for _, e := range r.exits {
		if p := r.phaseAt(e.at); !p.exits {
			found = append(found, violation{"a manager ended by itself", fmt.Sprintf("%s at %s (%s): %s", e.manager, clock(e.at), p.name, e.how)})
		}
	}
	return found
}

// judgeAlarms looks at what the logs say. An API server that has just started does not know its RBAC yet.
func (r record) judgeAlarms() []violation {
	var found []violation
	for _, a := range r.alarms {
		if p := r.phaseAt(a.at); a.text != forbidden || !p.noAPI {
			found = append(found, violation{"a log sounds an alarm", fmt.Sprintf("%q in %s, line %d (%s)", a.text, a.file, a.line, p.name)})
		}
	}
	return found
}

// phaseAt returns what was under way at a moment.
func (r record) phaseAt(at time.Time) *phase {
	for _, p := range slices.Backward(r.phases) {
		if !at.Before(p.began) {
			if at.Before(p.recovered) {
				return p
			}
			break
		}
	}
	return calmTimes
}

func (r record) sources() []source {
	all := map[source]bool{}
	for _, s := range r.subjects {
		all[s.source()] = true
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b source) int {
		return cmp.Or(cmp.Compare(a.client, b.client), cmp.Compare(a.scopes, b.scopes))
	})
}

func (r record) isSteady(from source) bool {
	return slices.ContainsFunc(r.subjects, func(s subject) bool { return s.steady && s.source() == from })
}
