package controller

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// memory is what the operator remembers of one PayUToken between passes. It saves requests and bridges stale
// caches; a restart that loses it finds the truth in the Secret and in the status. One pass holds it at a time.
type memory struct {
	sync.Mutex
	uid types.UID

	blueprint blueprint

	// origin is the source made from the credentials that were last read, and key its key; inputs and version tell for
	// which spec and which credentials they hold.
	origin  payu.Source
	key     payu.Key
	inputs  payu.Digest
	version version

	// token is the last token that was to be written, or was found whole, and source what it was made from (Key.Source).
	token  payu.Token
	source payu.Digest
	// landed is the AccessToken whose write was last accepted, or that was found whole.
	landed string

	// tried is what stood in the PayUToken at the last attempt. That attempt has ended when the Progress of
	// attemptSource counts attempt Attempts.
	tried         provocation
	attempt       int
	attemptSource payu.Digest

	// refusal is why the API server refused the last write of the target, nil if it did not; writeFailures counts
	// the refusals in a row, nextWrite is when to try again.
	refusal       *problem
	writeFailures int
	nextWrite     time.Time
	// wanted is the attempt that will give what a trial was for that was refused, by whichever PayUToken of the source it is
	// made; 0 if there is none.
	wanted int

	// written is a digest of the last write's seal, repairs are the moments at which the same was written once more.
	written payu.Digest
	repairs []time.Time
	// unannounced is true from a write of the target until it was told of.
	unannounced bool

	// statusVersion is the resourceVersion that the last own write of the status gave: a cache that is older has not seen it
	// yet. secretWrite is the last own write of a target, nil before the first; event handlers look at it, too, and hold
	// nothing. staleSince is when a pass first found a cache stale.
	statusVersion string
	secretWrite   atomic.Pointer[ownWrite]
	staleSince    time.Time
}

// ownWrite is a write of a target Secret, with the resourceVersion that it gave. seen is true once the cache has it.
type ownWrite struct {
	name, version string
	seen          atomic.Bool
}

// isSeen reports whether the cache has seen the write; false if there was none.
func (w *ownWrite) isSeen() bool { return w != nil && w.seen.Load() }

// see notes that the cache has seen the write, if there was one.
func (w *ownWrite) see() {
	if w != nil {
		w.seen.Store(true)
	}
}

// isAheadOf reports whether the cache, which held a Secret of a name or none, had not seen the write. seen is what isSeen said
// before the cache was read: a Secret that was seen, and is not there, was deleted.
func (w *ownWrite) isAheadOf(name string, cached *corev1.Secret, seen bool) bool {
	switch {
	case w == nil || w.name != name:
		return false
	case cached == nil:
		return !seen
	default:
		return isOlder(cached.ResourceVersion, w.version)
	}
}

// provocation is what a user changes to have the operator try again at once.
type provocation struct {
	generation int64
	refresh    string
}

func provocationOf(token *v1alpha1.PayUToken) provocation {
	return provocation{generation: token.Generation, refresh: token.RefreshRequest()}
}

// triedBefore returns what a former process has noted of its last attempt. A new PayUToken is no provocation: where
// PayU refuses others with the same source, it waits with them.
func triedBefore(token *v1alpha1.PayUToken) provocation {
	p := provocation{generation: token.Status.ObservedGeneration, refresh: token.Status.LastHandledRefreshAt}
	if p.generation < 1 {
		p.generation = token.Generation
	}
	return p
}

// knows reports whether the remembered key is that of the present spec and credentials.
func (m *memory) knows(v version) bool {
	return m.key != payu.Key{} && m.version == v && m.inputs == m.blueprint.inputs
}

// memories holds what is known of every PayUToken, and which PayUTokens share a source.
type memories struct {
	mu      sync.Mutex
	members map[types.NamespacedName]*member
	sharers map[payu.Digest]*sharers // by Key.Source
	// accepted is when the API server last accepted a new target, by kindOf.
	accepted map[payu.Digest]time.Time
	// trials are the trial writes of new targets that are under way, by kindOf: each channel is closed at the end.
	trials map[payu.Digest]chan struct{}
}

