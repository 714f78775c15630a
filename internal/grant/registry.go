// Package grant holds the one token that all PayUTokens of a source share (a source is an environment, a client and a
// set of scopes), and is the only place that has PayU asked: one request at a time for each source, never two within
// payu.Floor, none while PayU has told the client to wait, and none before a new process has seen what the old one left.
//
// A member is a PayUToken. It joins with what its Secret and its status say (a Seed); whoever joins is told the State
// of the source. Nothing here waits: Ask begins a request, and Changed names the members to reconcile once it has ended.
package grant

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// Member is a PayUToken.
type Member = types.NamespacedName

// startPatience bounds the wait of a new process for all PayUTokens to join. A PayUToken that joins later may hold the
// live token of a source, and a request would kill that one where PayU revokes the previous token.
const startPatience = 20 * time.Second

// Registry holds the sources and their members, under one lock. All exported fields are required.
type Registry struct {
	// Request makes one token request. Its errors are of type *payu.Error.
	Request func(context.Context, payu.Source) (payu.Token, error)
	// Now is the clock. Waits are measured by its monotonic reading, if it has one.
	Now func() time.Time
	// Random draws from [0, 1) for the jitter of the back-off.
	Random func() float64
	// MayAsk reports whether this process may make requests: not while another one may be the leader. Requests wait
	// until it may.
	MayAsk func() bool
	// Changed is called with the members of a source whose token or problem has changed.
	Changed func([]Member)
	// Measure is called after each request, for metrics.
	Measure func(environment string, took time.Duration, reused bool, err *payu.Error)

	mu      sync.Mutex
	members map[Member]*member
	sources map[payu.Digest]*source // by payu.Key.Source
	holds   map[payu.Digest]hold    // by payu.Key.Client
	orphans []payu.Digest           // sources without members, kept until their floor has passed
	start   start
	slots   map[string]chan struct{}
	stopped bool
	running sync.WaitGroup
}

// member is one PayUToken of a source.
type member struct {
	source *source
	// seen is the number of requests whose outcome the member has dealt with.
	seen int
	wish wish
	// looked is true once its wish was looked for.
	looked bool
	// usableUntil is the end of the token that its Secret holds, as far as the member knows; zero if it holds none.
	usableUntil time.Time
}

// source is what one token is made from, and what is known of the requests for it.
type source struct {
	key         payu.Key
	members     map[Member]*member
	token       payu.Token // the latest that is known, perhaps expired by now
	reused      bool
	err         *payu.Error
	failures    int
	formerly    int // failures in a row of former processes, if the last was a short while ago
	nextAttempt time.Time
	inFlight    bool
	begun       int // requests that were sent
	ended       int // requests that have ended
	lastAsked   time.Time
	life        life
	unstated    unstated
}

// hold is a client's wait, as PayU asked for.
type hold struct {
	until time.Time
	err   *payu.Error
}

// Seed is what a member's Secret and status say of the source.
type Seed struct {
	// Token was made from this source, as the seal of the member's Secret proves; zero if there is none.
	Token payu.Token
	// Err is why the last request of a former process failed, nil if it did not; Reused says that it gave the same
	// token again. Failures and NextAttempt are those of the member's status.
	Err         *payu.Error
	Reused      bool
	Failures    int
	NextAttempt time.Time
	// Unstated counts the answers in a row, of a former process, that gave a token without a life, and UnstatedNext is when
	// PayU was to be asked again.
	Unstated     int
	UnstatedNext time.Time
	// UsableUntil is the end of the token that the member's Secret holds, as far as the member knows, made from this source or under
	// another template; zero if it holds none.
	UsableUntil time.Time
	// Incomplete says that a Secret of the member could not be read: a new process waits for the member to join again.
	Incomplete bool
}

