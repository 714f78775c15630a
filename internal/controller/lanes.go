package controller

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// pace is what a pass shows of the webhooks of its namespace; empty if it wrote nothing.
type pace string

const (
	hung  pace = "a request hung"
	brisk pace = "the API server answered soon"
)

// hangsAfter is how long a pass, or the writing of an Event, takes at least where a webhook hangs. It may use up its ten seconds,
// so that the API server answers before a request times out.
const hangsAfter = 5 * time.Second

// lanes keep a namespace whose webhooks hang from holding all workers: one namespace has at most half of them, and all
// namespaces whose last request timed out have half together. A PayUToken that finds no place is parked, and reconciled
// when one is free.
type lanes struct {
	mu     sync.Mutex
	places int
	busy   map[string]int // by namespace
	slow   map[string]bool
	parked map[string][]reconcile.Request // by namespace
	// isParked finds what is in parked: there may be thousands.
	isParked map[reconcile.Request]bool
}

func newLanes(workers int) *lanes {
	return &lanes{places: max(workers/2, 1), busy: map[string]int{}, slow: map[string]bool{}, parked: map[string][]reconcile.Request{},
		isParked: map[reconcile.Request]bool{}}
}

// enter takes a place, and reports whether there was one.
func (l *lanes) enter(request reconcile.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	namespace := request.Namespace
	if l.full(namespace) {
		if !l.isParked[request] {
			l.isParked[request] = true
			l.parked[namespace] = append(l.parked[namespace], request)
		}
		return false
	}
	l.busy[namespace]++
	return true
}

func (l *lanes) full(namespace string) bool {
	if l.busy[namespace] >= l.places {
		return true
	}
	return l.slow[namespace] && l.busySlow() >= l.places
}

func (l *lanes) busySlow() (n int) {
	for namespace := range l.slow {
		n += l.busy[namespace]
	}
	return n
}

// leave gives a place back, and returns whom to reconcile now.
func (l *lanes) leave(request reconcile.Request, p pace) []reconcile.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	namespace := request.Namespace
	if l.busy[namespace]--; l.busy[namespace] == 0 {
		delete(l.busy, namespace)
	}
	switch p {
	case hung:
		l.slow[namespace] = true
	case brisk:
		delete(l.slow, namespace)
	}
	return l.unpark(namespace)
}

// unpark returns those that were parked and have a place now: one of this namespace, if it is not slow, and one of the slow
// namespace that holds the fewest, so that one with many that hang does not keep another from showing that it is well.
func (l *lanes) unpark(namespace string) (requests []reconcile.Request) {
	if !l.slow[namespace] {
		requests = l.first(namespace)
	}
	fewest := func(a, b string) int { return cmp.Compare(l.busy[a], l.busy[b]) }
	for _, slow := range slices.SortedFunc(maps.Keys(l.slow), fewest) {
		if first := l.first(slow); first != nil {
			return append(requests, first...)
		}
	}
	return requests
}

// first takes the first that was parked of a namespace, nil if there is none or no place for it.
func (l *lanes) first(namespace string) []reconcile.Request {
	list := l.parked[namespace]
	if len(list) == 0 || l.full(namespace) {
		return nil
	}
	if l.parked[namespace] = list[1:]; len(list) == 1 {
		delete(l.parked, namespace)
	}
	delete(l.isParked, list[0])
	return []reconcile.Request{list[0]}
}
