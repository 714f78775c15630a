package controller

import (
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// lanes keep a namespace whose webhooks hang from holding all workers: one namespace has at most half of them, and all
// namespaces whose last request timed out have half together. A PayUToken that finds no place is parked, and reconciled
// when one is free.
type lanes struct {
	mu     sync.Mutex
	places int
	busy   map[string]int // by namespace
	slow   map[string]bool
	parked map[string][]reconcile.Request // by namespace
}

func newLanes(workers int) *lanes {
	return &lanes{places: max(workers/2, 1), busy: map[string]int{}, slow: map[string]bool{}, parked: map[string][]reconcile.Request{}}
}

// enter takes a place, and reports whether there was one.
func (l *lanes) enter(request reconcile.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	namespace := request.Namespace
	if l.full(namespace) {
		l.parked[namespace] = append(l.parked[namespace], request)
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

// leave gives a place back, and returns whom to reconcile now. timedOut says that the API server did not answer in time.
func (l *lanes) leave(request reconcile.Request, timedOut bool) []reconcile.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	namespace := request.Namespace
	if l.busy[namespace]--; l.busy[namespace] == 0 {
		delete(l.busy, namespace)
	}
	if timedOut {
		l.slow[namespace] = true
	} else {
		delete(l.slow, namespace)
	}
	return l.unpark(namespace)
}

// unpark returns one that was parked: of this namespace first, then of a slow one that waits for any place.
func (l *lanes) unpark(namespace string) []reconcile.Request {
	candidates := []string{namespace}
	for slow := range l.slow {
		candidates = append(candidates, slow)
	}
	for _, candidate := range candidates {
		list := l.parked[candidate]
		if len(list) == 0 || l.full(candidate) {
			continue
		}
		if l.parked[candidate] = list[1:]; len(list) == 1 {
			delete(l.parked, candidate)
		}
		return list[:1:1]
	}
	return nil
}
