package controller

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestHealthyUntilAPassIsLongOverdue(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(start)
	r := &Reconciler{Clock: clock, memories: newMemories()}
	links, other := types.NamespacedName{Namespace: "shop", Name: "links"}, types.NamespacedName{Namespace: "shop", Name: "other"}
	expect := func(when string, healthy bool) {
		t.Helper()
		if err := r.Healthy(nil); (err == nil) != healthy {
			t.Errorf("%s: %v", when, err)
		}
	}
	expect("without PayUTokens", true)
	r.memories.expect(links, start.Add(time.Minute), 0, true)
	r.memories.expect(other, start.Add(time.Hour), 0, true)
	expect("before anything is due", true)
	clock.SetTime(start.Add(6 * time.Minute))
	expect("five minutes late", true)
	clock.SetTime(start.Add(6*time.Minute + time.Second))
	expect("more than five minutes late", false)
	r.memories.expect(links, clock.Now().Add(time.Minute), 0, true)
	expect("looked at again", true)
	clock.SetTime(start.Add(2 * time.Hour))
	expect("both late", false)
	r.memories.forget(links)
	r.memories.forget(other)
	expect("all are gone", true)
}
