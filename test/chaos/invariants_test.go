package main

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// noon is when the stories of these tests begin.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// story is a record in the making, of one PayUToken unless a test adds others.
type story struct{ record }

func newStory() *story {
	name := types.NamespacedName{Namespace: "team", Name: "token"}
	return &story{record{
		subjects: []subject{{NamespacedName: name, client: "shop", scopes: []string{"read_payment_links"}}},
		sights:   map[types.NamespacedName][]sight{}, books: newBooks(), end: at(60),
	}}
}

// issue has PayU give a token at a moment.
func (s *story) issue(token string, seconds float64) {
	from := s.subjects[0].source()
	asked := payutest.Request{ClientID: from.client, Scope: from.scopes, ReceivedAt: at(seconds), Outcome: payutest.OutcomeSuccess}
	s.books.add([]payutest.Request{asked}, []payutest.Issued{{
		Token: token, ClientID: from.client, Scopes: s.subjects[0].scopes, IssuedAt: at(seconds), ExpiresAt: at(seconds).Add(tokenLife),
	}})
}

// write has a token appear in the Secret.
func (s *story) write(token string, seconds float64) {
	name := s.subjects[0].NamespacedName
	s.sights[name] = append(s.sights[name], sight{at: at(seconds), token: token, expires: s.books.issued[token].ExpiresAt})
}

// give does both.
func (s *story) give(token string, seconds float64) {
	s.issue(token, seconds)
	s.write(token, seconds+0.1)
}

func (s *story) phase(p phase, from, to float64) *phase {
	p.began, p.ended, p.recovered = at(from), at(to), at(to)
	s.phases = append(s.phases, &p)
	return &p
}

// expect compares the promises that were broken with those that are named by a part of them.
func (s *story) expect(t *testing.T, wants ...string) {
	t.Helper()
	found := s.violations()
	for n, v := range found {
		if n >= len(wants) || !strings.Contains(v.promise+": "+v.evidence, wants[n]) {
			t.Errorf("violation %d is %v", n+1, v)
		}
	}
	if len(found) < len(wants) {
		t.Errorf("%d violations, want %d: %q", len(found), len(wants), wants)
	}
}

func TestAQuietRunBreaksNoPromise(t *testing.T) {
	s := newStory()
	for n, token := range []string{"a", "b", "c", "d"} {
		s.give(token, float64(16*n))
	}
	s.expect(t)
}

func TestSightsAreJudged(t *testing.T) {
	tests := map[string]struct {
		tell func(*story)
		want string
	}{
		"a token that PayU never issued":        {func(s *story) { s.write("forged", 16) }, "not PayU's"},
		"an older token instead of a later one": {func(s *story) { s.issue("b", 16); s.give("c", 32); s.write("b", 33) }, "older"},
		"a Secret that is not whole": {func(s *story) {
			name := s.subjects[0].NamespacedName
			s.sights[name] = append(s.sights[name], sight{at: at(16), flaw: "its access_token is empty"})
			s.give("b", 16.2)
		}, "empty"},
		"a Secret that was removed": {func(s *story) {
			name := s.subjects[0].NamespacedName
			s.sights[name] = append(s.sights[name], sight{at: at(16), gone: true})
			s.give("b", 16.2)
		}, "removed"},
		"a token with another client's name": {func(s *story) {
			s.books.issued["b"] = payutest.Issued{Token: "b", ClientID: "other", IssuedAt: at(16), ExpiresAt: at(40)}
			s.write("b", 16)
		}, "somebody else's"},
		"an expires_at that flatters the token": {func(s *story) {
			s.give("b", 16)
			s.sights[s.subjects[0].NamespacedName][1].expires = at(42)
		}, "lives longer"},
		"a token that died on its way": {func(s *story) { s.issue("b", 16); s.write("b", 42) }, "dead when it was written"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			s.give("a", 0)
			test.tell(s)
			for _, v := range s.judgeSights(s.subjects[0]) {
				if strings.Contains(v.promise+v.evidence, test.want) {
					return
				}
			}
			t.Errorf("no violation with %q in it", test.want)
		})
	}
}

func TestATimeWithoutALiveTokenIsMeasured(t *testing.T) {
	s := newStory()
	s.give("a", 0) // dies at 24
	s.give("b", 30)
	s.give("c", 46)
	gaps := s.gaps(s.subjects[0])
	if len(gaps) != 1 || gaps[0].from != at(24) || gaps[0].to != at(30.1) {
		t.Errorf("gaps %v, want one from 24 s to 30.1 s", gaps)
	}
	s.expect(t, "6.1 s")
}

