package controller

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// No failure is silent: it shows in the conditions, and in one event, within 30 s, under the words of what failed.

var (
	errWebhookDown = apierrors.NewInternalError(errors.New(`failed calling webhook "validate.example.com": failed to call webhook: context deadline exceeded`))
	errTimeout     = apierrors.NewTimeoutError("request did not complete within the allotted timeout", 1)
	errUnanswered  = fmt.Errorf("Patch %q: %w", "https://10.0.0.1/api/v1/namespaces/shop/secrets/links", context.DeadlineExceeded)
	errBusy        = apierrors.NewTooManyRequests("the server has received too many requests", 1)
	errEtcd        = errors.New("etcdserver: request timed out")
	errPolicy      = forbid("links", `ValidatingAdmissionPolicy "names" denied request: name is not allowed`)
	errInvalid     = apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Secret").GroupKind(), "links", nil)
)

// trouble is one that the API server makes: where, and how it shows.
type trouble struct {
	begin   func(*world)
	end     func(*world)
	reason  string
	stalled bool
	// tokens is how many tokens PayU is asked for meanwhile.
	tokens int
}

func onCredentials(err error) trouble {
	return trouble{reason: "CredentialsUnreadable", stalled: apierrors.IsForbidden(err),
		begin: func(w *world) {
			onRead(w, func(name string) error {
				if name == "payu-credentials" {
					return err
				}
				return nil
			})
		},
		end: func(w *world) { readThrough(w, w.api) },
	}
}

// onWrites fails when a Secret is applied, be it only after PayU was asked.
func onWrites(err error, alsoTrials bool) trouble {
	it := trouble{reason: v1alpha1.ReasonTargetWriteFailed, stalled: apierrors.IsForbidden(err) || apierrors.IsInvalid(err),
		begin: func(w *world) {
			onWrite(w, func(_ *corev1.Secret, trial bool) error {
				if trial && !alsoTrials {
					return nil
				}
				return err
			})
		},
		end: func(w *world) { w.operator.Client = w.api },
	}
	if !alsoTrials {
		it.tokens = 1
	}
	return it
}

func troubles() map[string]trouble {
	list := map[string]trouble{
		"credentials: forbidden": onCredentials(forbid("payu-credentials", "RBAC")),
		"credentials: 500":       onCredentials(errWebhookDown),
		"credentials: timeout":   onCredentials(errTimeout),
	}
	for name, err := range map[string]error{
		"a webhook that is down": errWebhookDown, "a timeout": errTimeout, "no answer": errUnanswered, "429": errBusy, "etcd": errEtcd,
		"a policy": errPolicy, "a quota": errQuota, "422": errInvalid,
	} {
		list["dry run: "+name] = onWrites(err, true)
		list["write: "+name] = onWrites(err, false)
	}
	return list
}

func TestTroubleOfANewPayUTokenIsToldOf(t *testing.T) { // faults 20, 40
	t.Parallel()
	for name, trouble := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{})
			w.credentials("payu-credentials", "merchant", secretOne)
			trouble.begin(w)
			w.create("links")
			w.expectTold(trouble, failedBy(trouble.reason), 0)
		})
	}
}

func TestTroubleWithARenewalIsToldOf(t *testing.T) { // faults 20, 40
	t.Parallel()
	for name, trouble := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			w.restart() // a new process has to read the credentials
			trouble.begin(w)
			w.tick(90 * time.Minute)
			w.expectTold(trouble, aliveFailedBy(trouble.reason), 1)
		})
	}
}

func TestTroubleAfterTheEndOfATokenIsToldOf(t *testing.T) { // faults 20, 40
	t.Parallel()
	for name, trouble := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			w.restart()
			trouble.begin(w)
			w.tick(2*time.Hour + time.Second)
			w.expectTold(trouble, failedBy(trouble.reason), 1)
		})
	}
}

