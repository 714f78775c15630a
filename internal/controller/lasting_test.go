package controller

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// TestANewSharerAfterARestartGetsTheLiveToken: another request would kill it in revoke-previous mode.
func TestANewSharerAfterARestartGetsTheLiveToken(t *testing.T) {
	for name, test := range map[string]struct {
		first edit
		edit  edit
		name  string
	}{
		"reconciled first":          {name: "a"},
		"reconciled last":           {name: "z"},
		"from a template":           {name: "a", first: withData("access_token", "{{ .AccessToken }}", "env", "T={{ .AccessToken }}!\n")},
		"from a template alone":     {name: "z", first: withData("access_token", "Bearer {{ .AccessToken }}")},
		"for a template":            {name: "z", edit: withData("access_token", "{{ .AccessToken }}")},
		"of one that is suspended":  {name: "a", first: withSuspend(true)},
		"other scope order":         {name: "a", edit: withScopes("read_payment_links", "create_payment_links")},
		"other credentials' Secret": {name: "z", edit: withCredentials("copy")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious})
			w.credentials("copy", "merchant", secretOne)
			w.edit("links", orNothing(test.first))
			w.run()
			w.restart()
			w.create(test.name, orNothing(test.edit))
			w.run()
			w.pass(30 * time.Second)
			w.expectConditions(test.name, good)
			w.expectLive(test.name)
			if got := w.value("links"); !strings.HasSuffix(got, w.value(test.name)) {
				t.Error("the two do not share a token")
			}
			w.expectRequests(1)
		})
	}
}

func orNothing(e edit) edit {
	if e == nil {
		return func(*v1alpha1.PayUToken) {}
	}
	return e
}

func TestARetainedSecretIsTakenUpByANewProcess(t *testing.T) {
	w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious}, withPolicy(v1alpha1.DeletionPolicyRetain))
	value := w.value("links")
	w.delete(w.token("links"))
	w.reconcile("links")
	w.restart()
	w.create("links")
	w.run()
	w.pass(time.Minute)
	w.expectConditions("links", good)
	w.expectRequests(1)
	if secret, token := w.secret("links"), w.token("links"); w.value("links") != value || !metav1.IsControlledBy(secret, token) {
		t.Error("the retained Secret was not taken up")
	}
}

// TestAnOldWishOnANewObjectIsHandled: a copy, a restore and a replacement bring an annotation along that was handled long ago.
func TestAnOldWishOnANewObjectIsHandled(t *testing.T) {
	for _, wish := range []string{"2026-11-22T08:00:00Z", "2027-01-01T00:00:00Z", "once more"} {
		for name, arrive := range map[string]func(*world) string{
			"copied": func(w *world) string { w.create("copy", refresh(wish)); return "copy" },
			"restored": func(w *world) string {
				w.delete(w.token("links"))
				w.reconcile("links")
				w.create("links", refresh(wish))
				return "links"
			},
			"restored for a new process": func(w *world) string {
				w.delete(w.token("links"))
				w.reconcile("links")
				w.restart()
				w.create("links", refresh(wish))
				return "links"
			},
			"copied for a new process": func(w *world) string { w.restart(); w.create("copy", refresh(wish)); return "copy" },
		} {
			t.Run(wish+", "+name, func(t *testing.T) {
				t.Parallel()
				w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious}, withPolicy(v1alpha1.DeletionPolicyRetain))
				w.pass(time.Minute)
				arrived := arrive(w)
				w.run()
				w.pass(time.Minute)
				w.expectRequests(1)
				w.expectConditions(arrived, good)
				w.expectLive(arrived)
				if got := w.token(arrived).Status.LastHandledRefreshAt; got != wish {
					t.Errorf("lastHandledRefreshAt %q", got)
				}
			})
		}
	}
}

// TestOfAFormerWishANewProcessServesWhatMayBeNew: the echo is lost, as after a restore of an older status.
func TestOfAFormerWishANewProcessServesWhatMayBeNew(t *testing.T) {
	for wish, requests := range map[string]int{"2026-11-22T08:59:00Z": 1, "2026-11-22T09:00:30Z": 2, "today": 2} {
		t.Run(wish, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			w.pass(time.Minute)
			w.edit("links", refresh(wish))
			w.restart()
			w.run()
			w.pass(time.Minute)
			w.expectRequests(requests)
			w.expectConditions("links", good)
			if got := w.token("links").Status.LastHandledRefreshAt; got != wish {
				t.Errorf("lastHandledRefreshAt %q", got)
			}
		})
	}
}

func TestAWishOfAPersonWithAWrongClockIsServed(t *testing.T) {
	w := withLinks(t, payutest.Config{})
	w.pass(time.Minute)
	w.edit("links", refresh("2020-01-01T00:00:00Z"))
	w.run()
	w.pass(5 * time.Second)
	w.expectRequests(2)
}

// TestKeysOfAFormerTemplateDoNotStayUnseen: another field manager restored the Secret and owns its keys, too.
func TestKeysOfAFormerTemplateDoNotStayUnseen(t *testing.T) {
	w := withLinks(t, payutest.Config{})
	backup := w.secret("links")
	w.delete(named("links"))
	backup.ResourceVersion, backup.UID, backup.ManagedFields = "", "", nil
	w.must(w.user.Create(w.ctx, backup, client.FieldOwner("velero")))
	w.run()
	w.edit("links", withData("token.env", "T={{ .AccessToken }}"))
	w.run()
	w.pass(90 * time.Minute)
	left := w.value("links")
	if left != "" && !strings.Contains(w.messages("links"), "access_token") {
		t.Errorf("key access_token stays with an old token, and nothing says so: %s", w.conditions("links"))
	}
	if got := string(w.secret("links").Data["token.env"]); got != "T="+w.payu.Issued()[1].Token {
		t.Error("the new token is not in the key of the new template")
	}
}

func TestARenewalWithAReducedScopeIsNotWritten(t *testing.T) {
	w := withLinks(t, payutest.Config{})
	value := w.value("links")
	w.payu.Inject(payutest.Fault{Grant: []string{"read_payment_links"}})
	w.pass(100 * time.Minute)
	w.expectConditions("links", aliveStalledBy("ScopeReduced"))
	if w.value("links") != value {
		t.Error("the token that lacks a scope was written")
	}
	if made := w.requests(); made > 3 {
		t.Errorf("%d requests: a person must act, nobody else", made)
	}
	w.payu.ClearFaults()
	w.edit("links", refresh("now"))
	w.run()
	w.pass(5 * time.Second)
	w.expectConditions("links", good)
}

func TestMoreScopesThanWantedAreWelcome(t *testing.T) {
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Grant: []string{"read_payment_links", "update_payment_links", "create_payment_links"}})
	w.create("links")
	w.run()
	w.restart()
	w.run()
	w.expectConditions("links", good)
	w.expectRequests(1)
}

// TestSuspendedMeansNoRequest and nothing else: a token that another PayUToken of the source brought is written.
func TestSuspendedMeansNoRequest(t *testing.T) {
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
	reads := func(rivals int) (n int) {
		w := newWorld(t, payutest.Config{})
		w.credentials("payu-credentials", "merchant", secretOne)
		for i := range rivals {
			w.create(fmt.Sprintf("t%02d", i), target("same"))
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
