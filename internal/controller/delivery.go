package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// survey is what one look at the pods of a namespace shows, and what came of telling them.
type survey struct {
	results map[*notice]*result
	// wants are the notices that a pod is to be told of.
	wants map[podRef][]*notice
	// others are some pods that the fence can be tried on if none is to be told.
	others []podRef
}

// fenceTries bounds the pods that the fence is tried on.
const fenceTries = 5

// result is what one attempt came to, for one notice.
type result struct {
	// failure is what keeps all pods from being told, nil if nothing does.
	failure *failure
	// mounting counts the pods that mount the Secret, failed those of them that cannot be told, and undecided what is to be tried
	// again; words are why.
	mounting, failed, undecided int
	words                       string
}

const (
	kubeletBrings = "the kubelet updates the files of these pods within about two minutes"
	untilThen     = "the kubelet updates the files of pods within about two minutes"
)

// failureOf returns why pods were not told, nil if all were.
func (r *result) failureOf(n *notice) *failure {
	missed := r.failed + r.undecided
	if r.failure != nil || missed == 0 {
		return r.failure
	}
	pods := "The pods"
	if r.mounting > 0 {
		pods = fmt.Sprintf("%d of %d pods", missed, r.mounting)
	}
	return &failure{reason: v1alpha1.ReasonDeliveryFailed, message: fmt.Sprintf(
		"%s that mount Secret %q could not be told of its new token: %s; %s", pods, n.secret, r.words, kubeletBrings)}
}

// attempt looks at the pods of a namespace once, and tells those that are to be told.
func (d *Deliveries) attempt(ctx context.Context, namespace string, notices []*notice) map[*notice]*result {
	s := &survey{results: map[*notice]*result{}, wants: map[podRef][]*notice{}}
	for _, n := range notices {
		s.results[n] = &result{}
	}
	isSafe := d.isSafe(namespace)
	if !isSafe {
		may, err := mayPatchPods(ctx, d.client, namespace)
		if err != nil || !may {
			return d.endAll(s, deliveryForbidden(namespace), err)
		}
	}
	if err := d.look(ctx, namespace, s); err != nil {
		return d.endAll(s, deliveryForbidden(namespace), err)
	}
	if !isSafe {
		switch found, err := d.findFence(ctx, namespace, s); {
		case isRBACDenial(err):
			return d.endAll(s, deliveryForbidden(namespace), err)
		case found == unfenced:
			return d.endAll(s, deliveryUnfenced(namespace), nil)
		case found == untried:
			return s.postponed(err)
		}
		d.setSafe(namespace, true)
	}
	d.tell(ctx, namespace, s)
	return s.results
}

// findFence tries the fence on one pod after the other until one shows whether it is there: on those that are to be told, and on others.
// Those that do not show it come last in the next attempt.
func (d *Deliveries) findFence(ctx context.Context, namespace string, s *survey) (_ fence, failed error) {
	wanted := s.inOrder()
	for _, pod := range append(wanted[:min(len(wanted), fenceTries)], s.others...) {
		found, err := tryFence(ctx, d.client, namespace, pod, d.clock.Now())
		if found != untried || isRBACDenial(err) {
			return found, err
		}
		if err != nil {
			failed = err
		}
		for _, n := range s.wants[pod] {
			n.tried[pod] = tried{outcome: podUndecided}
		}
	}
	return untried, failed
}

// postponed leaves the pods that are to be told for another attempt: no pod shows whether the fence is there.
func (s *survey) postponed(err error) map[*notice]*result {
	words := "no pod shows whether the policy that restricts the operator is in force"
	if err != nil {
		words += ": " + wordsOf(err)
	}
	for _, notices := range s.wants {
		for _, n := range notices {
			r := s.results[n]
			r.undecided++
			r.words = words
		}
	}
	return s.results
}

