package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// survey is what one look at the pods of a namespace shows, and what came of telling them.
type survey struct {
	results map[*notice]*result
	// wants are the notices that a pod is to be told of, by its name.
	wants map[string][]*notice
	// any is a pod that the fence can be tried on, empty if there is none.
	any string
}

// result is what one attempt came to, for one notice.
type result struct {
	// failure is what keeps all pods from being told, nil if nothing does.
	failure *failure
	// mounting counts the pods that mount the Secret, and undecided what is to be tried again; words are why.
	mounting, undecided int
	words               string
}

const kubeletBrings = "the kubelet updates the file of such a pod within about two minutes"

// failureOf returns why pods were not told, nil if all were.
func (r *result) failureOf(n *notice) *failure {
	missed, words := len(n.failed)+r.undecided, r.words
	if r.failure != nil || missed == 0 {
		return r.failure
	}
	if len(n.failed) > 0 {
		words = slices.Min(slices.Collect(maps.Values(n.failed))) // always the same one
	}
	pods := "The pods"
	if r.mounting > 0 {
		pods = fmt.Sprintf("%d of %d pods", missed, r.mounting)
	}
	return &failure{reason: v1alpha1.ReasonDeliveryFailed, message: fmt.Sprintf(
		"%s that mount Secret %q could not be told of its new token: %s; %s", pods, n.secret, words, kubeletBrings)}
}

// attempt looks at the pods of a namespace once, and tells those that are to be told.
func (d *Deliveries) attempt(ctx context.Context, namespace string, notices []*notice) map[*notice]*result {
	s := &survey{results: map[*notice]*result{}, wants: map[string][]*notice{}}
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
	if !isSafe && s.any != "" {
		switch fenced, err := isFenced(ctx, d.client, namespace, s.any); {
		case err != nil:
			return d.endAll(s, deliveryForbidden(namespace), err)
		case !fenced:
			return d.endAll(s, deliveryUnfenced(namespace), nil)
		}
		d.setSafe(namespace, true)
	}
	d.tell(ctx, namespace, s)
	return s.results
}

func deliveryForbidden(namespace string) *failure {
	return &failure{reason: v1alpha1.ReasonDeliveryForbidden, message: fmt.Sprintf(
		"The operator is not allowed to list and patch pods in namespace %q: set promptDelivery.enabled in its Helm chart, "+
			"or add its kustomize component config/prompt-delivery; until then %s", namespace, kubeletBrings)}
}

func deliveryUnfenced(namespace string) *failure {
	return &failure{reason: v1alpha1.ReasonDeliveryUnfenced, message: fmt.Sprintf(
		"Nothing keeps the operator from changing more of the pods in namespace %q than one annotation, so that it changes none: "+
			"install the ValidatingAdmissionPolicy of the Helm chart (promptDelivery.enabled) or of config/prompt-delivery; until then %s", namespace, kubeletBrings)}
}

// endAll ends an attempt for all notices: with a failure, or to be repeated, if the API server gave another error than Forbidden.
func (d *Deliveries) endAll(s *survey, f *failure, err error) map[*notice]*result {
	for n, r := range s.results {
		switch {
		case err == nil || apierrors.IsForbidden(err):
			r.failure = f
			if !n.writtenAt.IsZero() {
				d.count(podForbidden, 1)
			}
		default:
			r.undecided, r.words = 1, "the API server failed: "+wordsOf(err)
		}
	}
	return s.results
}

// look finds the pods that are to be told. Namespaces take turns, so that one page of pods is in memory at a time.
func (d *Deliveries) look(ctx context.Context, namespace string, s *survey) error {
	d.listing.Lock()
	defer d.listing.Unlock()
	now := d.clock.Now()
	return listMounters(ctx, d.live, namespace, func(pod mounter) {
		if pod.isEnding {
			return
		}
		s.any = pod.name
		for n, r := range s.results {
			if !slices.Contains(pod.secrets, n.secret) {
				continue
			}
			r.mounting++
			told := pod.toldAt.After(n.writtenAt) && !pod.toldAt.After(now)
			if _, failed := n.failed[pod.name]; !told && !failed && !n.writtenAt.IsZero() {
				s.wants[pod.name] = append(s.wants[pod.name], n)
			}
		}
	})
}

// tell tells the pods, and notes what came of it.
func (d *Deliveries) tell(ctx context.Context, namespace string, s *survey) {
	pods := slices.Sorted(maps.Keys(s.wants))
	for i, err := range tellAll(ctx, d.client, namespace, pods, d.clock.Now) {
		what := podOutcomeOf(err)
		if what != podUndecided {
			d.count(what, 1)
		}
		if what == podForbidden {
			d.setSafe(namespace, false)
		}
		for _, n := range s.wants[pods[i]] {
			s.results[n].note(n, namespace, pods[i], what, err)
		}
	}
}

// note notes what became of one pod.
func (r *result) note(n *notice, namespace, pod string, what podOutcome, err error) {
	switch what {
	case podGone:
		r.mounting--
	case podForbidden:
		r.failure = deliveryForbidden(namespace)
	case podFailed:
		n.failed[pod] = wordsOf(err)
	case podUndecided:
		r.undecided++
		r.words = wordsOf(err)
	}
}
