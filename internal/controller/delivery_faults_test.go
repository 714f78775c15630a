package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// newUnfencedWorld returns a world whose operator may change all of a pod.
func newUnfencedWorld(t *testing.T) (*world, *podFaults) {
	t.Helper()
	w := newPodWorld(t)
	faults := &podFaults{clock: w.clock}
	w.pods = faults.wrap(w.unfenced())
	w.restart()
	return w, faults
}

// aMinuteLater ends the patience of deliveries that were tried in vain.
func (w *world) aMinuteLater() {
	w.Helper()
	w.clock.SetTime(w.clock.Now().Add(deliveryPatience + time.Second))
	w.operator.Deliveries.serve(w.ctx, w.namespace)
	w.run()
}

// denyPods has a policy of somebody else's deny each update of a pod of the namespace for which an expression is not true.
func (w *world) denyPods(t *testing.T, expression string) {
	t.Helper()
	name := "other-" + w.namespace
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: podUpdates}}},
		Validations:      []admissionv1.Validation{{Expression: expression, Message: "refused by another policy"}}}}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: name, ValidationActions: []admissionv1.ValidationAction{"Deny"},
		MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}}}}}
	for _, o := range []client.Object{policy, binding} {
		w.must(cluster.Client.Create(w.ctx, o))
		t.Cleanup(func() { _ = cluster.Client.Delete(context.Background(), o) })
	}
}

var podUpdates = admissionv1.RuleWithOperations{Operations: []admissionv1.OperationType{"UPDATE"},
	Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}}}

// guardPods has a webhook that is down judge the updates of pods with a label.
func (w *world) guardPods(t *testing.T) {
	t.Helper()
	hook := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "guard-" + w.namespace}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: "pods.example.com", ClientConfig: admissionv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/down")},
		ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"guarded": w.namespace}},
		SideEffects:    ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: ptr.To[int32](2),
		Rules: []admissionv1.RuleWithOperations{podUpdates}}}}
	w.must(cluster.Client.Create(w.ctx, hook))
	t.Cleanup(func() { _ = cluster.Client.Delete(context.Background(), hook) })
}

func TestTheRefusalOfAnotherPolicyIsNoFence(t *testing.T) {
	t.Parallel()
	w, _ := newUnfencedWorld(t)
	w.denyPods(t, "object.metadata.?labels['team'].hasValue()")
	w.pod("mounts", mounting("links"), func(p *corev1.Pod) { p.Labels = map[string]string{"team": "shop"} })
	w.pod("z-older-than-the-policy")
	w.await("the other policy", func(ctx context.Context) error {
		if err := annotate(ctx, w.user, w.namespace, "z-older-than-the-policy", "x", "y", client.DryRunAll); !isPolicyDenial(err) {
			return fmt.Errorf("it is not in force: %w", err)
		}
		return nil
	})
	w.must(annotate(w.ctx, w.pods, w.namespace, "mounts", "x", "y", client.DryRunAll)) // the operator may do what it should not
	w.create("links", prompt)
	w.run()
	w.expectDelivered("links", "False/DeliveryUnfenced")
	if w.told("mounts") != "" {
		t.Errorf("patched %q without a fence", w.told("mounts"))
	}
}

func TestPodsThatDoNotShowTheFenceAreNotTold(t *testing.T) {
	t.Parallel()
	w, _ := newUnfencedWorld(t)
	w.denyPods(t, "object.metadata.name == 'last' || !has(object.metadata.annotations)")
	for i := range fenceTries + 1 {
		w.pod(fmt.Sprint("first-", i), mounting("links"))
	}
	w.pod("last", mounting("links"))
	w.await("the other policy", func(ctx context.Context) error {
		if err := annotate(ctx, w.user, w.namespace, "first-0", "x", "y", client.DryRunAll); !isPolicyDenial(err) {
			return fmt.Errorf("it is not in force: %w", err)
		}
		return nil
	})
	w.create("links", prompt)
	w.run()
	if told := w.told("last"); told != "" {
		t.Errorf("a pod was told at %s, and no pod has shown the fence", told)
	}
	w.operator.Deliveries.serve(w.ctx, w.namespace) // the next attempt begins with others
	w.run()
	w.expectDelivered("links", "False/DeliveryUnfenced")
}

func TestAPodThatIsFullKeepsNoOtherFromBeingTold(t *testing.T) {
	t.Parallel()
	w, _ := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	w.pod("z-full", func(p *corev1.Pod) {
		p.Annotations = map[string]string{"full": strings.Repeat("x", 256*1024-4)}
	})
	w.create("links", prompt)
	w.run()
	w.aMinuteLater()
	w.expectDelivered("links", "True/PodsTold")
	if w.told("mounts") == "" {
		t.Error("the pod that mounts was not told")
	}
}

