package main

import (
	"math"
	"testing"
	"time"
)

// TestSimulatedDay compares the simulation with what can be reckoned by hand: spreads are uniform from 0 to 1, so that
// renewal k is spread evenly over k times 5 % of a life.
func TestSimulatedDay(t *testing.T) {
	const n = 10_000
	day := simulate(n, usual, day)

	first := 0
	for minute, requests := range day.perMinute {
		if minute <= day.ended[0] {
			first += requests
		}
		if minute < 74 { // 67 % of 2 h less 5 % are 74 minutes and 24 seconds
			t.Errorf("minute %d has %d requests", minute, requests)
		}
	}
	if first != n {
		t.Errorf("%d of %d tokens were renewed when the first renewal was over", first, n)
	}
	if day.ended[0] != 80 || day.ended[1] != 160 { // 67 % of 2 h are 80 minutes and 24 seconds
		t.Errorf("the first renewals end in minutes %v, want 80 and 160", day.ended[:2])
	}
	const sixMinutes = n / 6.0
	for renewal, want := range map[int]float64{1: sixMinutes, 2: sixMinutes / 2, 3: sixMinutes / 3, 4: sixMinutes / 4} {
		if got := float64(day.busiest(renewal-1, renewal)); math.Abs(got-want) > 0.15*want {
			t.Errorf("the busiest minute of renewal %d has %.0f requests, want about %.0f", renewal, got, want)
		}
	}
	if all, first := day.busiest(0, len(day.ended)), day.busiest(0, 1); all != first {
		t.Errorf("the busiest minute of the day has %d requests, and not the %d of the first renewal", all, first)
	}
}

// TestReserve sees to it that a reader who lags behind never holds a dead token, whatever the life, if it is one that
// the margin can be kept with.
func TestReserve(t *testing.T) {
	for _, life := range []time.Duration{4 * time.Minute, 5 * time.Minute, 10 * time.Minute, time.Hour, usual, 24 * time.Hour} {
		if got := simulate(500, life, 10*life).reserve; got < readerLag {
			t.Errorf("life %s: a token dies %s after its renewal", life, got)
		}
	}
	if got := simulate(500, 3*time.Minute, time.Hour).reserve; got >= readerLag {
		t.Errorf("a life of 3 minutes cannot leave %s: the check is broken", got)
	}
}

func TestSpreadsAreUniform(t *testing.T) {
	// Of 10,000 in ten parts each has 1,000, give or take four standard deviations.
	parts := make([]int, 10)
	for _, uid := range newUIDs(10_000) {
		parts[int(spread(uid)*10)]++
	}
	for part, n := range parts {
		if n < 880 || n > 1120 {
			t.Errorf("%d of 10000 spreads are in part %d of 10", n, part)
		}
	}
}

func TestMeanRenewal(t *testing.T) {
	if got, want := meanRenewal(usual), 77*time.Minute+24*time.Second; got != want { // 64.5 % of 2 h
		t.Errorf("renewed after %s on average, want %s", got, want)
	}
}
