package controller

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// The shape of a Secret is its type, labels, annotations and owner. Trouble with it shows on Stalled alone and never keeps the
// data from being renewed.

const (
	shapeRefused = good + " Stalled=True/TargetWriteFailed"
	shapeFought  = good + " Stalled=True/TargetConflict"
)

// refusedShapes are changes of the shape that the API server refuses, by itself or for an admission policy.
var refusedShapes = map[string]struct {
	given edit
	edit  edit
	admit func(*corev1.Secret, bool) error // by an admission policy
}{
	"another type":      {edit: withType("example.com/token")},
	"a forbidden label": {edit: withLabel("team", "shop"), admit: forbidLabel("team")},
	"a forbidden annotation": {edit: func(p *v1alpha1.PayUToken) {
		p.Spec.Target.Template.Metadata.Annotations = map[string]string{"team": "shop"}
	}, admit: func(s *corev1.Secret, _ bool) error {
		if s.Annotations["team"] != "" {
			return forbid(s.Name, "annotation team")
		}
		return nil
	}},
	"a forbidden owner": {given: withPolicy(v1alpha1.DeletionPolicyRetain), edit: withPolicy(v1alpha1.DeletionPolicyDelete),
		admit: func(s *corev1.Secret, _ bool) error {
			if len(s.OwnerReferences) > 0 {
				return forbid(s.Name, "cannot set an ownerRef on a resource you cannot delete")
			}
			return nil
		}},
}

func TestARefusedShapeDoesNotKeepTheDataFromBeingRenewed(t *testing.T) { // fault 15
	t.Parallel()
	for name, test := range refusedShapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{}, orNothing(test.given))
			if test.admit != nil {
				onWrite(w, test.admit)
			}
			w.edit("links", test.edit)
			w.run()
			w.expectConditions("links", shapeRefused)
			w.expectEvents("Warning TargetWriteFailed")
			w.expectPayUNotNamed("links")
			first := w.value("links")
			w.pass(3 * time.Hour)
			w.expectConditions("links", shapeRefused)
			w.expectRequests(3)
			w.expectLive("links")
			if w.value("links") == first || w.secret("links").Type != corev1.SecretTypeOpaque {
				t.Error("the data were not renewed under the old shape")
			}
			if got := w.token("links"); got.Status.ObservedGeneration != got.Generation {
				t.Error("the spec is not observed")
			}
		})
	}
}

func TestARefusedShapeIsRenewedByANewProcess(t *testing.T) { // fault 15
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.edit("links", withType("example.com/token"))
	w.run()
	w.restart()
	w.run()
	w.expectConditions("links", shapeRefused)
	w.expectRequests(1)
	w.pass(3 * time.Hour)
	w.expectLive("links")
	w.expectConditions("links", shapeRefused)
}

func TestAShapeIsWrittenOnceItIsAllowed(t *testing.T) { // fault 15
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	onWrite(w, forbidLabel("team"))
	w.edit("links", withLabel("team", "shop"))
	w.run()
	w.expectConditions("links", shapeRefused)
	w.operator.Client = w.api
	w.pass(10 * time.Minute)
	w.expectConditions("links", good)
	if got := w.secret("links").Labels["team"]; got != "shop" {
		t.Errorf("label team is %q", got)
	}
	w.expectRequests(1)
}

func TestAnEditThatTakesARefusedShapeBackEndsTheTrouble(t *testing.T) { // fault 15
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.edit("links", withType("example.com/token"))
	w.run()
	w.edit("links", withType("Opaque"))
	w.run()
	w.expectConditions("links", good)
	w.expectRequests(1)
}

// TestANewTypeIsTakenUpWhenTheSecretIsDeleted is what the message asks for.
func TestANewTypeIsTakenUpWhenTheSecretIsDeleted(t *testing.T) { // fault 15
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	value := w.value("links")
	w.edit("links", withType("example.com/token"))
	w.run()
	w.delete(named("links"))
	w.run()
	w.expectConditions("links", good)
	if secret := w.secret("links"); secret == nil || secret.Type != "example.com/token" || w.value("links") != value {
		t.Error("the token is not there under the new type")
	}
	w.expectRequests(1)
}

func TestAnImmutableSecretIsReplacedAsSoonAsItIsDeleted(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.change("links", func(s *corev1.Secret) { s.Immutable = ptr.To(true) })
	w.pass(90 * time.Minute)
	w.expectConditions("links", aliveStalledBy("TargetWriteFailed"))
	w.expectRequests(1) // PayU is not asked for a token that cannot be written
	w.delete(named("links"))
	w.run()
	w.pass(time.Second) // the last attempt may have been just now: the spread of the renewal decides
	w.expectConditions("links", good)
	w.expectLive("links")
	w.expectRequests(2)
}

func TestARefusedTargetIsTriedAgainAsSoonAsItChanges(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.faults.set(nil, func(string) error { return errPolicy })
	w.pass(90 * time.Minute)
	w.expectConditions("links", aliveStalledBy("TargetWriteFailed"))
	w.faults.set(nil, nil)
	w.change("links", func(s *corev1.Secret) { metav1.SetMetaDataLabel(&s.ObjectMeta, "allowed", "yes") })
	w.run()
	w.pass(time.Second)
	w.expectConditions("links", good)
	w.expectRequests(2)
}