func TestALookThatFailedIsNoDelivery(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	w.create("links", prompt)
	w.run()
	w.expectDelivered("links", "True/PodsTold")
	w.clock.SetTime(w.clock.Now().Add(5 * time.Minute)) // the token is old: nothing is to be told
	w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Suspend = true })
	w.restart()
	faults.set(func() error { return apierrors.NewServiceUnavailable("etcd is down") }, nil)
	w.run()
	w.aMinuteLater()
	faults.set(nil, nil)
	w.pass(24 * time.Hour)
	w.expectDelivered("links", "True/PodsTold")
	if n := w.podsCounted(podFailed); n > 0 {
		t.Errorf("%v pods are counted as failed, none was to be told", n)
	}
}

func TestAPodThatIsGoneIsNotMissed(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	w.pod("a", mounting("links"))
	w.pod("b", mounting("links"))
	w.create("links", prompt)
	w.run()
	faults.set(nil, func(pod string) error {
		if pod == "a" {
			return apierrors.NewConflict(corev1.Resource("pods"), pod, fmt.Errorf("changed"))
		}
		return apierrors.NewServiceUnavailable("later")
	})
	w.renew("links")
	w.must(w.user.Delete(w.ctx, &corev1.Pod{ObjectMeta: w.meta("a")}, client.GracePeriodSeconds(0)))
	faults.set(nil, nil)
	before := w.told("b")
	w.operator.Deliveries.serve(w.ctx, w.namespace)
	w.run()
	if w.told("b") == before {
		t.Fatal("b was not told")
	}
	w.expectDelivered("links", "True/PodsTold")
}

func TestAPageThatFailsCountsNoPods(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	for i := range 510 {
		w.pod(fmt.Sprintf("pod-%03d", i), mounting("links"))
	}
	page := 0
	w.create("links", prompt)
	faults.set(func() error {
		if page++; page%2 == 0 {
			return apierrors.NewResourceExpired("the continue token is too old")
		}
		return nil
	}, nil)
	w.run()
	w.aMinuteLater()
	w.expectDelivered("links", "False/DeliveryFailed")
	if message := w.message("links", v1alpha1.ConditionDelivered); !strings.HasPrefix(message, "The pods that mount") {
		t.Errorf("not all pods were seen, and it says %q", message)
	}
}

func TestPodsThatHangComeLast(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	for i := range podsAtOnce {
		w.pod(fmt.Sprintf("a-hangs-%d", i), mounting("links"))
	}
	w.pod("z-answers", mounting("links"))
	w.create("links", prompt)
	w.run()
	before := w.told("z-answers")
	var attempt context.Context
	faults.set(nil, func(pod string) error {
		if ctx := attempt; strings.HasPrefix(pod, "a-hangs") {
			faults.mu.Unlock()
			defer faults.mu.Lock()
			<-ctx.Done() // as a webhook of 30 s does to each; 10 s take four rounds of these
			return ctx.Err()
		}
		return nil
	})
	w.clock.SetTime(w.clock.Now().Add(6 * time.Second))
	d := w.operator.Deliveries
	d.add(notice{payUToken: types.NamespacedName{Namespace: w.namespace, Name: "links"}, uid: w.token("links").UID, secret: "links", tell: true})
	for range 3 {
		ctx, cancel := context.WithTimeout(w.ctx, time.Second) // stands for the 30 s of attemptTimeout
		attempt = ctx
		d.serve(ctx, w.namespace)
		cancel()
		w.clock.SetTime(w.clock.Now().Add(20 * time.Second))
	}
	if w.told("z-answers") == before {
		t.Error("a pod whose patch works was not told in three attempts")
	}
}

func TestAListThatHangsIsCutOff(t *testing.T) {
	t.Parallel()
	w, _ := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	stuck, err := cluster.Namespace(w.ctx)
	w.must(err)
	hanging, d := make(chan struct{}, 100), w.operator.Deliveries
	d.live = interceptor.NewClient(w.pods, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			if slices.Contains(options, client.ListOption(client.InNamespace(stuck))) {
				hanging <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
			return c.List(ctx, list, options...)
		}})
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Start(ctx) }()
	for _, namespace := range []string{stuck, w.namespace} {
		d.setSafe(namespace, true)
		d.add(notice{payUToken: types.NamespacedName{Namespace: namespace, Name: "links"}, secret: "links", tell: true})
		if namespace == stuck {
			<-hanging
		}
	}
	w.await("the pod of another namespace is told", func(context.Context) error {
		if w.told("mounts") == "" {
			return errors.New("it is not")
		}
		return nil
	})
	stop()
	w.must(<-ended)
}

