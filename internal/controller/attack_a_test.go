package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// deniedWith is what a webhook says that chooses the HTTP status of its answer, as controller-runtime's admission.Errored has it.
func deniedWith(code int32) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Message: `admission webhook "names.example.com" denied the request: no team is known by that name`,
	}}
}

// TestADenialOfAWebhookIsToldOfWhateverItsCodeIs: a webhook chooses the code of its answer.
func TestADenialOfAWebhookIsToldOfWhateverItsCodeIs(t *testing.T) {
	t.Parallel()
	for _, code := range []int32{401, 403, 404, 409, 422} {
		for name, alsoTrials := range map[string]bool{"dry run": true, "write": false} {
			t.Run(fmt.Sprint(name, " ", code), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, payutest.Config{})
				w.credentials("payu-credentials", "merchant", secretOne)
				tries := 0
				onWrite(w, func(_ *corev1.Secret, trial bool) error {
					if trial && !alsoTrials {
						return nil
					}
					tries++
					return deniedWith(code)
				})
				w.create("links")
				w.endure(30 * time.Second)
				w.expectConditions("links", stalledBy("TargetWriteFailed"))
				w.expectEvents("Warning TargetWriteFailed")
				if tries > 8 {
					t.Errorf("%d tries in 30 s", tries)
				}
				t.Log(w.messages("links"))
			})
		}
	}
}

// TestASuspendedPayUTokenThatIsRenamedLeavesNoOldSecret behind, since the new one holds the token.
func TestASuspendedPayUTokenThatIsRenamedLeavesNoOldSecret(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{}, targeting("t1"))
	w.edit("links", withSuspend(true))
	w.run()
	w.edit("links", targeting("t2"))
	w.run()
	w.pass(10 * time.Minute)
	w.expectLive("t2")
	w.expectConditions("links", aliveFailedBy("Suspended"))
	if w.secret("t1") != nil {
		t.Error("the former target is still there")
	}
	if got := w.token("links").Status.SecretName; got != "t2" {
		t.Errorf("secretName is %q", got)
	}
}

// TestNoTargetOfAChainOfRenamesIsForgotten: the first cannot be removed for a while.
func TestNoTargetOfAChainOfRenamesIsForgotten(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]v1alpha1.SecretName{"on": "t3", "back": "t1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{}, targeting("t1"))
			onDelete(w, forbid("t1", "deletions are not allowed at the weekend"))
			w.edit("links", targeting("t2"))
			w.endure(time.Minute)
			w.edit("links", targeting(last))
			w.endure(time.Minute)
			w.operator.Client = w.api
			w.endure(30 * time.Minute)
			w.expectConditions("links", good)
			w.expectLive(string(last))
			for _, former := range []string{"t1", "t2", "t3"} {
				if former != string(last) && w.secret(former) != nil {
					t.Errorf("former target %s is still there, with a token in it", former)
				}
			}
		})
	}
}

// restoreSecret has a user delete a Secret and create it from a backup: another field manager has all of it then.
func (w *world) restoreSecret(name string, change func(*corev1.Secret)) {
	w.Helper()
	backup := w.secret(name)
	w.delete(named(name))
	fresh := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.namespace, Name: name, Labels: backup.Labels, Annotations: backup.Annotations, OwnerReferences: backup.OwnerReferences,
	}, Type: backup.Type, Data: backup.Data}
	change(fresh)
	w.must(w.user.Create(w.ctx, fresh, client.FieldOwner("kubectl-create")))
}

func TestOwnerAndPolicyAgreeOfASecretThatWasCreatedFromABackup(t *testing.T) {
	t.Parallel()
	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionPolicyRetain, v1alpha1.DeletionPolicyDelete} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{}, withPolicy(opposite(policy)))
			w.restoreSecret("links", func(*corev1.Secret) {})
			w.run()
			w.edit("links", withPolicy(policy))
			w.run()
			w.pass(time.Minute)
			w.expectConditions("links", good)
			if owned := metav1.GetControllerOf(w.secret("links")) != nil; owned != (policy == v1alpha1.DeletionPolicyDelete) {
				t.Errorf("owned: %t", owned)
			}
		})
	}
}

// TestASecretThatWasCreatedAnewWithAnotherTypeIsRenewed: its seal says that it has the wanted type.
func TestASecretThatWasCreatedAnewWithAnotherTypeIsRenewed(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{}, withType("example.com/token"))
	w.restoreSecret("links", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque })
	w.run()
	w.pass(3 * time.Hour)
	w.expectLive("links")
	w.expectConditions("links", shapeRefused)
}