// Join makes a PayUToken a member of the source of a key, and of no other, and returns the State. w is what its user
// wishes for.
func (r *Registry) Join(m Member, key payu.Key, seed Seed, w Wish) State {
	r.mu.Lock()
	s := r.joined(m, key)
	now := r.Now()
	var outdated []Member
	if !seed.Incomplete {
		outdated = r.observed(m)
	}
	hasStated := seed.Token.LifeUnstated && !s.token.LifeUnstated && seed.Token.AccessToken == s.token.AccessToken
	if seed.Token.Supersedes(s.token, now) && !hasStated {
		s.token, s.life = seed.Token, life{endsAfter: seed.Token.ExpiresAt, requests: 1}
		outdated = append(outdated, s.others(m)...)
	}
	r.restore(s, seed, now)
	if !seed.Incomplete || seed.UsableUntil.After(s.members[m].usableUntil) {
		s.members[m].usableUntil = seed.UsableUntil
	}
	s.members[m].take(w, s.token, now)
	state := r.state(s.members[m], now)
	r.mu.Unlock()
	r.tell(outdated)
	return state
}

// joined returns the source, of which the PayUToken is a member then.
func (r *Registry) joined(m Member, key payu.Key) *source {
	r.sweep()
	known := r.members[m]
	if known != nil && known.source.key == key {
		return known.source
	}
	r.leave(m)
	if r.sources == nil {
		r.sources, r.members = map[payu.Digest]*source{}, map[Member]*member{}
	}
	s := r.sources[key.Source]
	if s == nil {
		s = &source{key: key, members: map[Member]*member{}}
		r.sources[key.Source] = s
	}
	joins := &member{source: s, seen: s.ended}
	if known != nil {
		joins.wish, joins.looked = known.wish.moved(known.source, s), true
	}
	r.members[m], s.members[m] = joins, joins
	return s
}

// restore takes up what a former process noted of the requests, unless this one knows more: of all seeds the latest
// attempt, and the longest wait of the client.
func (r *Registry) restore(s *source, seed Seed, now time.Time) {
	if s.ended > 0 || s.inFlight {
		return
	}
	s.unstated.restore(seed, now)
	if seed.Err != nil && now.Sub(seed.NextAttempt) < payu.LongestBackOff {
		s.formerly = max(s.formerly, seed.Failures)
	}
	if !seed.NextAttempt.After(now) {
		return
	}
	if seed.Err != nil && seed.Err.Reason == payu.RateLimited {
		s.life.limited = true
		r.hold(s.key, seed.NextAttempt, seed.Err, now)
	}
	if seed.NextAttempt.After(s.nextAttempt) {
		s.err, s.reused, s.failures, s.nextAttempt = seed.Err, seed.Reused, seed.Failures, seed.NextAttempt
	}
}

// Leave ends a PayUToken's membership: it is gone.
func (r *Registry) Leave(m Member) {
	r.mu.Lock()
	r.leave(m)
	r.mu.Unlock()
	r.Observed(m)
}

func (r *Registry) leave(m Member) {
	known := r.members[m]
	if known == nil {
		return
	}
	delete(r.members, m)
	delete(known.source.members, m)
	if len(known.source.members) == 0 {
		r.orphans = append(r.orphans, known.source.key.Source)
	}
}

// sweep drops the sources that nobody has any more, once their floor has passed.
func (r *Registry) sweep() {
	if len(r.orphans) == 0 {
		return
	}
	now := r.Now()
	r.orphans = slices.DeleteFunc(r.orphans, func(key payu.Digest) bool {
		s := r.sources[key]
		switch {
		case s == nil || len(s.members) > 0:
			return true
		case s.inFlight || now.Sub(s.lastAsked) < payu.Floor: // quick requests or not
			return false
		}
		delete(r.sources, key)
		return true
	})
}

// Settle notes that a member has dealt with the outcomes of the first `ended` requests.
func (r *Registry) Settle(m Member, ended int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.members[m]; known != nil {
		known.seen = ended
	}
}

// Excuse notes that a member can deal with no outcome until somebody acts.
func (r *Registry) Excuse(m Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.members[m]; known != nil {
		known.seen = known.source.ended
	}
}

// IsSettled reports whether a member, if it still is one, has dealt with the outcome of the last request.
func (r *Registry) IsSettled(m Member) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.members[m]
	return known == nil || known.isSettled()
}

func (m *member) isSettled() bool { return m.seen == m.source.ended }

// Unsettled returns the members that have not dealt with the outcome of the last request yet.
func (r *Registry) Unsettled() (members []Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, m := range r.members {
		if !m.isSettled() {
			members = append(members, name)
		}
	}
	return members
}
