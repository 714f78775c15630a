package controller

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
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
	// pageTimeout bounds the request for one page: other namespaces wait for it.
	pageTimeout = hangsAfter
	// podsAtOnce bounds the patches that are sent at once in one namespace.
	podsAtOnce = 8
	// writtenAtLayout is RFC 3339 with nanoseconds, all of them: two Secrets of a pod that are written in one second are two changes.
	writtenAtLayout = "2006-01-02T15:04:05.000000000Z07:00"
)

// podRef names one pod, and no later one of the same name.
type podRef struct {
	name string
	uid  types.UID
}

// mounter is a pod that mounts Secrets, and has a node.
type mounter struct {
	podRef
	secrets []string
}

// listMounters calls visit for each pod of a namespace that runs on a node, or is about to, and is not ending, until enough is true after a page.
func listMounters(ctx context.Context, live client.Reader, namespace string, visit func(mounter), enough func() bool) error {
	running := fields.AndSelectors(
		fields.OneTermNotEqualSelector("spec.nodeName", ""),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)))
	next := ""
	for {
		var page corev1.PodList
		reading, cancel := context.WithTimeout(ctx, pageTimeout)
		err := live.List(reading, &page, client.InNamespace(namespace), client.MatchingFieldsSelector{Selector: running}, client.Limit(podsPerPage), client.Continue(next))
		cancel()
		if err != nil {
			return err
		}
		for i := range page.Items {
			if pod := &page.Items[i]; pod.DeletionTimestamp == nil {
				visit(mounterOf(pod))
			}
		}
		if next = page.Continue; next == "" || enough() {
			return nil
		}
	}
}

func mounterOf(pod *corev1.Pod) mounter {
	m := mounter{podRef: podRef{pod.Name, pod.UID}}
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

// tellPod sets the annotation of a pod: the kubelet syncs a pod, and with it the Secrets that it mounts, when its annotations change.
func tellPod(ctx context.Context, c client.Client, namespace string, pod podRef, at time.Time) error {
	return applyToPod(ctx, c, namespace, pod, toldAt(at), nil)
}

// toldAt returns the annotation of a pod that was told at a moment.
func toldAt(at time.Time) map[string]string {
	return map[string]string{v1alpha1.AnnotationTokenWrittenAt: at.UTC().Format(writtenAtLayout)}
}

// applyToPod applies metadata to a pod. An apply leaves the other managers of its fields as they are, where a patch of another type may
// have the API server merge them, which the policy could not tell from a forgery.
func applyToPod(ctx context.Context, c client.Client, namespace string, pod podRef, annotations, labels map[string]string, options ...client.PatchOption) error {
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: pod.name, UID: pod.uid, Annotations: annotations, Labels: labels}} // the answer without the spec
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	patch, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return c.Patch(ctx, object, client.RawPatch(types.ApplyPatchType, patch),
		append(options, client.FieldOwner(v1alpha1.ManagedBy), client.ForceOwnership)...)
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

// fence is what is known of what keeps the operator from changing a pod beyond what it needs.
type fence string

const (
	fenced   fence = "it is there"
	unfenced fence = "there is none"
	untried  fence = "this pod does not show it"
)

// tryFence tries on a pod whether there is a fence: of two changes that differ in what no operator needs to do, the API server has to
// accept the one, and the policy of prompt delivery to deny the other: a denial by anything else shows nothing. Only dry runs are sent.
// With untried it returns the error of an API server that did not answer, or that lets the operator patch no pods.
func tryFence(ctx context.Context, c client.Client, namespace string, pod podRef, at time.Time) (fence, error) {
	err := applyToPod(ctx, c, namespace, pod, toldAt(at), nil, client.DryRunAll)
	switch podOutcomeOf(err) {
	case podTold:
	case podUndecided:
		return untried, err
	default:
		return untried, nil
	}
	probe := map[string]string{"auth.payu.in/fence-probe": "true"}
	both := toldAt(at)
	maps.Copy(both, probe)
	for _, more := range []struct{ annotations, labels map[string]string }{{both, nil}, {toldAt(at), probe}} {
		err := applyToPod(ctx, c, namespace, pod, more.annotations, more.labels, client.DryRunAll)
		switch {
		case err == nil:
			return unfenced, nil
		case !isFenceDenial(err):
			return untried, nil
		}
	}
	return fenced, nil
}

// isFenceDenial reports whether the policy of prompt delivery denies a change, in its own words: its name is up to who installs it.
func isFenceDenial(err error) bool {
	status, _ := answerIn(err)
	return isPolicyDenial(err) && strings.Contains(status.Message, "denied request: the operator may ")
}

// podOutcome is what became of the telling of one pod.
type podOutcome string

const (
	podTold      podOutcome = "told"
	podGone      podOutcome = "gone"
	podFailed    podOutcome = "failed"
	podForbidden podOutcome = "forbidden"
	// podUndecided is tried again: the API server did not answer, or not yet, or the right to patch pods is to be looked at again.
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
	case apierrors.IsNotFound(err), isReplaced(status):
		return podGone
	case !answered, isDeadline(err), isRBACDenial(err), status.Code >= 500, status.Code == http.StatusTooManyRequests,
		status.Code == http.StatusUnauthorized:
		return podUndecided
	default:
		return podFailed
	}
}

// isReplaced reports whether an apply that names a UID met no object, or another one of the same name.
func isReplaced(status metav1.Status) bool {
	return status.Reason == metav1.StatusReasonConflict && byUID.MatchString(status.Message) || status.Details != nil &&
		slices.ContainsFunc(status.Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}

// errUnsent says that patches of other pods took all the time that there was.
var errUnsent = errors.New("the patches of other pods took too long")

// tellAll tells pods at the same time, a few at once, and returns the error of each.
func tellAll(ctx context.Context, c client.Client, namespace string, pods []podRef, now func() time.Time) []error {
	errs, slots := make([]error, len(pods)), make(chan struct{}, podsAtOnce)
	var running sync.WaitGroup
	for i, pod := range pods {
		slots <- struct{}{}
		if ctx.Err() != nil {
			errs[i] = errUnsent
			<-slots
			continue
		}
		running.Go(func() {
			errs[i] = tellPod(ctx, c, namespace, pod, now())
			<-slots
		})
	}
	running.Wait()
	return errs
}
