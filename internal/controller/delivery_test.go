package controller

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	dto "github.com/prometheus/client_model/go"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// newPodWorld returns a world whose pods nobody tells of tokens yet.
func newPodWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	return w
}

// newPromptWorld returns a world whose operator may tell pods, and no more than that. Faults come between it and the API server.
func newPromptWorld(t *testing.T) (*world, *podFaults) {
	t.Helper()
	w := newPodWorld(t)
	faults := &podFaults{clock: w.clock}
	w.pods = faults.wrap(w.fenced())
	w.restart()
	return w, faults
}

// podFaults counts requests about pods, and makes them fail.
type podFaults struct {
	mu      sync.Mutex
	clock   *clocktesting.FakePassiveClock // goes on with each list, as clocks do
	lists   int
	patches []string // of pods, dry runs left out
	reviews int
	onPatch func(pod string) error
	onList  func() error
}

func (f *podFaults) wrap(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			if err := f.listed(); err != nil {
				return err
			}
			return c.List(ctx, list, options...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if _, ok := o.(*authorizationv1.SelfSubjectAccessReview); ok {
				f.mu.Lock()
				f.reviews++
				f.mu.Unlock()
			}
			return c.Create(ctx, o, options...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			applied := client.PatchOptions{}
			applied.ApplyOptions(options)
			if len(applied.DryRun) == 0 {
				if err := f.patched(o.GetName()); err != nil {
					return err
				}
			}
			return c.Patch(ctx, o, patch, options...)
		},
	})
}

func (f *podFaults) listed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	f.clock.SetTime(f.clock.Now().Add(time.Microsecond))
	if f.onList != nil {
		return f.onList()
	}
	return nil
}

func (f *podFaults) patched(pod string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.patches = append(f.patches, pod)
	if f.onPatch != nil {
		return f.onPatch(pod)
	}
	return nil
}

// take returns the pods that were patched since, and forgets them.
func (f *podFaults) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.patches
	f.patches, f.lists, f.reviews = nil, 0, 0
	slices.Sort(list)
	return list
}

func (f *podFaults) set(onList func() error, onPatch func(string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onList, f.onPatch = onList, onPatch
}

func prompt(t *v1alpha1.PayUToken) { t.Spec.Target.Delivery = v1alpha1.DeliveryPrompt }

func (w *world) expectDelivered(name, want string) {
	w.Helper()
	w.expectCondition(name, v1alpha1.ConditionDelivered, want)
}

// renew has a new token written.
func (w *world) renew(name string) {
	w.Helper()
	before := w.value(name)
	w.clock.SetTime(w.clock.Now().Add(6 * time.Second))
	w.edit(name, refresh(w.clock.Now().Format(time.RFC3339Nano)))
	w.run()
	if w.value(name) == before {
		w.Fatalf("no new token was written: %s", w.conditions(name))
	}
}

// pods returns how many pods are counted under an outcome.
func (w *world) podsCounted(outcome podOutcome) float64 {
	w.Helper()
	var m dto.Metric
	w.must(w.operator.Deliveries.pods.WithLabelValues(string(outcome)).Write(&m))
	return m.GetCounter().GetValue()
}

func TestPromptTellsThePodsThatMountTheSecret(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	w.pod("mounts-two", mounting("other", "links"))
	w.pod("projects", func(pod *corev1.Pod) {
		pod.Spec.Volumes = []corev1.Volume{{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "links"}}}}}}}}
	})
	w.pod("mounts-another", mounting("other"))
	w.pod("has-no-node", mounting("links"), func(pod *corev1.Pod) { pod.Spec.NodeName = "" })
	w.pod("is-ending", mounting("links"))
	w.must(w.user.Delete(w.ctx, &corev1.Pod{ObjectMeta: w.meta("is-ending")}, client.GracePeriodSeconds(600)))
	w.pod("has-ended", mounting("links"))
	ended := client.RawPatch(types.MergePatchType, []byte(`{"status": {"phase": "Succeeded"}}`))
	w.must(w.user.Status().Patch(w.ctx, &corev1.Pod{ObjectMeta: w.meta("has-ended")}, ended))

	w.create("links", prompt)
	w.run()
	want := []string{"mounts", "mounts-two", "projects"}
	if got := faults.take(); !slices.Equal(got, want) {
		t.Errorf("told %v of the first token, want %v", got, want)
	}
	w.expectDelivered("links", "True/PodsTold")
	w.expectConditions("links", good)

	w.renew("links")
	if got := faults.take(); !slices.Equal(got, want) {
		t.Errorf("told %v of the next token, want %v", got, want)
	}
	at, err := time.Parse(time.RFC3339Nano, w.told("mounts"))
	if err != nil || at.Before(w.clock.Now().Add(-time.Second)) || len(w.told("mounts")) != len("2026-11-26T17:00:00.000000001Z") {
		t.Errorf("the annotation is %q (%v)", w.told("mounts"), err)
	}
	if got := w.podsCounted(podTold); got != 6 {
		t.Errorf("%v pods are counted as told, want 6", got)
	}

	w.pass(10 * time.Minute)
	if got := faults.take(); len(got) > 0 {
		t.Errorf("told %v where nothing was written", got)
	}
}

