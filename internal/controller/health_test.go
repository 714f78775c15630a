package controller

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
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
	for _, name := range []types.NamespacedName{links, other} {
		r.memories.of(&v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}})
	}
	expect("before the first pass", true)
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