func TestARefusedTargetThatChangesAllTheTimeIsTriedOnceASecond(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	trials := 0
	onWrite(w, func(*corev1.Secret, bool) error { trials++; return errPolicy })
	w.pass(90 * time.Minute)
	trials = 0
	for i := range 50 {
		w.change("links", func(s *corev1.Secret) { metav1.SetMetaDataLabel(&s.ObjectMeta, "n", fmt.Sprint(i)) })
		w.run()
		w.pass(100 * time.Millisecond)
	}
	if most := 2 * 6; trials > most { // with the wanted shape, and with the one that is there
		t.Errorf("%d trials in 5 s, want %d at most", trials, most)
	}
	w.expectConditions("links", aliveStalledBy("TargetWriteFailed"))
}

func TestANewTargetOfAForbiddenShapeIsNotAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	onWrite(w, forbidLabel("team"))
	w.create("links", withLabel("team", "shop"))
	w.run()
	w.expectConditions("links", stalledBy("TargetWriteFailed"))
	w.expectRequests(0)
}

// TestAFightOverALabelDoesNotKeepTheDataFromBeingRenewed has another controller set a label for a while.
func TestAFightOverALabelDoesNotKeepTheDataFromBeingRenewed(t *testing.T) { // fault 14
	t.Parallel()
	w := withLinks(t, payutest.Config{TokenTTL: 20 * time.Minute}, withLabel("team", "payments"))
	for range 8 {
		w.change("links", func(s *corev1.Secret) { s.Labels["team"] = "theirs" })
		w.run()
	}
	w.expectConditions("links", shapeFought)
	repaired := "Normal Repaired"
	w.expectEvents(repaired, repaired, repaired, repaired, repaired, "Warning TargetConflict")
	for range 3 {
		w.pass(21 * time.Minute)
		w.expectLive("links")
		w.expectCondition("links", v1alpha1.ConditionReady, "True/TokenValid")
		w.expectCondition("links", v1alpha1.ConditionRefreshed, "True/Succeeded")
	}
	w.expectConditions("links", good) // an hour has passed
	if got := w.secret("links").Labels["team"]; got != "payments" {
		t.Errorf("label team is %q", got)
	}
}

func TestAFightOverTheDataDoesNotStopRenewals(t *testing.T) { // fault 14, trap 25
	t.Parallel()
	w := withLinks(t, payutest.Config{TokenTTL: 20 * time.Minute})
	for range 8 {
		w.change("links", func(s *corev1.Secret) { s.Data["access_token"] = []byte("theirs") })
		w.run()
	}
	if got := w.value("links"); got != "theirs" {
		t.Fatalf("the operator fights on, the value is %q", got)
	}
	w.expectCondition("links", v1alpha1.ConditionStalled, "True/TargetConflict")
	w.expectCondition("links", v1alpha1.ConditionRefreshed, "True/Succeeded")
	w.expectRequests(1)
	w.pass(15 * time.Minute) // the renewal
	w.expectRequests(2)
	w.expectLive("links")
	w.expectCondition("links", v1alpha1.ConditionReady, "True/TokenValid")
}

// stuckStates are states in which nobody waits for the token of a PayUToken, and what Ready is in them.
var stuckStates = map[string]struct {
	begin func(*world)
	ready string
}{
	"suspended":      {func(w *world) { w.edit("links", withSuspend(true)) }, "True/TokenValid"},
	"a bad template": {func(w *world) { w.edit("links", withData("x", "{{ .Nothing }}")) }, "False/TemplateInvalid"},
	"no credentials": {func(w *world) { w.delete(named("payu-credentials")) }, "True/TokenValid"},
	"wrong credentials": {func(w *world) { w.credentials("payu-credentials", "merchant", "wrong") },
		"False/InvalidClient"},
	"an incident at PayU": {func(w *world) {
		w.payu.Inject(payutest.Fault{Error: "server_error"})
		w.pass(90 * time.Minute)
	}, "True/TokenValid"},
	"an expired token": {func(w *world) {
		w.payu.Inject(payutest.Fault{Error: "invalid_client"})
		w.pass(3 * time.Hour)
	}, "False/InvalidClient"},
	"a refused type": {func(w *world) { w.edit("links", withType("example.com/token")) }, "True/TokenValid"},
	"a fight": {func(w *world) {
		for range 8 {
			w.change("links", func(s *corev1.Secret) { s.Labels[v1alpha1.LabelManagedBy] = "theirs" })
			w.run()
		}
	}, "True/TokenValid"},
}

// TestOwnerAndDeletionPolicyAgree in whatever state a PayUToken is.
func TestOwnerAndDeletionPolicyAgree(t *testing.T) { // fault 6
	t.Parallel()
	for name, state := range stuckStates {
		for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionPolicyRetain, v1alpha1.DeletionPolicyDelete} {
			t.Run(name+", then "+string(policy), func(t *testing.T) {
				t.Parallel()
				w := withLinks(t, payutest.Config{}, withPolicy(opposite(policy)))
				state.begin(w)
				w.run()
				before := w.requests()
				w.edit("links", withPolicy(policy))
				w.run()
				owner := metav1.GetControllerOf(w.secret("links"))
				if owned := owner != nil; owned != (policy == v1alpha1.DeletionPolicyDelete) {
					t.Errorf("with deletionPolicy %s the owner is %v (%s)", policy, owner, w.conditions("links"))
				}
				w.expectCondition("links", v1alpha1.ConditionReady, state.ready)
				w.expectRequests(before)
			})
		}
	}
}

func opposite(policy v1alpha1.DeletionPolicy) v1alpha1.DeletionPolicy {
	if policy == v1alpha1.DeletionPolicyDelete {
		return v1alpha1.DeletionPolicyRetain
	}
	return v1alpha1.DeletionPolicyDelete
}
