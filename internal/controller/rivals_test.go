package controller

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// Rivals are PayUTokens with one target. The one that the Secret names has it; without a Secret, the oldest.

func TestAnElderDoesNotTakeTheTargetOfAYoungerPayUToken(t *testing.T) { // fault 1
	t.Parallel()
	w := withRivals(t, "one", "two")
	w.edit("a", targeting("two"))
	w.run()
	w.expectConflict("a", "b")
	w.expectConditions("b", good)
	w.pass(3 * time.Hour)
	w.expectConditions("b", good)
	w.expectLive("two")
	w.expectLive("one") // the former target is renewed as before
	w.edit("b", targeting("three"))
	w.run()
	w.run()
	w.expectConditions("a", good)
	w.expectConditions("b", good)
	w.expectLive("two")
	w.expectLive("three")
	if w.secret("one") != nil {
		t.Error("the former target is still there")
	}
}

func TestAConflictSurvivesARestart(t *testing.T) { // fault 1
	t.Parallel()
	w := withRivals(t, "one", "two")
	w.edit("a", targeting("two"))
	w.run()
	w.restart()
	w.run()
	w.expectConflict("a", "b")
	w.expectConditions("b", good)
	w.expectRequests(2)
}

func TestTheOwnerOfARetainedSecretIsCreatedAnewWhileAnotherWaits(t *testing.T) { // fault 23
	t.Parallel()
	for name, meanwhile := range map[string]func(*world){
		"one process":   func(*world) {},
		"a new process": (*world).restart,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, payutest.Config{Mode: payutest.RevokePrevious})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.create("z", targeting("same"), withPolicy(v1alpha1.DeletionPolicyRetain))
			w.run()
			value := w.value("same")
			w.create("a", targeting("same"), withScopes("read_payment_links"))
			w.run()
			w.expectConflict("a", "z")
			w.delete(w.token("z"))
			w.reconcile("z")
			meanwhile(w)
			w.run()
			w.expectCondition("a", v1alpha1.ConditionStalled, "True/TargetConflict") // the Secret names z, which may come back
			w.create("z", targeting("same"), withPolicy(v1alpha1.DeletionPolicyRetain))
			w.run()
			w.expectConditions("z", good)
			w.expectConflict("a", "z")
			if w.value("same") != value {
				t.Error("the retained token was not taken up")
			}
			w.expectRequests(1)
			w.pass(3 * time.Hour)
			w.expectLive("same")
		})
	}
}

// TestTheElderOfTwoRivalsMovesAway was a random history: a and b name t1, a has it, and a moves to t2 with the
// credentials of b.
func TestTheElderOfTwoRivalsMovesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{Clients: []payutest.Client{{ID: "alpha", Secret: "1"}, {ID: "beta", Secret: "2"}}, TokenTTL: 5 * time.Minute})
	w.credentials("alpha", "alpha", "1")
	w.credentials("beta", "beta", "2")
	w.create("a", targeting("t1"), withCredentials("alpha"), withScopes("create_payment_links"))
	w.run()
	w.create("b", targeting("t1"), withCredentials("beta"), withScopes("create_payment_links"), withPolicy(v1alpha1.DeletionPolicyRetain))
	w.run()
	w.expectConditions("a", good)
	w.expectConflict("b", "a")
	w.edit("a", targeting("t2"), withCredentials("beta"), withPolicy(v1alpha1.DeletionPolicyRetain))
	w.run()
	w.run() // t1 is free: its deletion wakes b
	w.expectConditions("a", good)
	w.expectConditions("b", good)
	w.expectLive("t1")
	w.expectLive("t2")
	if w.value("t1") != w.value("t2") {
		t.Error("two tokens of one source")
	}
	w.expectRequests(2)
}

func TestOfThreeRivalsOneWorksAlways(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("a", targeting("same"))
	w.create("b", targeting("same"), withScopes("read_payment_links"))
	w.create("c", targeting("same"), withScopes("create_payment_links"))
	w.run()
	w.expectConditions("a", good)
	w.expectConflict("b", "a")
	w.expectConflict("c", "a")
	w.expectRequests(1)
	w.delete(named("same")) // the Secret names none of them any more
	w.run()
	w.expectOneWorks("a", "b", "c")
	w.delete(w.token("a"))
	w.delete(named("same")) // as the garbage collector does
	w.reconcile("a")
	w.run()
	w.expectConditions("b", good)
	w.expectConflict("c", "b")
	w.pass(3 * time.Hour)
	w.expectLive("same")
	w.expectOneWorks("b", "c")
}

func TestOneOfTwoRivalsWorksWhenTheirSecretIsDeleted(t *testing.T) { // fault 1
	t.Parallel()
	w := withRivals(t, "one", "two")
	w.edit("a", targeting("two"))
	w.run()
	w.delete(named("two"))
	w.run()
	w.run()
	w.expectOneWorks("a", "b")
	w.expectLive("two")
	w.pass(3 * time.Hour)
	w.expectOneWorks("a", "b")
	w.expectLive("two")
}

