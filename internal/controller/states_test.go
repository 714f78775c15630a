package controller

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// TestSuspendedMeansNoRequest and nothing else: a token that another PayUToken of the source brought is written.
func TestSuspendedMeansNoRequest(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious}, withSuspend(false))
	w.create("same")
	w.run()
	w.edit("links", withSuspend(true))
	w.create("newcomer", withSuspend(true))
	w.run()
	for _, name := range []string{"links", "newcomer"} {
		w.expectConditions(name, aliveFailedBy("Suspended"))
		w.expectLive(name)
	}
	w.expectRequests(1)
	w.pass(90 * time.Minute) // "same" renews
	w.expectRequests(2)
	for _, name := range []string{"links", "newcomer"} {
		w.expectConditions(name, aliveFailedBy("Suspended"))
		w.expectLive(name)
	}
	w.edit("same", withSuspend(true))
	w.run()
	w.edit("links", refresh("now"))
	w.run()
	w.pass(3 * time.Hour)
	w.expectConditions("links", failedBy("Suspended"))
	w.expectRequests(2)
}

func TestADamagedSecretOfASuspendedPayUTokenIsRepaired(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	value := w.value("links")
	w.edit("links", withSuspend(true))
	w.run()
	w.change("links", func(s *corev1.Secret) { s.Data["access_token"] = []byte("x") })
	w.run()
	w.expectConditions("links", aliveFailedBy("Suspended"))
	if w.value("links") != value {
		t.Error("the live token is not back")
	}
	w.expectRequests(1)
}

func TestAFirstTokenThatTakesLongIsPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Hang: true, Times: 1})
	w.create("links")
	w.begin("links")
	w.tick(5 * time.Second)
	if _, err := w.look("links"); err != nil {
		t.Fatal(err)
	}
	w.expectCondition("links", v1alpha1.ConditionReady, "False/Pending")
	w.expectCondition("links", v1alpha1.ConditionStalled, "")
	w.expectEvents()
	if got := w.token("links").Status.ObservedGeneration; got != 1 {
		t.Errorf("observedGeneration %d", got)
	}
	w.payu.ClearFaults()
	await(w)
	w.run()
	w.expectConditions("links", good)
	w.expectEvents("Normal Refreshed")
}

func TestARequestThatTakesLongIsLookedAtWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Hang: true, Times: 1})
	w.create("links")
	w.begin("links")
	result, err := w.look("links")
	w.must(err)
	if pending := w.condition("links", v1alpha1.ConditionReady) == "False/Pending"; !pending && result.RequeueAfter > 5*time.Second {
		t.Errorf("nothing is said, and the next pass is in %v", result.RequeueAfter)
	}
	w.payu.ClearFaults()
	await(w)
}

func TestARepairIsNoRenewal(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*corev1.Secret){
		"of a value":       func(s *corev1.Secret) { s.Data["access_token"] = []byte("x") },
		"of a label":       func(s *corev1.Secret) { s.Labels[v1alpha1.LabelManagedBy] = "x" },
		"of an annotation": func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.AnnotationExpiresAt) },
		"of the owner":     func(s *corev1.Secret) { s.OwnerReferences = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			w.change("links", change)
			w.run()
			w.expectEvents("Normal Repaired")
			w.pass(90 * time.Minute)
			w.expectEvents("Normal Refreshed")
			w.expectRequests(2)
		})
	}
}

// TestALateStatusOfAFormerLeaderIsCorrected: nothing tests the resourceVersion when a status is written.
func TestALateStatusOfAFormerLeaderIsCorrected(t *testing.T) { // fault 41
	t.Parallel()
	for name, late := range map[string]func(*v1alpha1.PayUTokenStatus){
		"conditions": func(s *v1alpha1.PayUTokenStatus) {
			for i := range s.Conditions {
				s.Conditions[i].Status, s.Conditions[i].Reason, s.Conditions[i].Message = "False", "Unreachable", "DNS"
			}
		},
		"stalled": func(s *v1alpha1.PayUTokenStatus) {
			s.Conditions = append(s.Conditions, metav1.Condition{Type: "Stalled", Status: "True", Reason: "InvalidClient", Message: "m", LastTransitionTime: metav1.Time{Time: start}})
		},
		"nothing": func(s *v1alpha1.PayUTokenStatus) { *s = v1alpha1.PayUTokenStatus{ObservedGeneration: -1} },
		"a wait": func(s *v1alpha1.PayUTokenStatus) {
			s.Failures, s.NextAttemptAt = 7, &metav1.Time{Time: start.Add(time.Hour)}
		},
		"times": func(s *v1alpha1.PayUTokenStatus) {
			s.ExpiresAt, s.RenewAt = &metav1.Time{Time: start}, &metav1.Time{Time: start}
		},
		"the name": func(s *v1alpha1.PayUTokenStatus) { s.SecretName = "elsewhere" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			before := w.token("links")
			token := before.DeepCopy()
			late(&token.Status)
			w.must(w.user.Status().Patch(w.ctx, token, client.MergeFrom(before)))
			if !wakes(w, before, w.token("links")) {
				t.Error("the operator does not notice")
			}
			w.run()
			if diff := cmp.Diff(before.Status, w.token("links").Status); diff != "" {
				t.Errorf("status (-before +after):\n%s", diff)
			}
			w.expectRequests(1)
		})
	}
}