// TestTroubleWithTheShapeIsOnStalledAlone, be it refused or not answered, and whatever else there is.
func TestTroubleWithTheShapeIsOnStalledAlone(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]struct {
		begin func(*world)
		want  string
	}{
		"ready":     {func(*world) {}, good},
		"suspended": {func(w *world) { w.edit("links", withSuspend(true)) }, aliveFailedBy("Suspended")},
		"no credentials": {func(w *world) { w.delete(named("payu-credentials")) },
			aliveFailedBy("CredentialsNotFound")},
	} {
		for what, err := range map[string]error{"a webhook that is down": errWebhookDown, "no answer": errUnanswered, "a policy": errPolicy} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				w := withLinks(t, payutest.Config{})
				state.begin(w)
				w.run()
				w.events.take()
				onWrite(w, func(*corev1.Secret, bool) error { return err })
				w.edit("links", withPolicy(v1alpha1.DeletionPolicyRetain))
				w.endure(30 * time.Second)
				t.Log(w.conditions("links"), w.events.take(), w.messages("links"))
				if state.want == good {
					w.expectConditions("links", shapeRefused)
				} else if state.want == aliveFailedBy("Suspended") {
					w.expectConditions("links", state.want+" Stalled=True/TargetWriteFailed")
				}
				w.operator.Client = w.api
				w.endure(6 * time.Minute)
				if metav1.GetControllerOf(w.secret("links")) != nil {
					t.Error("still owned")
				}
			})
		}
	}
}

// onMutate has a mutating webhook change each Secret that the operator applies.
func onMutate(w *world, mutate func(*corev1.Secret)) (writes *int) {
	writes = new(int)
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			secret := &corev1.Secret{}
			data, err := patch.Data(o)
			if err := errors.Join(err, json.Unmarshal(data, secret)); err != nil {
				return err
			}
			mutate(secret)
			whole, err := json.Marshal(secret)
			if err != nil {
				return err
			}
			*writes++
			return c.Patch(ctx, o, client.RawPatch(patch.Type(), whole), options...)
		},
	})
	return writes
}

// TestAMutatingWebhookThatTakesALabelAwayIsAFightOverTheShape and no more.
func TestAMutatingWebhookThatTakesALabelAwayIsAFightOverTheShape(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	writes := onMutate(w, func(s *corev1.Secret) { delete(s.Labels, "team") })
	w.edit("links", withLabel("team", "shop"))
	w.run()
	w.expectConditions("links", shapeFought)
	w.expectEvents("Normal Repaired", "Warning TargetConflict")
	w.pass(30 * time.Minute)
	if *writes > 8 {
		t.Errorf("%d writes", *writes)
	}
}

func TestAMutatingWebhookThatChangesTheDataOfANewTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	writes := onMutate(w, func(s *corev1.Secret) {
		if s.Data != nil {
			s.Data = maps.Clone(s.Data)
			s.Data["access_token"] = []byte("vault:secret/data/payu")
		}
	})
	w.create("links")
	w.run()
	t.Log(w.conditions("links"), w.events.take(), *writes, w.messages("links"))
	w.pass(10 * time.Minute)
	t.Log(w.conditions("links"), w.events.take(), *writes, w.messages("links"))
	w.pass(10 * time.Hour)
	t.Log(w.conditions("links"), w.events.take(), *writes, w.requests())
}

// conflicted returns a world whose PayUToken has the former target "old" and waits for the foreign Secret "new".
func conflicted(t *testing.T, config payutest.Config, edits ...edit) *world {
	w := withLinks(t, config, append(edits, targeting("old"))...)
	w.apply(foreign(w, "new"))
	w.edit("links", targeting("new"))
	w.run()
	w.expectCondition("links", v1alpha1.ConditionStalled, "True/TargetConflict")
	w.events.take()
	return w
}

// expectFormerOwned checks that a former target goes with its PayUToken as the policy says.
func (w *world) expectFormerOwned(name string, policy v1alpha1.DeletionPolicy) {
	w.Helper()
	if owned := metav1.GetControllerOf(w.secret(name)) != nil; owned != (policy == v1alpha1.DeletionPolicyDelete) {
		w.Errorf("with deletionPolicy %s the former target is owned: %t", policy, owned)
	}
}

func TestOwnerAndPolicyOfAFormerTargetAgree(t *testing.T) {
	t.Parallel()
	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionPolicyRetain, v1alpha1.DeletionPolicyDelete} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := conflicted(t, payutest.Config{}, withPolicy(opposite(policy)))
			w.edit("links", withPolicy(policy))
			w.run()
			w.pass(time.Minute)
			w.expectFormerOwned("old", policy)
		})
	}
}

func TestAFightOverAFormerTargetEnds(t *testing.T) {
	t.Parallel()
	w := conflicted(t, payutest.Config{})
	undone := 0
	for range 20 {
		w.change("old", func(s *corev1.Secret) { s.Data["access_token"] = []byte("theirs") })
		w.run()
		if w.value("old") != "theirs" {
			undone++
		}
	}
	if undone > 6 { // the first writes the token for the new spec
		t.Errorf("the operator has undone %d changes", undone)
	}
}