// expectTold checks what a trouble shows within 30 s, and that all is well soon after its end.
func (w *world) expectTold(trouble trouble, conditions string, tokensBefore int) {
	w.Helper()
	w.endure(30 * time.Second)
	if trouble.stalled {
		conditions += " Stalled=True/" + trouble.reason
	}
	w.expectConditions("links", conditions)
	w.expectEvents("Warning " + trouble.reason)
	w.expectPayUNotNamed("links")
	w.expectPlainMessages("links")
	if token := w.token("links"); token.Status.ObservedGeneration != token.Generation {
		w.Errorf("observedGeneration %d, generation %d", token.Status.ObservedGeneration, token.Generation)
	}
	w.expectRequests(tokensBefore + trouble.tokens)
	trouble.end(w)
	w.endure(16 * time.Minute)
	w.expectConditions("links", good)
	w.expectRequests(tokensBefore + 1)
}

// TestReadyIsTrueToTheEndOfTheTokenAndNoLonger: the webhook is down from before the renewal to after the token's end.
func TestReadyIsTrueToTheEndOfTheTokenAndNoLonger(t *testing.T) { // fault 20
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.faults.set(nil, func(string) error { return errWebhookDown })
	w.endure(2*time.Hour - time.Second)
	w.expectConditions("links", aliveFailedBy("TargetWriteFailed"))
	w.expectEvents("Warning TargetWriteFailed") // and not one for each attempt
	w.endure(time.Second)
	w.expectConditions("links", failedBy("TargetWriteFailed"))
	w.expectPayUNotNamed("links")
	w.expectRequests(1)
	w.faults.set(nil, nil)
	w.endure(5 * time.Minute)
	w.expectConditions("links", good)
}

// TestAWebhookThatIsReallyDown has the API server itself say so.
func TestAWebhookThatIsReallyDown(t *testing.T) { // fault 30
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.takeDownAWebhook(t)
	w.create("new", withScopes("read_payment_links"))
	w.endure(30 * time.Second)
	w.expectConditions("new", failedBy("TargetWriteFailed"))
	w.tick(90 * time.Minute)
	w.endure(30 * time.Second)
	w.expectConditions("links", aliveFailedBy("TargetWriteFailed"))
	w.expectPayUNotNamed("links")
	w.expectPayUNotNamed("new")
	w.expectEvents("Warning TargetWriteFailed", "Warning TargetWriteFailed")
	w.expectRequests(1)
}

// TestAWriteThatIsNotAnsweredIsRepeatedSeldom: twice in the first seconds, and then every 20 s at most often, also where there is no
// token yet.
func TestAWriteThatIsNotAnsweredIsRepeatedSeldom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	writes := 0
	onWrite(w, func(*corev1.Secret, bool) error { writes++; return errWebhookDown })
	w.create("links")
	w.run()
	w.pass(10 * time.Minute)
	if writes > 36 {
		t.Errorf("the write was tried %d times in 10 minutes", writes)
	}
	w.expectConditions("links", failedBy("TargetWriteFailed"))
}

// takeDownAWebhook registers an admission webhook that nobody serves, for Secrets of this namespace.
func (w *world) takeDownAWebhook(t *testing.T) {
	t.Helper()
	w.register(t, "ValidatingWebhookConfiguration", map[string]any{"url": "https://127.0.0.1:1/validate"}, func(probe *corev1.Secret) error {
		return cluster.Client.Create(w.ctx, probe, client.DryRunAll)
	})
}

// register registers an admission webhook for Secrets of this namespace, and waits until the API server calls it: until a request
// for a Secret fails.
func (w *world) register(t *testing.T, kind string, config map[string]any, request func(probe *corev1.Secret) error) {
	t.Helper()
	hook := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": map[string]any{"name": w.namespace},
		"webhooks": []any{map[string]any{
			"name": "test.example.com", "sideEffects": "None", "admissionReviewVersions": []any{"v1"}, "failurePolicy": "Fail",
			"clientConfig":      config,
			"namespaceSelector": map[string]any{"matchLabels": map[string]any{corev1.LabelMetadataName: w.namespace}},
			"rules": []any{map[string]any{"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "resources": []any{"secrets"},
				"operations": []any{"CREATE", "UPDATE"}}},
		}},
	}}
	w.must(cluster.Client.Create(w.ctx, hook))
	t.Cleanup(func() { w.must(cluster.Client.Delete(context.WithoutCancel(w.ctx), hook)) })
	probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: w.namespace}}
	for begun := time.Now(); request(probe.DeepCopy()) == nil; {
		if time.Since(begun) > 30*time.Second {
			w.Fatalf("the API server does not call the webhook")
		}
	}
}