func TestASecretOfAPayUTokenThatIsGoneIsForeignToOthers(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{}, targeting("same"), withPolicy(v1alpha1.DeletionPolicyRetain))
	w.delete(w.token("links"))
	w.reconcile("links")
	before := w.secret("same")
	w.create("other", targeting("same"))
	w.run()
	w.pass(3 * time.Hour)
	w.expectConditions("other", stalledBy("TargetConflict"))
	if message := w.messages("other"); !strings.Contains(message, `"links"`) {
		t.Errorf("the message does not name the PayUToken of the Secret: %s", message)
	}
	if w.secret("same").ResourceVersion != before.ResourceVersion {
		t.Error("the Secret was changed")
	}
	w.expectRequests(1)
}

func TestTwoThatSwapTheirTargetsKeepTheirTokens(t *testing.T) {
	t.Parallel()
	w := withRivals(t, "one", "two")
	w.edit("a", targeting("two"))
	w.edit("b", targeting("one"))
	w.run()
	w.pass(3 * time.Hour)
	w.expectLive("one")
	w.expectLive("two")
	w.edit("b", targeting("three"))
	w.run()
	w.run()
	w.expectConditions("a", good)
	w.expectConditions("b", good)
}

// TestAFormerTargetIsRenewedUntilTheNewOneHoldsAToken renames the target to one that cannot be written.
func TestAFormerTargetIsRenewedUntilTheNewOneHoldsAToken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		given  func(*world)
		reason string
		end    func(*world)
	}{
		"it is foreign": {func(w *world) { w.apply(foreign(w, "new")) }, "TargetConflict", func(w *world) { w.delete(named("new")) }},
		"it is refused": {func(w *world) {
			w.faults.set(nil, func(name string) error {
				if name == "new" {
					return errQuota
				}
				return nil
			})
		}, "TargetWriteFailed", func(w *world) { w.faults.set(nil, nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{}, targeting("old"))
			test.given(w)
			w.edit("links", targeting("new"))
			w.run()
			w.expectCondition("links", v1alpha1.ConditionReady, "False/"+test.reason)
			w.expectCondition("links", v1alpha1.ConditionStalled, "True/"+test.reason)
			w.pass(3 * time.Hour)
			w.expectLive("old")
			w.expectRequests(3)
			w.expectCondition("links", v1alpha1.ConditionStalled, "True/"+test.reason)
			test.end(w)
			w.run()
			w.pass(10 * time.Minute)
			w.expectConditions("links", good)
			w.expectLive("new")
			if w.secret("old") != nil {
				t.Error("the former target is still there")
			}
		})
	}
}

func TestADamagedFormerTargetIsRemoved(t *testing.T) { // fault 12
	t.Parallel()
	for name, damage := range map[string]func(*corev1.Secret){
		"its times":           func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationExpiresAt] = "x" },
		"its data":            func(s *corev1.Secret) { s.Data = nil },
		"all its annotations": func(s *corev1.Secret) { s.Annotations = nil },
		"all its labels":      func(s *corev1.Secret) { s.Labels = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{}, targeting("t1"))
			w.edit("links", withSuspend(true))
			w.run()
			w.change("t1", damage)
			w.restart() // nobody knows the token any more
			w.run()
			w.edit("links", targeting("t2"), withSuspend(false))
			w.run()
			w.pass(time.Hour)
			w.expectLive("t2")
			if w.secret("t1") != nil {
				t.Errorf("the former target is still there, with the token in it: %s", w.conditions("links"))
			}
		})
	}
}

func TestAFormerTargetThatCannotBeRemovedAtFirstIsRemovedLater(t *testing.T) { // fault 12
	t.Parallel()
	w := withLinks(t, payutest.Config{}, targeting("t1"))
	onDelete(w, errors.New("the API server is down"))
	w.edit("links", targeting("t2"))
	w.endure(time.Minute)
	w.restart()
	w.change("t1", func(s *corev1.Secret) { s.Data = nil })
	w.run()
	w.pass(10 * time.Minute)
	if w.secret("t1") != nil {
		t.Error("the former target is still there")
	}
	w.expectLive("t2")
	w.expectRequests(1)
}

// withRivals returns a world with the PayUTokens a, the elder, and b, of different sources.
func withRivals(t *testing.T, ofA, ofB v1alpha1.SecretName) *world {
	t.Helper()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("a", targeting(ofA))
	w.create("b", targeting(ofB), withScopes("read_payment_links"))
	w.run()
	w.expectConditions("a", good)
	w.expectConditions("b", good)
	return w
}

// expectConflict checks that a PayUToken waits for the target of another one, and names it.
func (w *world) expectConflict(name, owner string) {
	w.Helper()
	w.expectCondition(name, v1alpha1.ConditionReady, "False/TargetConflict")
	w.expectCondition(name, v1alpha1.ConditionStalled, "True/TargetConflict")
	if message := w.messages(name); !strings.Contains(message, `PayUToken "`+owner+`"`) {
		w.Errorf("the messages of %s do not name PayUToken %q: %s", name, owner, message)
	}
}

func (w *world) expectOneWorks(names ...string) {
	w.Helper()
	var working []string
	for _, name := range names {
		if w.conditions(name) == good {
			working = append(working, name)
		} else {
			w.expectCondition(name, v1alpha1.ConditionStalled, "True/TargetConflict")
		}
	}
	if len(working) != 1 {
		w.Errorf("of the rivals %q work %q, want one", names, working)
	}
}