func TestEventualAsksNothingAboutPods(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	w.create("links")
	w.run()
	w.renew("links")
	if faults.lists+faults.reviews+len(faults.take()) > 0 {
		t.Error("pods were looked at")
	}
	w.expectDelivered("links", "")

	w.edit("links", prompt)
	w.run()
	w.expectDelivered("links", "True/PodsTold")
	w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Target.Delivery = v1alpha1.DeliveryEventual })
	w.run()
	w.expectDelivered("links", "")
}

func TestTwoSecretsOfOnePodInTheSameSecondAreTwoChanges(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	w.pod("mounts-both", mounting("links", "payouts"))
	w.create("links", prompt)
	w.create("payouts", prompt, func(p *v1alpha1.PayUToken) { p.Spec.Scopes = []v1alpha1.Scope{"create_payout_transactions"} })
	w.run()
	first := w.told("mounts-both")
	faults.take()
	w.clock.SetTime(w.clock.Now().Add(6 * time.Second))
	w.edit("links", refresh("1"))
	w.reconcile("links")
	w.settle()
	w.reconcile("links")
	w.settle()
	second := w.told("mounts-both")
	w.clock.SetTime(w.clock.Now().Add(time.Millisecond))
	w.edit("payouts", refresh("1"))
	w.run()
	if third := w.told("mounts-both"); first == second || second == third {
		t.Errorf("the annotation was %q, then %q, then %q", first, second, third)
	}
	if got := faults.take(); len(got) != 2 {
		t.Errorf("patched %v, want two times", got)
	}
}

