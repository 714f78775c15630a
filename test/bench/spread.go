package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

const (
	day = 24 * time.Hour
	// readerLag is how long the kubelet may take to bring a token into a pod.
	readerLag = 2 * time.Minute
)

// tokenAt is a token of some life that was fetched at a moment.
func tokenAt(fetched time.Time, life time.Duration) payu.Token {
	return payu.Token{FetchedAt: fetched, ExpiresAt: fetched.Add(life)}
}

// renewAt is when the operator renews a token, with its defaults.
func renewAt(token payu.Token, spread float64) time.Time {
	return token.RenewAt(67, 2*time.Minute, spread)
}

// meanRenewal is how old a token of a life is when it is renewed, on average over all PayUTokens.
func meanRenewal(life time.Duration) time.Duration {
	var start time.Time
	token := tokenAt(start, life)
	return (renewAt(token, 0).Sub(start) + renewAt(token, 1).Sub(start)) / 2
}

// spread is internal/controller's spread of renewals; checkSchedule compares the two.
func spread(uid string) float64 {
	h := fnv.New32a()
	h.Write([]byte(uid))
	return float64(h.Sum32()) / (1 << 32)
}

// timetable is when PayU is asked, from a start at which all tokens are fetched in the same second.
type timetable struct {
	// perMinute counts the requests of each minute.
	perMinute map[int]int
	// ended is the minute in which the last PayUToken makes its renewal of a number, counted from 1.
	ended []int
	// reserve is the shortest time from a renewal until the former token is dead.
	reserve time.Duration
}

// simulate lets tokens of a life be renewed as the operator does, without the time that the work takes.
func simulate(n int, life, until time.Duration) timetable {
	t := timetable{perMinute: map[int]int{}, reserve: life}
	start := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for _, uid := range newUIDs(n) {
		share := spread(uid)
		now := start
		for number := 0; ; number++ {
			token := tokenAt(now, life)
			now = renewAt(token, share)
			if now.Sub(start) >= until {
				break
			}
			minute := int(now.Sub(start) / time.Minute)
			t.perMinute[minute]++
			if number == len(t.ended) {
				t.ended = append(t.ended, 0)
			}
			t.ended[number] = max(t.ended[number], minute)
			t.reserve = min(t.reserve, token.ExpiresAt.Sub(now))
		}
	}
	return t
}

// newUIDs returns UIDs like those that the API server draws, the same each time.
func newUIDs(n int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	uids := make([]string, n)
	for i := range uids {
		a, b := random.Uint64(), random.Uint64()
		uids[i] = fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", uint32(a>>32), uint16(a>>16), a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff)
	}
	return uids
}

// busiest returns the requests of the busiest minute after the end of one renewal until the end of another, which are
// counted from 1; 0 is the start.
func (t timetable) busiest(after, until int) int {
	from, to := -1, t.ended[until-1]
	if after > 0 {
		from = t.ended[after-1]
	}
	most := 0
	for minute, n := range t.perMinute {
		if minute > from && minute <= to {
			most = max(most, n)
		}
	}
	return most
}

// renewalSpread simulates a day.
func (b *bench) renewalSpread() []section {
	n := b.simulated
	t := simulate(n, usual, day)
	mean := float64(n) * float64(time.Minute) / float64(meanRenewal(usual))
	times := func(requests int) string { return fmt.Sprintf("%.2f", float64(requests)/mean) }
	s := section{title: fmt.Sprintf("Renewals of %d PayUTokens in a simulated day, from a start in the same second", n),
		head: []string{"renewal", "over after", "requests in its busiest minute", "times the mean"}}
	all := len(t.ended)
	for renewal := 1; renewal < all; renewal++ { // the day ends in the midst of the last one
		busiest := t.busiest(renewal-1, renewal)
		s.add(renewal, (time.Duration(t.ended[renewal-1]+1) * time.Minute).String(), busiest, times(busiest))
	}
	rest := t.busiest(2, all)
	s.note("The mean is %.0f requests a minute: %d tokens of %s, each renewed after %s on average.", mean, n, usual, meanRenewal(usual))
	s.note("Shortest time from a renewal until the former token is dead: %s. A reader that lags %s behind never holds a dead one.", t.reserve, readerLag)
	b.goal("requests to PayU in the busiest minute after the second renewal", "at most 1.5 times the mean", times(rest)+" times", float64(rest) <= 1.5*mean)
	b.goal("readers that lag 2 minutes behind and hold a dead token", "none", map[bool]string{true: "none", false: "some"}[t.reserve >= readerLag], t.reserve >= readerLag)
	return []section{s}
}