// TestAFormerTargetIsTriedAgainSoon: one answer 500 does not end the token that pods use.
func TestAFormerTargetIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"500": errWebhookDown, "a policy": errPolicy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := conflicted(t, payutest.Config{TokenTTL: 10 * time.Minute})
			bad := true
			onWrite(w, func(*corev1.Secret, bool) error {
				if bad {
					return err
				}
				return nil
			})
			w.pass(7 * time.Minute) // the renewal
			w.expectRequests(1)
			bad = false
			w.pass(time.Minute)
			w.expectRequests(2)
			w.pass(90 * time.Second)
			w.expectLive("old")
		})
	}
}

// TestARefusedRemovalIsNotRepeatedAllTheTime: a person must act first.
func TestARefusedRemovalIsNotRepeatedAllTheTime(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{}, targeting("t1"))
	tries := 0
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error {
			tries++
			return forbid("t1", "no")
		},
	})
	w.edit("links", targeting("t2"))
	w.endure(time.Hour)
	if tries > 20 {
		t.Errorf("%d deletions in an hour", tries)
	}
}

// TestAWebhookThatIsDownIsNotTheTypesFault: the API server refuses the new type before it calls the webhook.
func TestAWebhookThatIsDownIsNotTheTypesFault(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.edit("links", withType("example.com/token"))
	w.run()
	w.expectConditions("links", shapeRefused)
	onWrite(w, func(s *corev1.Secret, _ bool) error {
		if s.Type == corev1.SecretTypeOpaque {
			return errWebhookDown
		}
		return nil
	})
	w.endure(90 * time.Minute)
	w.expectCondition("links", v1alpha1.ConditionRefreshed, "False/TargetWriteFailed")
	t.Log(w.messages("links"))
	for _, c := range w.token("links").Status.Conditions {
		if c.Type == v1alpha1.ConditionRefreshed && !strings.Contains(c.Message, "webhook") {
			t.Errorf("Refreshed does not name the webhook: %s", c.Message)
		}
	}
	w.expectRequests(1)
}

// TestEachTokenThatIsWrittenHasAnEvent, also if it goes to a former target, or the status is written at the second attempt.
func TestEachTokenThatIsWrittenHasAnEvent(t *testing.T) {
	t.Parallel()
	t.Run("a former target", func(t *testing.T) {
		w := conflicted(t, payutest.Config{})
		w.pass(90 * time.Minute)
		w.expectRequests(2)
		w.expectEvents("Normal Refreshed")
	})
	t.Run("a status that fails", func(t *testing.T) {
		w := withLinks(t, payutest.Config{})
		w.faults.status(errTimeout)
		w.tick(90 * time.Minute)
		w.endure(5 * time.Second)
		w.faults.status(nil)
		w.endure(time.Minute)
		w.expectRequests(2)
		w.expectEvents("Normal Refreshed")
	})
}

// TestKeysOfAFormerTemplateAreRemovedAtTheSecondAttempt, after a backup tool has taken them over.
func TestKeysOfAFormerTemplateAreRemovedAtTheSecondAttempt(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.restoreSecret("links", func(*corev1.Secret) {})
	w.run()
	down := true
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if down && patch.Type() == types.MergePatchType {
				return errWebhookDown
			}
			return c.Patch(ctx, o, patch, options...)
		},
	})
	w.edit("links", withData("token", "{{ .AccessToken }}"))
	w.endure(30 * time.Second)
	t.Log(w.conditions("links"))
	down = false
	w.endure(10 * time.Minute)
	if w.secret("links").Data["access_token"] != nil {
		t.Errorf("a key of the former template is still there (%s)", w.conditions("links"))
	}
}

// TestNothingOfAFormerTroubleStaysWhileTheFirstTokenIsPending.
func TestNothingOfAFormerTroubleStaysWhileTheFirstTokenIsPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links", withData("x", "{{ .Nothing }}"))
	w.run()
	w.expectConditions("links", stalledBy("TemplateInvalid"))
	w.restart()
	w.create("other")
	w.operator.begin(w.queue()) // waits for other
	w.edit("links", withData("x", "{{ .AccessToken }}"))
	w.look("links")
	w.tick(4 * time.Second)
	w.look("links")
	t.Log(w.conditions("links"))
	if got := w.condition("links", v1alpha1.ConditionRefreshed); got == "False/TemplateInvalid" {
		t.Errorf("Refreshed is %s", got)
	}
}

// TestAStatusThatAWebhookDeniesIsAnErrorOfThePass, also with the code 404, and no event is repeated.
func TestAStatusThatAWebhookDeniesIsAnErrorOfThePass(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.create("links") // without credentials
	w.faults.status(deniedWith(404))
	for range 3 {
		if _, err := w.look("links"); err == nil {
			t.Error("a pass whose status was not written has no error")
		}
	}
	w.expectEvents()
}