func TestARevokedTokenIsDead(t *testing.T) {
	s := newStory()
	s.give("a", 0)
	revoked := s.books.issued["a"]
	revoked.RevokedAt = at(16)
	s.books.issued["a"] = revoked
	s.give("b", 16)
	s.end = at(20)
	if gaps := s.gaps(s.subjects[0]); len(gaps) != 1 || gaps[0].length() != 100*time.Millisecond {
		t.Errorf("gaps %v, want one of 100 ms", gaps)
	}
}

func TestADisturbanceExplainsAGap(t *testing.T) {
	s := newStory()
	s.give("a", 0)
	s.give("b", 30)
	s.end = at(50)
	p := s.phase(phase{name: "leader killed", outage: failover}, 14, 31)
	s.expect(t)
	p.outage = 10 * time.Second // two of them more than the token had left when it was due, and 2 s of tolerance
	s.expect(t, "leader killed allows 4.1 s")
	p.sudden = true
	s.expect(t)
	s.subjects[0].steady = true
	s.expect(t, "leader killed allows 0", "one request must do")
}

func TestANewLeaderEndsTheGap(t *testing.T) {
	s := newStory()
	s.give("a", 0)
	s.give("b", 30)
	s.end = at(50)
	s.phase(phase{name: "leader killed", outage: failover, electing: true}, 14, 31)
	s.takeovers = []takeover{{at: at(25)}}
	s.expect(t, "leader killed allows 3.0 s")
	s.takeovers[0].at = at(29)
	s.expect(t)
}

func TestARequestMustNotComeTooEarly(t *testing.T) {
	s := newStory()
	s.give("a", 0)
	s.issue("b", 10) // 12 s is half of a life
	s.give("c", 12)
	s.end = at(20)
	s.expect(t, "2.0 s after the one before, which 1 of its Secrets did not hold")
	s.phase(phase{name: "leader killed", lossy: true, outage: failover}, 9, 13)
	s.takeovers = []takeover{{at: at(11)}}
	s.expect(t)
	s.write("b", 10.1)
	s.sights[s.subjects[0].NamespacedName] = s.sights[s.subjects[0].NamespacedName][1:] // c came after b
	s.expect(t, "older", "which all its Secrets held")
}

func TestARotationIsAReasonToAsk(t *testing.T) {
	s := newStory()
	s.give("a", 0)
	s.give("b", 5)
	s.end = at(20)
	s.expect(t, "too early")
	s.phase(phase{name: "credentials rotated", rotated: map[string]bool{"shop": true}}, 4, 6)
	s.expect(t)
}

func TestFailuresAreCounted(t *testing.T) {
	s := newStory()
	s.give("a", 0)
	s.end = at(20)
	for n := range 3 {
		s.books.requests = append(s.books.requests, payutest.Request{ClientID: "shop", Scope: "read_payment_links", ReceivedAt: at(10 + float64(n)), Outcome: "reset"})
	}
	s.expect(t, "map[reset:3] while calm allows 0")
	s.phase(phase{name: "token server cut", refusals: 3}, 9, 14)
	s.expect(t)
}

func TestAConflictCostsNothing(t *testing.T) {
	s := newStory()
	s.give("a", 0)
	s.subjects[0].conflict = true
	if found := s.judgeConflict(s.subjects[0]); len(found) != 1 {
		t.Errorf("violations %v, want one", found)
	}
}

func TestAnUnaskedExitNeedsAReason(t *testing.T) {
	s := newStory()
	s.end = at(0)
	s.exits = []exit{{at: at(10), manager: "manager-a", how: "exit status 1"}}
	s.alarms = []alarm{{text: "panic:", file: "manager-a.log", line: 7, at: at(10)}}
	s.expect(t, "ended by itself", "panic")
	s.phase(phase{name: "API server restarted", exits: true, noAPI: true}, 9, 14)
	s.expect(t, "panic")
	s.alarms[0].text = forbidden
	s.expect(t)
}

func TestARoundTakesAsLongAsItSays(t *testing.T) {
	var round time.Duration
	for _, d := range disturbances() {
		round += d.usual
	}
	if whole := round + 2*calmTime; whole.Round(time.Minute) != fullRound {
		t.Errorf("a round takes about %s, fullRound says %s", whole, fullRound)
	}
}
