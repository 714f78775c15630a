package controller

import (
	"context"
	"fmt"
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

// TestADenialThatSpeaksOfANamespaceIsToldOf: a webhook hands on, as its answer, what the API server said of another namespace that
// it looked for. That does not mean that the PayUToken's own namespace is gone.
func TestADenialThatSpeaksOfANamespaceIsToldOf(t *testing.T) {
	t.Parallel()
	notFound, terminating := deniedWith(404).(*apierrors.StatusError), deniedWith(403).(*apierrors.StatusError) //nolint:errorlint // as they were made
	notFound.ErrStatus.Details = &metav1.StatusDetails{Kind: "namespaces", Name: "teams"}
	terminating.ErrStatus.Details = &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}}
	for name, err := range map[string]error{"not found": notFound, "terminating": terminating} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{})
			w.credentials("payu-credentials", "merchant", secretOne)
			onWrite(w, func(*corev1.Secret, bool) error { return err })
			w.create("links")
			w.endure(30 * time.Second)
			w.expectConditions("links", stalledBy("TargetWriteFailed"))
			w.expectEvents("Warning TargetWriteFailed")
		})
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

// TestAConflictIsNoFailure: somebody has changed a Secret at the same moment, or the cache is a moment behind. That is no
// trouble to tell of, and Conflict is no reason of a condition.
func TestAConflictIsNoFailure(t *testing.T) {
	t.Parallel()
	touch := func(w *world, name string) {
		w.change(name, func(s *corev1.Secret) { metav1.SetMetaDataLabel(&s.ObjectMeta, "touched", "yes") })
	}
	for name, test := range map[string]struct {
		edit  edit
		fault func(w *world)
	}{
		"a former target is removed": {targeting("other"), func(w *world) {
			once := false
			w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
				Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
					if !once {
						once = true
						touch(w, o.GetName())
					}
					return c.Delete(ctx, o, options...)
				},
			})
		}},
		"a key of a former template is removed": {withData("token", "{{ .AccessToken }}"), func(w *world) {
			merges := 0
			w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
				Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
					if patch.Type() == types.MergePatchType {
						switch merges++; merges {
						case 1:
							return errTimeout
						case 2:
							touch(w, o.GetName())
						}
					}
					return c.Patch(ctx, o, patch, options...)
				},
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			w.restoreSecret("links", func(*corev1.Secret) {})
			w.run()
			w.events.take()
			test.fault(w)
			w.edit("links", test.edit)
			for i := range 6 {
				w.look("links")
				await(w)
				told := w.conditions("links")
				if i == 0 && strings.HasPrefix(name, "a key") {
					w.events.take() // that of the request without an answer
				} else if strings.Contains(told, "Conflict") || strings.Contains(told, "TargetWriteFailed") && !strings.HasPrefix(name, "a key") {
					t.Errorf("pass %d: %s, %s", i, told, w.messages("links"))
				}
				w.tick(time.Second)
			}
			for _, event := range w.events.take() {
				if strings.HasPrefix(event, "Warning") {
					t.Errorf("event %s", event)
				}
			}
		})
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

// ---- Ready

// TestReadyIsFalseAfterAPassThatOutlivesTheToken: the pass began before the end, and waited for an API server that hangs.
func TestReadyIsFalseAfterAPassThatOutlivesTheToken(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.tick(2*time.Hour - time.Second)
	onWrite(w, func(*corev1.Secret, bool) error {
		w.tick(13 * time.Second)
		return errUnanswered
	})
	w.look("links")
	if late := w.clock.Now().Sub(start.Add(2 * time.Hour)); late > 10*time.Second {
		w.expectCondition("links", v1alpha1.ConditionReady, "False/TargetWriteFailed")
	}
}