func TestNamespacesThatNeedNoDeliveryAreForgotten(t *testing.T) {
	t.Parallel()
	w, _ := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	w.create("links", prompt)
	w.run()
	w.delete(w.token("links"))
	w.reconcile("links")
	w.clock.SetTime(w.clock.Now().Add(time.Hour))
	w.operator.Deliveries.setSafe("another", true)
	if safe := w.operator.Deliveries.safe; len(safe) != 1 {
		t.Errorf("%v is kept after all PayUTokens are gone, and it has run out", safe)
	}
}

func TestALookReadsOnePageOfPods(t *testing.T) {
	t.Parallel()
	w, faults := newUnfencedWorld(t)
	for i := range 1010 {
		w.pod(fmt.Sprintf("pod-%04d", i))
	}
	w.create("links", prompt)
	w.run()
	faults.take()
	w.pass(10 * time.Minute)
	if faults.lists > 12 {
		t.Errorf("%d pages of pods in 10 minutes in which nothing was written", faults.lists)
	}
}

func TestAPodThatAnAdmissionPluginForbidsIsNoMissingRight(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	for _, pod := range []string{"a", "b", "c"} {
		w.pod(pod, mounting("links"))
	}
	w.create("links", prompt)
	w.run()
	faults.set(nil, func(pod string) error {
		if pod == "b" {
			return apierrors.NewForbidden(corev1.Resource("pods"), pod, fmt.Errorf("unable to validate against any security context constraint"))
		}
		return nil
	})
	w.renew("links")
	w.expectDelivered("links", "False/DeliveryFailed")
	w.pass(25 * time.Minute)
	if w.condition("links", v1alpha1.ConditionDelivered) == "True/PodsTold" {
		t.Error("b was never told of the token, and it says PodsTold")
	}
}

func TestAClockThatStepsBackLosesNoNotice(t *testing.T) {
	t.Parallel()
	w, _ := newPromptWorld(t)
	w.pod("mounts-both", mounting("links", "payouts"))
	w.create("links", prompt)
	w.run()
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	w.must(annotate(w.ctx, w.pods, w.namespace, "mounts-both", v1alpha1.AnnotationTokenWrittenAt, w.clock.Now().Format(writtenAtLayout))) // of payouts
	before := w.told("mounts-both")
	w.clock.SetTime(w.clock.Now().Add(-time.Second)) // NTP, or a new leader on a node whose clock is a second behind
	d := w.operator.Deliveries
	d.add(notice{payUToken: types.NamespacedName{Namespace: w.namespace, Name: "links"}, uid: w.token("links").UID, secret: "links", tell: true})
	w.clock.SetTime(w.clock.Now().Add(1100 * time.Millisecond)) // lists of other namespaces come first
	d.serve(w.ctx, w.namespace)
	if w.told("mounts-both") == before {
		t.Error("the pod was not told of links")
	}
}

func TestANamespaceThatNothingWaitsForIsNotLookedAt(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	w.create("links", prompt)
	w.run()
	name := types.NamespacedName{Namespace: w.namespace, Name: "links"}
	w.operator.Deliveries.add(notice{payUToken: name, secret: "links", tell: true})
	w.operator.Deliveries.forget(name)
	faults.take()
	w.clock.SetTime(w.clock.Now().Add(2 * time.Minute))
	w.operator.Deliveries.serve(w.ctx, w.namespace)
	if faults.lists+faults.reviews > 0 {
		t.Errorf("%d lists and %d reviews, and nobody waits", faults.lists, faults.reviews)
	}
}

func TestAWebhookThatIsDownForOnePodKeepsNoOtherFromBeingTold(t *testing.T) {
	t.Parallel()
	w, _ := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	w.pod("z-guarded", func(p *corev1.Pod) { p.Labels = map[string]string{"guarded": w.namespace} })
	w.guardPods(t)
	w.await("the webhook", func(ctx context.Context) error {
		if err := annotate(ctx, w.user, w.namespace, "z-guarded", "x", "y", client.DryRunAll); !apierrors.IsInternalError(err) {
			return fmt.Errorf("it is not in force: %w", err)
		}
		return nil
	})
	w.create("links", prompt)
	w.run()
	w.aMinuteLater()
	w.expectDelivered("links", "True/PodsTold")
	if w.told("mounts") == "" {
		t.Error("the pod that mounts was not told")
	}
}