// inOrder returns the pods that are to be told: those whose patch did not end before come last.
func (s *survey) inOrder() []podRef {
	attempts := func(pod podRef) int {
		if slices.ContainsFunc(s.wants[pod], func(n *notice) bool { _, before := n.tried[pod]; return before }) {
			return 1
		}
		return 0
	}
	return slices.SortedFunc(maps.Keys(s.wants), func(a, b podRef) int {
		return cmp.Or(cmp.Compare(attempts(a), attempts(b)), cmp.Compare(a.name, b.name))
	})
}

func deliveryForbidden(namespace string) *failure {
	return &failure{reason: v1alpha1.ReasonDeliveryForbidden, message: fmt.Sprintf(
		"The operator is not allowed to list and patch pods in namespace %q: allow prompt delivery (promptDelivery.enabled of its Helm "+
			"chart; with kustomize config/prompt-delivery, for single namespaces config/prompt-delivery/watched); until then %s", namespace, untilThen)}
}

func deliveryUnfenced(namespace string) *failure {
	return &failure{reason: v1alpha1.ReasonDeliveryUnfenced, message: fmt.Sprintf(
		"No ValidatingAdmissionPolicy keeps the operator from changing more of the pods in namespace %q than one annotation, so that it changes "+
			"none: install the one of its Helm chart (promptDelivery) or of config/prompt-delivery/policy, with its binding and what that names; "+
			"until then %s", namespace, untilThen)}
}

// endAll ends an attempt for all notices: with a failure, or to be repeated, if the API server gave another error than Forbidden.
func (d *Deliveries) endAll(s *survey, f *failure, err error) map[*notice]*result {
	for n, r := range s.results {
		switch {
		case err == nil || isRBACDenial(err):
			r.failure = f
			if n.tell && !n.again {
				d.count(podForbidden, 1)
			}
		default:
			r.mounting, r.undecided, r.words = 0, 1, "the API server failed: "+wordsOf(err)
		}
	}
	return s.results
}

// look finds the pods that are to be told. Namespaces take turns, so that one page of pods is in memory at a time.
func (d *Deliveries) look(ctx context.Context, namespace string, s *survey) error {
	d.listing.Lock()
	defer d.listing.Unlock()
	tells := func(n *notice) bool { return n.tell }
	isLook := !slices.ContainsFunc(slices.Collect(maps.Keys(s.results)), tells)
	return listMounters(ctx, d.live, namespace, s.visit, func() bool { return isLook && len(s.others) > 0 })
}

// visit notes who is to tell a pod.
func (s *survey) visit(pod mounter) {
	if len(s.others) < fenceTries {
		s.others = append(s.others, pod.podRef)
	}
	for n, r := range s.results {
		if !n.tell || !slices.Contains(pod.secrets, n.secret) {
			continue
		}
		r.mounting++
		switch before := n.tried[pod.podRef]; before.outcome {
		case podTold:
		case podFailed:
			r.failed++
			r.words = before.words
		default:
			s.wants[pod.podRef] = append(s.wants[pod.podRef], n)
		}
	}
}

// tell tells the pods, and notes what came of it.
func (d *Deliveries) tell(ctx context.Context, namespace string, s *survey) {
	pods := s.inOrder()
	for i, err := range tellAll(ctx, d.client, namespace, pods, d.clock.Now) {
		what := podOutcomeOf(err)
		if what != podUndecided {
			d.count(what, 1)
		} else if isRBACDenial(err) {
			d.setSafe(namespace, false) // the next attempt finds out
		}
		for _, n := range s.wants[pods[i]] {
			if is := s.results[n].note(what, err); !errors.Is(err, errUnsent) {
				n.tried[pods[i]] = is
			}
		}
	}
}

// note notes what became of one pod.
func (r *result) note(what podOutcome, err error) tried {
	switch what {
	case podTold:
		return tried{outcome: what}
	case podGone:
		r.mounting--
		return tried{outcome: what}
	case podFailed:
		r.failed++
	case podUndecided:
		r.undecided++
	}
	r.words = wordsOf(err)
	return tried{outcome: what, words: r.words}
}
