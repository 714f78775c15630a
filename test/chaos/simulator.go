package main

import (
	"context"
	"fmt"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// tokenLife is short, so that a run of minutes sees many lives.
	tokenLife = 24 * time.Second
	// steadyLife is PayU's own. It outlasts the run, whatever happens to the operator.
	steadyLife = 2 * time.Hour
)

// books are what the simulators know: all that they issued and were asked, also what they have forgotten meanwhile.
type books struct {
	issued   map[string]payutest.Issued // by token
	gifts    map[source][]gift
	requests []payutest.Request // in the order of answers
	known    map[payutest.Request]bool
	// inFlight is how many requests of a source there were at once, at most.
	inFlight map[source]int
}

// gift is a request that was answered with a new token.
type gift struct {
	asked time.Time
	token string
}

func newBooks() *books {
	return &books{issued: map[string]payutest.Issued{}, gifts: map[source][]gift{}, known: map[payutest.Request]bool{}, inFlight: map[source]int{}}
}

// update reads on. It is called often enough for the simulator not to have forgotten anything yet.
func (b *books) update(ctx context.Context, s *lab.Simulator) error {
	requests, err := s.Requests(ctx)
	if err != nil {
		return fmt.Errorf("asking the simulator for its requests: %w", err)
	}
	issued, err := s.Issued(ctx)
	if err != nil {
		return fmt.Errorf("asking the simulator what it issued: %w", err)
	}
	counters, err := s.Counters(ctx)
	if err != nil {
		return fmt.Errorf("asking the simulator for its counters: %w", err)
	}
	b.add(requests, issued)
	for client, most := range counters.MaxInFlight {
		for scopes, n := range most {
			b.inFlight[source{client, scopes}] = n
		}
	}
	return nil
}

// add notes what is new. A token belongs to the request of its source for which it was made, even if the answer was cut
// short: both lists are in the order of answers.
func (b *books) add(requests []payutest.Request, issued []payutest.Issued) {
	makers := map[source][]payutest.Request{}
	for _, r := range requests {
		if b.known[r] {
			continue
		}
		b.known[r] = true
		b.requests = append(b.requests, r)
		if r.Outcome == payutest.OutcomeSuccess || r.Outcome == string(payutest.BreakTruncate) {
			from := source{r.ClientID, r.Scope}
			makers[from] = append(makers[from], r)
		}
	}
	for _, i := range issued {
		from := source{i.ClientID, payutest.ScopeSet(i.Scopes)}
		_, known := b.issued[i.Token]
		waiting := makers[from]
		if !known && len(waiting) == 0 {
			continue // its request was answered after the requests were read: next time
		}
		b.issued[i.Token] = i
		if known {
			continue
		}
		makers[from] = waiting[1:]
		if maker := waiting[0]; maker.Outcome == payutest.OutcomeSuccess {
			b.gifts[from] = append(b.gifts[from], gift{maker.ReceivedAt, i.Token})
		}
	}
}