func TestARightThatIsMissingIsSaid(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	role := &rbacv1.Role{}
	w.must(cluster.Client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: "pods"}, role))
	take := func() {
		t.Helper()
		w.must(w.user.Delete(w.ctx, &rbacv1.Role{ObjectMeta: w.meta("pods")}))
		w.await("the right to be gone", func(ctx context.Context) error {
			if may, err := mayPatchPods(ctx, w.pods, w.namespace); err != nil || may {
				return fmt.Errorf("%t, %w", may, err)
			}
			return nil
		})
	}
	take()
	w.create("links", prompt)
	w.run()
	w.expectDelivered("links", "False/DeliveryForbidden")
	w.expectConditions("links", good)
	message := w.message("links", v1alpha1.ConditionDelivered)
	if !strings.Contains(message, "promptDelivery.enabled") || !strings.Contains(message, w.namespace) {
		t.Errorf("the message is %q", message)
	}
	if got := w.events.take(); !slices.Equal(got, []string{"Normal Refreshed", "Warning DeliveryForbidden"}) {
		t.Errorf("events: %v", got)
	}
	w.renew("links")
	w.pass(10 * time.Minute)
	if got := w.events.take(); !slices.Equal(got, []string{"Normal Refreshed"}) {
		t.Errorf("events: %v", got)
	}
	if got := faults.take(); len(got) > 0 {
		t.Errorf("patched %v", got)
	}

	role.ResourceVersion = ""
	w.must(w.user.Create(w.ctx, role))
	w.await("the right", func(ctx context.Context) error {
		if may, err := mayPatchPods(ctx, w.pods, w.namespace); err != nil || !may {
			return fmt.Errorf("%t, %w", may, err)
		}
		return nil
	})
	w.pass(90 * time.Second)
	w.expectDelivered("links", "True/PodsTold")
	w.renew("links")
	if got := faults.take(); !slices.Equal(got, []string{"mounts"}) {
		t.Errorf("told %v once the right was there", got)
	}

	take() // within the minute in which the right is taken to be there
	w.renew("links")
	w.expectDelivered("links", "False/DeliveryForbidden")
	w.expectConditions("links", good)
}

func TestAnUnfencedRightIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newPodWorld(t)
	faults := &podFaults{clock: w.clock}
	w.pods = faults.wrap(w.unfenced())
	w.restart()
	w.pod("mounts", mounting("links"))
	w.create("links", prompt)
	w.run()
	w.renew("links")
	w.expectDelivered("links", "False/DeliveryUnfenced")
	w.expectConditions("links", good)
	if got := faults.take(); len(got) > 0 || w.told("mounts") != "" {
		t.Errorf("patched %v without a fence", got)
	}
	if got := w.events.take(); !slices.Equal(got, []string{"Normal Refreshed", "Warning DeliveryUnfenced", "Normal Refreshed"}) {
		t.Errorf("events: %v", got)
	}
	pod := &corev1.Pod{}
	w.must(cluster.Client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: "mounts"}, pod))
	if len(pod.Annotations) > 0 {
		t.Errorf("the pod has annotations: %v", pod.Annotations)
	}

	behind := faults.wrap(w.fenced())
	w.operator.Deliveries.client, w.operator.Deliveries.live = behind, behind
	w.pass(90 * time.Second)
	w.expectDelivered("links", "True/PodsTold")
	w.renew("links")
	if got := slices.Compact(faults.take()); !slices.Equal(got, []string{"mounts"}) { // of the former write and of this one
		t.Errorf("told %v behind the fence", got)
	}
}

func TestAWriteOfAFormerProcessIsTold(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	w.pod("mounts", mounting("links"))
	w.create("links", prompt)
	w.run()
	faults.take()
	for _, c := range []struct {
		after time.Duration
		want  []string
	}{{30 * time.Second, []string{"mounts"}}, {3 * time.Minute, nil}} {
		w.renew("links")
		faults.take()
		w.clock.SetTime(w.clock.Now().Add(c.after))
		w.restart()
		w.run()
		if got := faults.take(); !slices.Equal(got, c.want) {
			t.Errorf("told %v by a process that starts %s after the write, want %v", got, c.after, c.want)
		}
		w.expectDelivered("links", "True/PodsTold")
	}
	w.expectRequests(3)
}

