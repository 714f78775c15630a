package controller

import (
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

const (
	// longestSleep bounds the time between two passes, so that a clock that was set, or a machine that slept, is
	// noticed.
	longestSleep = 10 * time.Minute
	// wakeAlignment rounds the next pass of idle PayUTokens, so that one wake-up serves many: to wake the process takes
	// more than an idle pass does (docs/performance.md).
	wakeAlignment = 5 * time.Second
)

// wakeAfter returns how long to sleep until the next pass, if nothing wakes the operator before.
func wakeAfter(o observation) time.Duration {
	wake := o.now.Add(longestSleep).Truncate(wakeAlignment)
	for _, at := range o.moments() {
		if at.After(o.now) && at.Before(wake) {
			wake = at
		}
	}
	return wake.Sub(o.now)
}

// moments returns when something will be due.
func (o observation) moments() []time.Time {
	list := []time.Time{o.record.retryAt, o.record.refusal.until(o), o.record.shape.until(o), o.record.former.next, o.record.fight.next,
		o.delivered.lookAgainAt()}
	if since := o.record.waitingSince; !since.IsZero() {
		list = append(list, since.Add(pendingAfter))
	}
	if o.unusable == nil {
		list = append(list, o.state.NextAttempt, o.state.HeldUntil)
		if o.isDue() {
			list = append(list, o.state.AskAt)
		}
	}
	for _, token := range []payu.Token{o.held.Token, o.former.held.Token, o.state.Token} {
		if token.ValidAt(o.now) {
			list = append(list, token.ExpiresAt, o.renewAt(token))
		}
	}
	return list
}
