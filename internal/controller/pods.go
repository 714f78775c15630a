package controller

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

const (
	// podsPerPage bounds how many pods are in memory at once.
	podsPerPage = 500
	// podsAtOnce bounds the patches that are sent at once in one namespace.
	podsAtOnce = 8
	// writtenAtLayout is RFC 3339 with nanoseconds, all of them: two Secrets of a pod that are written in one second are two changes.
	writtenAtLayout = "2006-01-02T15:04:05.000000000Z07:00"
)

// probes are changes that a fence has to refuse. They are only ever sent in a dry run.
var probes = []map[string]any{
	{"annotations": map[string]string{"auth.payu.in/fence-probe": "true"}},
	{"labels": map[string]string{"auth.payu.in/fence-probe": "true"}},
}

// mounter is a pod that mounts Secrets, and has a node.
type mounter struct {
	name     string
	secrets  []string
	toldAt   time.Time // by its annotation; zero if it was never told
	isEnding bool
}

// listMounters calls visit for each pod of a namespace that runs, or is about to, on a node.
func listMounters(ctx context.Context, live client.Reader, namespace string, visit func(mounter)) error {
	running := fields.AndSelectors(
		fields.OneTermNotEqualSelector("spec.nodeName", ""),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)))
	next := ""
	for {
		var page corev1.PodList
		err := live.List(ctx, &page, client.InNamespace(namespace), client.MatchingFieldsSelector{Selector: running}, client.Limit(podsPerPage), client.Continue(next))
		if err != nil {
			return err
		}
		for i := range page.Items {
			visit(mounterOf(&page.Items[i]))
		}
		if next = page.Continue; next == "" {
			return nil
		}
	}
}

func mounterOf(pod *corev1.Pod) mounter {
	m := mounter{name: pod.Name, isEnding: pod.DeletionTimestamp != nil}
	m.toldAt, _ = time.Parse(time.RFC3339, pod.Annotations[v1alpha1.AnnotationTokenWrittenAt])
	for _, volume := range pod.Spec.Volumes {
		if volume.Secret != nil {
			m.secrets = append(m.secrets, volume.Secret.SecretName)
		}
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.Secret != nil {
				m.secrets = append(m.secrets, source.Secret.Name)
			}
		}
	}
	return m
}

// annotate sets one annotation of a pod: the kubelet syncs a pod, and with it the Secrets that it mounts, when its annotations change.
func annotate(ctx context.Context, c client.Client, namespace, pod, annotation, value string) error {
	return patchMetadata(ctx, c, namespace, pod, map[string]any{"annotations": map[string]string{annotation: value}})
}

func patchMetadata(ctx context.Context, c client.Client, namespace, pod string, metadata map[string]any, options ...client.PatchOption) error {
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod}} // the answer without the spec
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	return c.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), append(options, client.FieldOwner(v1alpha1.ManagedBy))...)
}

// mayPatchPods reports whether the operator may list and patch the pods of a namespace.
func mayPatchPods(ctx context.Context, c client.Client, namespace string) (bool, error) {
	for _, verb := range []string{"list", "patch"} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Resource: "pods"}}}
		if err := c.Create(ctx, review); err != nil || !review.Status.Allowed {
			return false, err
		}
	}
	return true, nil
}

// isFenced reports whether something keeps the operator from changing a pod beyond what it needs: each probe has to be denied. It
// returns the error of one that was neither accepted nor denied.
func isFenced(ctx context.Context, c client.Client, namespace, pod string) (bool, error) {
	for _, probe := range probes {
		err := patchMetadata(ctx, c, namespace, pod, probe, client.DryRunAll)
		if !isDenial(err) && !isPolicyDenial(err) {
			return false, err
		}
	}
	return true, nil
}

// podOutcome is what became of the telling of one pod.
type podOutcome string

const (
	podTold      podOutcome = "told"
	podGone      podOutcome = "gone"
	podFailed    podOutcome = "failed"
	podForbidden podOutcome = "forbidden"
	// podUndecided is tried again: the API server did not answer, or not yet.
	podUndecided podOutcome = ""
)

var podOutcomes = []podOutcome{podTold, podGone, podFailed, podForbidden}

// podOutcomeOf returns what became of a pod that was to be told, by the API server's answer.
func podOutcomeOf(err error) podOutcome {
	status, answered := answerIn(err)
	switch {
	case err == nil:
		return podTold
	case isDenial(err) || isPolicyDenial(err):
		return podFailed
	case apierrors.IsNotFound(err):
		return podGone
	case apierrors.IsForbidden(err):
		return podForbidden
	case !answered, isDeadline(err), status.Code >= 500, status.Code == http.StatusTooManyRequests:
		return podUndecided
	default:
		return podFailed
	}
}

// tellAll tells pods at the same time, a few at once, and returns the error of each.
func tellAll(ctx context.Context, c client.Client, namespace string, pods []string, now func() time.Time) []error {
	errs, slots := make([]error, len(pods)), make(chan struct{}, podsAtOnce)
	var running sync.WaitGroup
	for i, pod := range pods {
		slots <- struct{}{}
		running.Go(func() {
			errs[i] = annotate(ctx, c, namespace, pod, v1alpha1.AnnotationTokenWrittenAt, now().UTC().Format(writtenAtLayout))
			<-slots
		})
	}
	running.Wait()
	return errs
}