// TestAPayUTokenThatIsBeingDeletedIsLeftAlone while a finalizer keeps it.
func TestAPayUTokenThatIsBeingDeletedIsLeftAlone(t *testing.T) { // fault 18
	t.Parallel()
	w := withLinks(t, payutest.Config{}, func(p *v1alpha1.PayUToken) { p.Finalizers = []string{"example.com/keep"} })
	w.delete(w.token("links"))
	w.delete(named("links"))
	w.run()
	w.pass(3 * time.Hour)
	if w.secret("links") != nil {
		t.Error("a Secret was written for a PayUToken that is being deleted")
	}
	w.expectRequests(1)
	w.edit("links", func(p *v1alpha1.PayUToken) { p.Finalizers = nil })
}

func TestManyRivalsCostFewReads(t *testing.T) { // fault 13
	t.Parallel()
	reads := func(rivals int) (n int) {
		w := newWorld(t, payutest.Config{})
		w.credentials("payu-credentials", "merchant", secretOne)
		for i := range rivals {
			w.create(fmt.Sprintf("t%02d", i), targeting("same"))
		}
		w.run()
		w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
				if _, ok := o.(*v1alpha1.PayUToken); ok {
					n++
				}
				return c.Get(ctx, key, o, options...)
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
				n += rivals
				return c.List(ctx, list, options...)
			},
		})
		w.run() // an edit of one of them has all reconciled
		return n
	}
	few, many := reads(5), reads(20)
	if many > 4*few*3/2 {
		t.Errorf("5 rivals cost %d reads of PayUTokens, 20 cost %d", few, many)
	}
}

// TestALivenessProbeDoesNotFailForOthersFaults: a pod that is killed then comes back to the same.
func TestALivenessProbeDoesNotFailForOthersFaults(t *testing.T) { // faults 9, 10
	t.Parallel()
	t.Run("the clock is set forwards", func(t *testing.T) {
		w := withLinks(t, payutest.Config{})
		w.tick(20 * time.Minute) // no timer has fired yet
		w.must(w.operator.Healthy(nil))
		w.tick(-24 * time.Hour)
		w.must(w.operator.Healthy(nil))
	})
	t.Run("a webhook hangs", func(t *testing.T) {
		w := newWorld(t, payutest.Config{})
		w.credentials("payu-credentials", "merchant", secretOne)
		for i := range 30 {
			w.create(fmt.Sprint("t", i))
		}
		w.run()
		onWrite(w, func(*corev1.Secret, bool) error {
			w.tick(13 * time.Second) // an API request ends then
			return errUnanswered
		})
		w.tick(90 * time.Minute)
		for i := range 60 {
			w.look(fmt.Sprint("t", i%30))
			await(w)
			if err := w.operator.Healthy(nil); err != nil {
				t.Fatalf("after %d passes that ended: %v", i+1, err)
			}
		}
	})
}

// A former target that cannot be removed for the moment is no work for a person: neither where the API server does not answer
// nor where somebody has changed the Secret meanwhile.
func TestRemovingAFormerTargetIsTriedAgain(t *testing.T) {
	t.Parallel()
	secrets := schema.GroupResource{Resource: "secrets"}
	for name, test := range map[string]struct {
		err  error
		want string // while it cannot be removed
	}{
		"500": {apierrors.NewInternalError(errors.New("etcd")), "Ready=True/TokenValid Refreshed=False/TargetWriteFailed"},
		"409": {apierrors.NewConflict(secrets, "links", errors.New("Precondition failed: ResourceVersion")),
			"Ready=True/TokenValid Refreshed=False/TargetWriteFailed"},
	} {
		for _, suspended := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, suspended %t", name, suspended), func(t *testing.T) {
				w := newWorld(t, payutest.Config{})
				w.credentials("payu-credentials", "merchant", secretOne)
				w.create("links")
				w.run()
				w.faults.failDelete(test.err)
				w.edit("links", targeting("other"), func(p *v1alpha1.PayUToken) { p.Spec.Suspend = suspended })
				w.run()
				w.expectConditions("links", test.want)
				w.faults.failDelete(nil)
				w.pass(30 * time.Second)
				if w.secret("links") != nil || w.secret("other") == nil {
					t.Error("the former target was not removed")
				}
				want := good
				if suspended {
					want = "Ready=True/TokenValid Refreshed=False/Suspended"
				}
				w.expectConditions("links", want)
			})
		}
	}
}