// member is one PayUToken among all.
type member struct {
	name   types.NamespacedName
	memory *memory
	// source is the Key.Source that it shares with others, zero if it is not known. fetchedAt is when the token was fetched
	// that its target holds, zero if it holds none.
	source    payu.Digest
	fetchedAt time.Time
	// wakeAt is when its next pass is due, zero before the first.
	wakeAt time.Time
	// woken counts how often its token has changed since a pass that has done its work began.
	woken int
}

// sharers are the PayUTokens that share a source.
type sharers struct {
	members []*member
	latest  time.Time // the latest fetchedAt
}

// hold notes when the token of a member's target was fetched.
func (s *sharers) hold(m *member, fetchedAt time.Time) {
	former := m.fetchedAt
	m.fetchedAt = fetchedAt
	switch {
	case fetchedAt.After(s.latest):
		s.latest = fetchedAt
	case former.Equal(s.latest) && fetchedAt.Before(former):
		s.latest = time.Time{}
		for _, each := range s.members {
			if each.fetchedAt.After(s.latest) {
				s.latest = each.fetchedAt
			}
		}
	}
}

func newMemories() *memories {
	return &memories{members: map[types.NamespacedName]*member{}, sharers: map[payu.Digest]*sharers{}, accepted: map[payu.Digest]time.Time{}, trials: map[payu.Digest]chan struct{}{}}
}

// of returns the memory of a PayUToken, fresh if there is none yet of its UID.
func (all *memories) of(token *v1alpha1.PayUToken) *memory {
	all.mu.Lock()
	defer all.mu.Unlock()
	name := client.ObjectKeyFromObject(token)
	m := all.members[name]
	if m == nil {
		m = &member{name: name}
		all.members[name] = m
	}
	if m.memory == nil || m.memory.uid != token.UID {
		m.memory = &memory{uid: token.UID, tried: triedBefore(token)}
	}
	return m.memory
}

// share notes the source of a PayUToken (zero: none), and returns the one that nobody has any more because of it.
func (all *memories) share(name types.NamespacedName, source payu.Digest) (orphan payu.Digest) {
	all.mu.Lock()
	defer all.mu.Unlock()
	m := all.members[name]
	if m == nil || m.source == source {
		return payu.Digest{}
	}
	orphan = all.leave(m)
	if source.IsZero() {
		return orphan
	}
	m.source = source
	if all.sharers[source] == nil {
		all.sharers[source] = &sharers{}
	}
	all.sharers[source].members = append(all.sharers[source].members, m)
	return orphan
}

// leave has a member share no source, and returns the one that nobody has any more because of it.
func (all *memories) leave(m *member) (orphan payu.Digest) {
	source := m.source
	s := all.sharers[source]
	if s == nil {
		return payu.Digest{}
	}
	s.hold(m, time.Time{})
	s.members = slices.DeleteFunc(s.members, func(other *member) bool { return other == m })
	m.source = payu.Digest{}
	if len(s.members) > 0 {
		return payu.Digest{}
	}
	delete(all.sharers, source)
	return source
}

// hold notes when the token was fetched that a target holds, and returns the latest such time among all that share the
// source. If that is this one's, new, and later than known, it returns those whose targets hold an older token, too.
func (all *memories) hold(name types.NamespacedName, fetchedAt, known time.Time) (latest time.Time, behind []types.NamespacedName) {
	all.mu.Lock()
	defer all.mu.Unlock()
	m := all.members[name]
	if m == nil || m.source.IsZero() {
		return fetchedAt, nil
	}
	s := all.sharers[m.source]
	former := s.latest
	s.hold(m, fetchedAt)
	if s.latest.After(former) && s.latest.After(known) {
		for _, other := range s.members {
			if !other.fetchedAt.IsZero() && other.fetchedAt.Before(s.latest) {
				behind = append(behind, other.name)
			}
		}
	}
	return s.latest, behind
}

