package controller

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

func TestWhoIsLookedAt(t *testing.T) {
	t.Parallel()
	r := &Reconciler{references: newReferences(), records: newRecords()}
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	events := r.tokenEvents()
	create := func(token *v1alpha1.PayUToken) { events.Create(t.Context(), event.CreateEvent{Object: token}, queue) }
	update := func(was, is *v1alpha1.PayUToken) {
		events.Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, queue)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		expectQueued(t, queue, what, want...)
	}
	change := func(name string) {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		for _, request := range r.referrers(t.Context(), secret) {
			queue.Add(request)
		}
	}
	named := func(name, target, credentials string) *v1alpha1.PayUToken {
		return &v1alpha1.PayUToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Generation: 1},
			Spec: v1alpha1.PayUTokenSpec{
				Target:               v1alpha1.Target{Name: v1alpha1.SecretName(target)},
				CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: v1alpha1.SecretName(credentials)},
			},
		}
	}
	links, refunds := named("links", "", "merchant"), named("refunds", "refunds-token", "merchant")
	elsewhere := named("links", "", "merchant")
	elsewhere.Namespace = "other"

	create(links)
	expect("a new one", "links")
	create(refunds)
	expect("another", "refunds")
	create(elsewhere)
	expect("one of another namespace", "links")
	change("merchant")
	expect("credentials", "links", "refunds")
	change("refunds-token")
	expect("a target", "refunds")
	change("links")
	expect("a target that is named by default", "links")
	change("of-nobody")
	expect("a Secret that nobody names")

	moved := refunds.DeepCopy()
	moved.Generation, moved.Spec.Target.Name = 2, "links"
	update(refunds, moved)
	expect("one that takes another's target", "links", "refunds")
	change("refunds-token")
	expect("its former target")
	reported := moved.DeepCopy()
	reported.Status.Failures, reported.ResourceVersion = 1, "8"
	update(moved, reported)
	expect("a status that another process wrote", "refunds")
	change("links")
	expect("the target of both", "links", "refunds")

	back := moved.DeepCopy()
	back.Generation, back.Spec.Target.Name = 3, "refunds-token"
	update(moved, back)
	expect("one that leaves another's target", "links", "refunds")
	events.Delete(t.Context(), event.DeleteEvent{Object: links}, queue)
	expect("one that is gone", "links")
	change("merchant")
	expect("credentials after that", "refunds")
	events.Delete(t.Context(), event.DeleteEvent{Object: back}, queue)
	events.Delete(t.Context(), event.DeleteEvent{Object: elsewhere}, queue)
	if len(r.references.to) > 0 {
		t.Errorf("%v are kept of PayUTokens that are gone", r.references.to)
	}
}

// expectQueued empties the queue, and sees to it that it held those names.
func expectQueued(t *testing.T, queue workqueue.TypedRateLimitingInterface[reconcile.Request], what string, want ...string) {
	t.Helper()
	var got []string
	for queue.Len() > 0 {
		request, _ := queue.Get()
		queue.Done(request)
		got = append(got, request.Name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v are looked at, want %v", what, got, want)
	}
}