func TestATargetThatCannotBeReadIsToldOf(t *testing.T) { // fault 20
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.apply(foreign(w, "links"))
	hideFromCache(w, "links")
	onRead(w, func(name string) error {
		if name == "links" {
			return errEtcd
		}
		return nil
	})
	w.create("links")
	w.endure(30 * time.Second)
	if got := w.condition("links", v1alpha1.ConditionReady); got == "" || got[:5] != "False" {
		t.Errorf("Ready is %q (all: %s)", got, w.conditions("links"))
	}
	w.expectPayUNotNamed("links")
	w.expectRequests(0)
	readThrough(w, w.api)
	w.endure(5 * time.Minute)
	w.expectConditions("links", stalledBy("TargetConflict"))
}

func TestTroubleThatKeepsTheStatusBackIsToldOfOnceItIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.faults.set(nil, func(string) error { return errWebhookDown })
	w.faults.status(errTimeout)
	w.create("links")
	w.endure(10 * time.Minute)
	if got := w.conditions("links"); got != "" {
		t.Fatalf("the test needs a status that is not written, got %s", got)
	}
	w.faults.status(nil)
	w.endure(30 * time.Second)
	w.expectConditions("links", failedBy("TargetWriteFailed"))
}

// TestOldDataAreBelievedWhileTheCredentialsCannotBeRead: as far as the granted scope covers what the spec wants.
func TestOldDataAreBelievedWhileTheCredentialsCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edit  edit
		ready string
	}{
		"the same scopes":   {withScopes("read_payment_links", "create_payment_links"), "True/TokenValid"},
		"fewer scopes":      {withScopes("read_payment_links"), "True/TokenValid"},
		"another scope":     {withScopes("read_payment_links", "update_payment_links"), "False/CredentialsUnreadable"},
		"another key":       {withData("token", "{{ .AccessToken }}"), "False/CredentialsUnreadable"},
		"only a known key":  {withData("access_token", "{{ .AccessToken }}"), "True/TokenValid"},
		"another percent":   {func(p *v1alpha1.PayUToken) { p.Spec.RenewalPercent = 80 }, "True/TokenValid"},
		"another retention": {withPolicy(v1alpha1.DeletionPolicyRetain), "True/TokenValid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			w.restart()
			onCredentials(errEtcd).begin(w)
			w.change("payu-credentials", func(s *corev1.Secret) { s.Labels = map[string]string{"touched": "yes"} })
			w.edit("links", test.edit)
			w.endure(30 * time.Second)
			w.expectCondition("links", v1alpha1.ConditionReady, test.ready)
			w.expectRequests(1)
			readThrough(w, w.api)
			w.endure(16 * time.Minute)
			w.expectConditions("links", good)
		})
	}
}

func TestAPassReturnsAResultOrAnError(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*world){
		"the status":   func(w *world) { w.faults.status(errTimeout) },
		"the dry run":  onWrites(errWebhookDown, true).begin,
		"the write":    onWrites(errWebhookDown, false).begin,
		"credentials":  onCredentials(errWebhookDown).begin,
		"everything":   func(w *world) { w.faults.set(errEtcd, nil) },
		"the deletion": func(w *world) { w.edit("links", targeting("moved")); onDelete(w, errEtcd) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			w.restart()
			fault(w)
			w.tick(90 * time.Minute)
			w.endure(time.Minute) // attempt looks at what a pass returns
		})
	}
}
