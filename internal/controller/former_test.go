package controller

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

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

// TestOwnerAndPolicyOfAFormerTargetAgreeInEveryState: the new target holds no token yet, for other reasons than a conflict.
// With Retain the token that pods use goes with the PayUToken.
func TestOwnerAndPolicyOfAFormerTargetAgreeInEveryState(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*world){
		"no credentials":    func(w *world) { w.delete(named("payu-credentials")) },
		"a broken template": func(w *world) { w.edit("links", withData("k", "{{ .Nothing }}")) },
		"wrong credentials": func(w *world) { w.credentials("payu-credentials", "merchant", "wrong") },
		"suspended": func(w *world) {
			w.edit("links", withSuspend(true))
			w.pass(3 * time.Hour)
		},
	} {
		for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionPolicyRetain, v1alpha1.DeletionPolicyDelete} {
			t.Run(fmt.Sprint(name, ", ", policy), func(t *testing.T) {
				t.Parallel()
				w := withLinks(t, payutest.Config{}, withPolicy(opposite(policy)), targeting("old"))
				begin(w)
				w.edit("links", targeting("new"))
				w.run()
				if w.secret("new") != nil || w.token("links").Status.SecretName != "old" {
					t.Fatalf("the test needs a former target: %s", w.conditions("links"))
				}
				w.edit("links", withPolicy(policy))
				w.run()
				w.pass(time.Minute)
				w.expectFormerOwned("old", policy)
			})
		}
	}
}

// TestOwnerAndPolicyOfAFormerTargetAgreeAfterABlip: one answer 500, and seconds later all is well again.
func TestOwnerAndPolicyOfAFormerTargetAgreeAfterABlip(t *testing.T) {
	t.Parallel()
	w := conflicted(t, payutest.Config{})
	blips := 0
	onWrite(w, func(*corev1.Secret, bool) error {
		if blips++; blips == 1 {
			return errEtcd
		}
		return nil
	})
	w.edit("links", withPolicy(v1alpha1.DeletionPolicyRetain))
	w.endure(time.Minute)
	if blips == 0 {
		t.Fatal("the test needs a write that fails")
	}
	if metav1.GetControllerOf(w.secret("old")) != nil {
		t.Error("with deletionPolicy Retain the former target is owned a minute later")
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

// ---- former targets

// TestAFormerTargetIsKnownThoughTheStatusDoesNotNameIt: the status was not written, or the process has ended, before the name
// changed. Nobody renews such a Secret, nobody removes it, and no other PayUToken can have it.
func TestAFormerTargetIsKnownThoughTheStatusDoesNotNameIt(t *testing.T) {
	t.Parallel()
	for name, story := range map[string]func(*testing.T) (*world, []string){
		"the status could not be written": func(t *testing.T) (*world, []string) {
			w := newWorld(t, payutest.Config{})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.create("links", targeting("t1"))
			w.faults.status(errTimeout)
			w.endure(10 * time.Second)
			w.faults.status(nil)
			w.edit("links", targeting("t2"))
			return w, []string{"t1"}
		},
		"a chain, and a restart": func(t *testing.T) (*world, []string) {
			w := withLinks(t, payutest.Config{}, targeting("t1"))
			onDelete(w, forbid("t1", "not at the weekend"))
			w.edit("links", targeting("t2"))
			w.endure(time.Minute)
			w.restart()
			w.edit("links", targeting("t3"))
			return w, []string{"t1", "t2"}
		},
		"a crash before the removal, and the name is taken back": func(t *testing.T) (*world, []string) {
			w := withLinks(t, payutest.Config{}, targeting("t1"))
			onDelete(w, errEtcd)
			w.faults.status(errEtcd)
			w.edit("links", targeting("t2"))
			w.endure(time.Second)
			w.faults.status(nil)
			w.restart()
			w.edit("links", targeting("t1"))
			return w, []string{"t2"}
		},
		"the cache is a moment behind": func(t *testing.T) (*world, []string) {
			w := withLinks(t, payutest.Config{}, targeting("t1"))
			w.edit("links", targeting("t2"))
			hideFromCache(w, "t1")
			w.operator.Others = interceptor.NewClient(w.operator.Client.(client.WithWatch), interceptor.Funcs{
				Get: func(_ context.Context, _ client.WithWatch, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
					return notFound(key.Name)
				},
			})
			w.look("links")
			w.operator.Client, w.operator.Others = w.api, w.api
			return w, []string{"t1"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, former := story(t)
			w.endure(time.Hour)
			w.expectConditions("links", good)
			for _, secret := range former {
				if w.secret(secret) != nil {
					t.Errorf("former target %s is still there, with a token in it", secret)
				}
			}
			w.create("heir", targeting(v1alpha1.SecretName(former[0])))
			w.endure(time.Minute)
			w.expectConditions("heir", good)
		})
	}
}

// TestAFormerTargetThatCannotBeReadIsToldOf: it stays, with a token in it, and nothing else says so. It is read again soon.
func TestAFormerTargetThatCannotBeReadIsToldOf(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{}, targeting("t1"))
	hideFromCache(w, "t1") // as it is without its label
	onRead(w, func(name string) error {
		if name == "t1" {
			return errEtcd
		}
		return nil
	})
	w.edit("links", targeting("t2"))
	w.endure(30 * time.Second)
	w.expectConditions("links", aliveFailedBy("TargetWriteFailed"))
	readThrough(w, w.api)
	w.endure(time.Minute)
	if w.secret("t1") != nil {
		t.Error("a minute later the former target is still there")
	}
}

// TestAFormerTargetWhoseRemovalIsDeniedIsNotForgotten: a webhook chooses the code of its answer, and 404 is one.
func TestAFormerTargetWhoseRemovalIsDeniedIsNotForgotten(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{}, targeting("t1"))
	onDelete(w, deniedWith(404))
	w.edit("links", targeting("t2"))
	w.endure(30 * time.Second)
	w.expectCondition("links", v1alpha1.ConditionStalled, "True/TargetWriteFailed")
	w.operator.Client = w.api
	w.endure(30 * time.Minute)
	if w.secret("t1") != nil {
		t.Errorf("the former target is still there, and the status names %q", w.token("links").Status.SecretName)
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