func TestPodsAreToldAgainWhereTheAPIServerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	unavailable := apierrors.NewServiceUnavailable("etcd is down")
	for what, c := range map[string]struct {
		err     error
		onList  bool
		repeats bool
		counted podOutcome
		want    string
	}{
		"5xx":                {err: unavailable, repeats: true},
		"5xx of the list":    {err: unavailable, onList: true, repeats: true},
		"429":                {err: apierrors.NewTooManyRequests("later", 1), repeats: true},
		"timeout":            {err: context.DeadlineExceeded, repeats: true},
		"connection refused": {err: fmt.Errorf("dial tcp: connection refused"), repeats: true},
		"404":                {err: apierrors.NewNotFound(corev1.Resource("pods"), "mounts"), counted: podGone, want: "True/PodsTold"},
		"409":                {err: apierrors.NewConflict(corev1.Resource("pods"), "mounts", fmt.Errorf("changed")), counted: podFailed, want: "False/DeliveryFailed"},
		"422":                {err: apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Pod").GroupKind(), "mounts", nil), counted: podFailed, want: "False/DeliveryFailed"},
		"a webhook that denies": {err: &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden,
			Reason: metav1.StatusReasonForbidden, Message: `admission webhook "pods.example.com" denied the request: secret words`}}, counted: podFailed, want: "False/DeliveryFailed"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, faults := newPromptWorld(t)
			w.pod("mounts", mounting("links"))
			w.pod("mounts-too", mounting("links"))
			w.create("links", prompt)
			w.run()
			faults.take()
			before := w.podsCounted(c.counted)
			fail := func(pod string) error {
				if pod == "mounts" {
					return c.err
				}
				return nil
			}
			if faults.set(nil, fail); c.onList {
				faults.set(func() error { return c.err }, nil)
			}
			w.renew("links")
			w.expectConditions("links", good)
			if !c.repeats {
				w.expectDelivered("links", c.want)
				if got := faults.take(); len(got) != 2 {
					t.Errorf("patched %v, want each once", got)
				}
				if got := w.podsCounted(c.counted) - before; got != 1 {
					t.Errorf("%v pods more are counted as %s, want 1", got, c.counted)
				}
				if message := w.message("links", v1alpha1.ConditionDelivered); strings.Contains(message, "secret words") {
					t.Errorf("the message repeats a webhook's words: %q", message)
				}
				faults.set(nil, nil)
				w.renew("links")
				w.expectDelivered("links", "True/PodsTold")
				return
			}
			w.expectDelivered("links", "True/PodsTold") // until it is certain
			faults.set(nil, nil)
			faults.take()
			w.clock.SetTime(w.clock.Now().Add(time.Second))
			w.operator.Deliveries.serve(w.ctx, w.namespace)
			want := []string{"mounts"}
			if c.onList {
				want = []string{"mounts", "mounts-too"}
			}
			if got := faults.take(); !slices.Equal(got, want) {
				t.Errorf("tried %v again, want %v", got, want)
			}

			if faults.set(nil, fail); c.onList {
				faults.set(func() error { return c.err }, nil)
			}
			w.renew("links")
			w.clock.SetTime(w.clock.Now().Add(61 * time.Second))
			w.operator.Deliveries.serve(w.ctx, w.namespace)
			w.run()
			w.expectDelivered("links", "False/DeliveryFailed")
			w.expectConditions("links", good)
			faults.take()
			w.operator.Deliveries.serve(w.ctx, w.namespace)
			if got := faults.take(); len(got) > 0 {
				t.Errorf("tried %v after a minute", got)
			}
		})
	}
}

func TestAPodThatWasToldOfAnotherSecretMeanwhileIsTold(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	w.pod("mounts-both", mounting("links", "payouts"))
	w.create("links", prompt)
	w.run()
	faults.take()
	w.faults.set(nil, func(secret string) error { // payouts is told while the pass over links is on its way to the API server
		if secret == "links" {
			w.clock.SetTime(w.clock.Now().Add(time.Millisecond))
			w.must(annotate(w.ctx, w.pods, w.namespace, "mounts-both", v1alpha1.AnnotationTokenWrittenAt, w.clock.Now().Format(writtenAtLayout)))
			w.clock.SetTime(w.clock.Now().Add(time.Millisecond))
		}
		return nil
	})
	w.renew("links")
	w.faults.set(nil, nil)
	at, err := time.Parse(time.RFC3339Nano, w.told("mounts-both"))
	if err != nil || w.clock.Now().Sub(at) >= time.Millisecond {
		t.Errorf("the pod was told %s before the Secret was written (%v)", w.clock.Now().Sub(at), err)
	}
}