// forget drops a PayUToken that is gone, and returns the source that nobody has any more because of it.
func (all *memories) forget(name types.NamespacedName) (orphan payu.Digest) {
	all.mu.Lock()
	defer all.mu.Unlock()
	m := all.members[name]
	if m == nil {
		return payu.Digest{}
	}
	delete(all.members, name)
	return all.leave(m)
}

// seeOwnWrite reports whether a Secret is as the last write for a PayUToken left it, and notes that the cache has seen that.
func (all *memories) seeOwnWrite(name types.NamespacedName, secret client.Object) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	m := all.members[name]
	if m == nil {
		return false
	}
	w := m.memory.secretWrite.Load()
	if w == nil || w.name != secret.GetName() || w.version != secret.GetResourceVersion() {
		return false
	}
	w.see()
	return true
}

// wake returns the PayUTokens that share a source, and notes that they are to be looked at.
func (all *memories) wake(source payu.Digest) (names []types.NamespacedName) {
	all.mu.Lock()
	defer all.mu.Unlock()
	s := all.sharers[source]
	if s == nil {
		return nil
	}
	for _, m := range s.members {
		m.woken++
		names = append(names, m.name)
	}
	return names
}

// waiting returns the PayUTokens that were woken and not looked at since.
func (all *memories) waiting() (names []types.NamespacedName) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for name, m := range all.members {
		if m.woken > 0 {
			names = append(names, name)
		}
	}
	return names
}

// accept notes whether the API server has accepted a new target of a kind.
func (all *memories) accept(kind payu.Digest, at time.Time, accepted bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if !accepted {
		delete(all.accepted, kind)
		return
	}
	if _, known := all.accepted[kind]; !known {
		maps.DeleteFunc(all.accepted, func(_ payu.Digest, last time.Time) bool { return !isFresh(last, at) })
	}
	all.accepted[kind] = at
}

// accepts reports whether the API server has just accepted a new target of a kind.
func (all *memories) accepts(kind payu.Digest, now time.Time) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	last, known := all.accepted[kind]
	return known && isFresh(last, now)
}

// beginTrial notes that a new target of a kind is being tried, until end is called; or, if one is already, returns what is
// closed at its end.
func (all *memories) beginTrial(kind payu.Digest) (end func(), other <-chan struct{}) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if running, ok := all.trials[kind]; ok {
		return nil, running
	}
	trial := make(chan struct{})
	all.trials[kind] = trial
	return func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		delete(all.trials, kind)
		close(trial)
	}, nil
}

// trialHolds is for how long one accepted target speaks for others of its kind. In a burst of new PayUTokens a trial
// write for each is a tenth of all the work (docs/performance.md).
const trialHolds = time.Second

func isFresh(last, now time.Time) bool {
	age := now.Sub(last)
	return age >= 0 && age < trialHolds
}

// wakes returns how often a PayUToken was woken that was not looked at since.
func (all *memories) wakes(name types.NamespacedName) int {
	all.mu.Lock()
	defer all.mu.Unlock()
	if m := all.members[name]; m != nil {
		return m.woken
	}
	return 0
}

// expect notes when the next pass of a PayUToken is due, and whether this one has done the work of all the wakes that
// there were when it began.
func (all *memories) expect(name types.NamespacedName, at time.Time, wakes int, finished bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	m := all.members[name]
	if m == nil {
		return
	}
	m.wakeAt = at
	if finished && m.woken == wakes {
		m.woken = 0
	}
}

// overdue returns how long the pass that is most overdue has been due, 0 if none is.
func (all *memories) overdue(now time.Time) time.Duration {
	all.mu.Lock()
	defer all.mu.Unlock()
	var most time.Duration
	for _, m := range all.members {
		if !m.wakeAt.IsZero() {
			most = max(most, now.Sub(m.wakeAt))
		}
	}
	return most
}