func TestAMissingRightIsLookedForEachMinute(t *testing.T) {
	t.Parallel()
	w, faults := newUnfencedWorld(t)
	w.pod("mounts", mounting("links"))
	w.create("links", prompt)
	w.run()
	w.pass(150 * time.Second)
	w.expectDelivered("links", "False/DeliveryUnfenced")
	behind := faults.wrap(w.fenced())
	w.operator.Deliveries.client, w.operator.Deliveries.live = behind, behind
	faults.take()
	for minutes := 1; minutes <= 12; minutes++ {
		if w.pass(time.Minute); w.condition("links", v1alpha1.ConditionDelivered) == "True/PodsTold" {
			if minutes > 2 {
				t.Errorf("the fence that was put up was seen after %d minutes", minutes)
			}
			return
		}
	}
	t.Errorf("the fence that was put up is not seen after 12 minutes: %s", w.condition("links", v1alpha1.ConditionDelivered))
}

func TestAWebhookThatIsDownForTheFirstPodKeepsNoOtherFromBeingTold(t *testing.T) {
	t.Parallel()
	w, _ := newPromptWorld(t)
	w.pod("a-guarded", mounting("links"), func(p *corev1.Pod) { p.Labels = map[string]string{"guarded": w.namespace} })
	w.pod("z-mounts", mounting("links"))
	w.guardPods(t)
	w.await("the webhook", func(ctx context.Context) error {
		if err := annotate(ctx, w.user, w.namespace, "a-guarded", "x", "y", client.DryRunAll); !apierrors.IsInternalError(err) {
			return fmt.Errorf("it is not in force: %w", err)
		}
		return nil
	})
	w.create("links", prompt)
	w.run()
	for range 3 {
		w.clock.SetTime(w.clock.Now().Add(15 * time.Second))
		w.operator.Deliveries.serve(w.ctx, w.namespace)
	}
	w.aMinuteLater()
	if w.told("z-mounts") == "" {
		t.Errorf("z-mounts was not told: %s: %s", w.condition("links", "Delivered"), w.message("links", "Delivered"))
	}
}

func TestAMissingRightIsCountedOnceForEachWrite(t *testing.T) {
	t.Parallel()
	w, _ := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	w.must(w.user.Delete(w.ctx, &rbacv1.Role{ObjectMeta: w.meta("pods")}))
	w.await("the right to be gone", func(ctx context.Context) error {
		if may, err := mayPatchPods(ctx, w.pods, w.namespace); err != nil || may {
			return fmt.Errorf("%t, %w", may, err)
		}
		return nil
	})
	w.create("links", prompt)
	w.run()
	w.pass(10 * time.Minute)
	if n := w.podsCounted(podForbidden); n != 1 {
		t.Errorf("one write was counted %v times as forbidden", n)
	}
}

func TestAnAllowListOfKeysIsNoFence(t *testing.T) {
	t.Parallel()
	w, _ := newUnfencedWorld(t)
	w.denyPods(t, "object.metadata.?annotations.orValue({}).all(k, k in ['auth.payu.in/token-written-at', 'team']) && object.metadata.?labels.orValue({}).all(k, k in ['app', 'team'])")
	w.pod("mounts", mounting("links"))
	w.await("the other policy", func(ctx context.Context) error {
		if err := annotate(ctx, w.user, w.namespace, "mounts", "x", "y", client.DryRunAll); !isPolicyDenial(err) {
			return fmt.Errorf("it is not in force: %w", err)
		}
		return nil
	})
	w.must(annotate(w.ctx, w.pods, w.namespace, "mounts", "team", "evil", client.DryRunAll)) // the operator may do what it should not
	w.create("links", prompt)
	w.run()
	if w.told("mounts") != "" {
		t.Errorf("patched without a fence: %s", w.condition("links", "Delivered"))
	}
}

func TestOddPodsAreTold(t *testing.T) {
	t.Parallel()
	w := newPodWorld(t)
	operator := w.fenced()
	for name, edit := range map[string]podEdit{
		"pull-secret-twice": func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "a"}, {Name: "a"}} },
		"pull-secret-empty": func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{}} },
		"host-alias-twice": func(p *corev1.Pod) {
			p.Spec.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"a"}}, {IP: "10.0.0.1", Hostnames: []string{"b"}}}
		},
		"port-twice": func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, Name: "a"}, {ContainerPort: 80, Name: "b"}}
		},
		"finalizer-twice": func(p *corev1.Pod) { p.Finalizers = []string{"example.com/a", "example.com/a"} },
	} {
		t.Run(name, func(t *testing.T) {
			w.pod(name, edit)
			for range 2 {
				if err := tellPod(w.ctx, operator, w.namespace, podRef{name, w.getPod(name).UID}, time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