// TestAHangInOneNamespaceKeepsNoOtherWaiting has the deliveries run as the manager has them run.
func TestAHangInOneNamespaceKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	w, faults := newPromptWorld(t)
	hanging, release := make(chan string, 100), make(chan struct{})
	faults.set(nil, func(pod string) error {
		if strings.HasPrefix(pod, "hangs") {
			faults.mu.Unlock()
			defer faults.mu.Lock()
			hanging <- pod
			<-release
		}
		return nil
	})
	other := w.namespace
	w.pod("mounts", mounting("links"))
	stuck, err := cluster.Namespace(w.ctx)
	w.must(err)
	w.namespace = stuck
	w.allowPods(w.pods, account)
	for i := range 20 {
		w.pod(fmt.Sprintf("hangs-%d", i), mounting("links"))
	}
	d := w.operator.Deliveries
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan error)
	go func() { ended <- d.Start(ctx) }()
	d.add(notice{payUToken: types.NamespacedName{Namespace: stuck, Name: "links"}, secret: "links", tell: true})
	<-hanging
	w.namespace = other
	d.add(notice{payUToken: types.NamespacedName{Namespace: other, Name: "links"}, secret: "links", tell: true})
	w.await("the pod of the other namespace to be told", func(context.Context) error {
		if w.told("mounts") == "" {
			return fmt.Errorf("it was not")
		}
		return nil
	})

	// What waits when the operator stops is told before it has stopped.
	w.clock.SetTime(w.clock.Now().Add(time.Second))
	before := w.told("mounts")
	d.add(notice{payUToken: types.NamespacedName{Namespace: other, Name: "links"}, secret: "links", tell: true})
	stop()
	close(release)
	w.must(<-ended)
	if w.told("mounts") == before {
		t.Error("the operator stopped before it had told a pod")
	}
}

// TestPodsAreListedInPages counts what one write costs in a namespace with many pods. PODS=5000 has it print bytes and memory, too.
func TestPodsAreListedInPages(t *testing.T) {
	t.Parallel()
	pods := 1100
	if given := os.Getenv("PODS"); given != "" {
		_, err := fmt.Sscan(given, &pods)
		if err != nil {
			t.Fatal(err)
		}
	}
	w, faults := newPromptWorld(t)
	var creating sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range pods {
		slots <- struct{}{}
		creating.Go(func() {
			defer func() { <-slots }()
			w.pod(fmt.Sprintf("pod-%d", i), mounting("other"), func(pod *corev1.Pod) {
				pod.Annotations = map[string]string{"padding": strings.Repeat("x", 4000)}
			})
		})
	}
	creating.Wait()
	for i := range 3 {
		w.pod(fmt.Sprintf("mounts-%d", i), mounting("links"))
	}
	w.create("links", prompt)
	w.run()
	faults.take()
	most := peakMemory(t)
	w.renew("links")
	bytes := most()
	pages := (pods + 4 + podsPerPage - 1) / podsPerPage
	if faults.lists != pages {
		t.Errorf("%d requests for the list of %d pods, want %d", faults.lists, pods+4, pages)
	}
	if got := faults.take(); len(got) != 3 {
		t.Errorf("patched %d pods, want 3", len(got))
	}
	t.Logf("%d pods: %d pages, 3 patches, %.1f MiB of heap more at most", pods, pages, float64(bytes)/(1<<20))
}

// peakMemory returns a function that tells how much the heap has grown at most since.
func peakMemory(t *testing.T) func() uint64 {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	runtime.GC()
	before, most := heap(), uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, heap())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	t.Helper()
	return func() uint64 {
		close(stop)
		<-stopped
		return most - min(before, most)
	}
}
