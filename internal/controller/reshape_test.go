package controller

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

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

// ---- shape and data

// TestAWebhookThatIsDownForTheNewShapeDoesNotKeepTheDataFromBeingRenewed: its objectSelector takes only Secrets with a new label,
// so that only the new shape meets it.
func TestAWebhookThatIsDownForTheNewShapeDoesNotKeepTheDataFromBeingRenewed(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"down": errWebhookDown, "no answer": errUnanswered} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			onWrite(w, func(s *corev1.Secret, _ bool) error {
				if s.Labels["team"] != "" {
					return err
				}
				return nil
			})
			w.edit("links", withLabel("team", "shop"))
			w.endure(3 * time.Hour)
			w.expectLive("links")
			w.expectConditions("links", shapeRefused)
		})
	}
}

// TestOwnerAndPolicyAgreeWhileAWebhookIsDownForTheNewShape: the owner could be put right by itself, as where the shape is refused.
func TestOwnerAndPolicyAgreeWhileAWebhookIsDownForTheNewShape(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	onWrite(w, func(s *corev1.Secret, _ bool) error {
		if s.Labels["team"] != "" {
			return errWebhookDown
		}
		return nil
	})
	w.edit("links", withLabel("team", "shop"), func(p *v1alpha1.PayUToken) { p.Spec.Target.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
	w.endure(time.Minute)
	if metav1.GetControllerOf(w.secret("links")) != nil {
		t.Error("with deletionPolicy Retain the Secret is owned a minute later")
	}
}

// TestNoOwnerReferenceStaysWithRetain, also one that is not the controller's: the garbage collector does not ask for that.
func TestNoOwnerReferenceStaysWithRetain(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{}, withPolicy(v1alpha1.DeletionPolicyRetain))
	owner := w.token("links")
	w.change("links", func(s *corev1.Secret) {
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "auth.payu.in/v1alpha1", Kind: "PayUToken", Name: "links", UID: owner.UID}}
	})
	w.run()
	w.pass(time.Minute)
	if owners := w.secret("links").OwnerReferences; len(owners) > 0 {
		t.Errorf("the retained Secret goes with its PayUToken: %v", owners)
	}
}

// TestAStaleCacheIsNoSixthEdit: five edits of somebody else's were undone, and then the cache is a moment behind.
func TestAStaleCacheIsNoSixthEdit(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	var edited *corev1.Secret
	for range mostRepairs {
		w.change("links", func(s *corev1.Secret) { s.Data["access_token"] = []byte("theirs") })
		edited = w.secret("links")
		w.run()
		w.tick(time.Second)
	}
	w.expectConditions("links", good)
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if into, ok := o.(*corev1.Secret); ok && key.Name == "links" {
				edited.DeepCopyInto(into)
				return nil
			}
			return c.Get(ctx, key, o, options...)
		},
	})
	w.look("links")
	w.operator.Client = w.api
	w.run()
	w.expectConditions("links", good)
}

// ---- what is said

// TestTheOwnerOfATargetMayBeInAnotherShard: --watch-label-selector hides it from this operator, and the advice to delete its
// Secret would end a token in use.
func TestTheOwnerOfATargetMayBeInAnotherShard(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{}, targeting("same"))
	w.create("other", targeting("same"), withScopes("read_payment_links"))
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if _, ok := o.(*v1alpha1.PayUToken); ok && key.Name == "links" {
				return notFound(key.Name)
			}
			return c.Get(ctx, key, o, options...)
		},
	})
	w.operator.references = newReferences()
	w.operator.references.replace(nil, w.token("other"))
	_, err := w.operator.Reconcile(w.ctx, requestFor(w, "other"))
	w.must(err)
	w.expectCondition("other", v1alpha1.ConditionStalled, "True/TargetConflict")
	if said := w.messages("other"); strings.Contains(said, "does not exist") {
		t.Errorf("PayUToken links exists: %s", said)
	}
}
