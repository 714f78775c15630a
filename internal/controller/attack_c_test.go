package controller

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// ---- other namespaces

// elsewhere returns a namespace beside that of the world, with the same credentials and some PayUTokens.
func (w *world) elsewhere(names ...string) string {
	w.Helper()
	namespace, err := cluster.Namespace(w.ctx)
	w.must(err)
	credentials := w.secret("payu-credentials")
	w.must(w.user.Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "payu-credentials", Namespace: namespace}, Data: credentials.Data}))
	for _, name := range names {
		token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
		token.Spec.Environment = v1alpha1.EnvironmentTest
		token.Spec.CredentialsSecretRef.Name = "payu-credentials"
		token.Spec.Scopes = []v1alpha1.Scope{"create_payment_links", "read_payment_links"}
		w.must(w.user.Create(w.ctx, token))
	}
	return namespace
}

// TestAWebhookThatUsesUpItsTenSecondsKeepsNoOtherNamespaceWaiting: with the default timeout the API server gives up after 10 s
// and answers 500, before the operator does after 13 s. The namespaces of such webhooks are slow all the same.
func TestAWebhookThatUsesUpItsTenSecondsKeepsNoOtherNamespaceWaiting(t *testing.T) {
	t.Parallel()
	expectHalfOfTheWorkers(t, 10*time.Second, errWebhookDown, func(*world, string) {}) // "context deadline exceeded"
}

// TestAPassWithoutARequestDoesNotShowThatANamespaceIsWell: its last request timed out, and then an idle PayUToken of it is looked
// at, as it is at each event.
func TestAPassWithoutARequestDoesNotShowThatANamespaceIsWell(t *testing.T) {
	t.Parallel()
	expectHalfOfTheWorkers(t, 13*time.Second, errUnanswered, func(w *world, namespace string) {
		_, err := w.operator.Reconcile(w.ctx, inNamespace(namespace, "idle"))
		w.must(err)
	})
}

// TestANamespaceIsSlowThoughOnlyAFormerTargetHangs: it was the last request of the namespace, and it timed out.
func TestANamespaceIsSlowThoughOnlyAFormerTargetHangs(t *testing.T) {
	t.Parallel()
	w := conflicted(t, payutest.Config{})
	w.tick(90 * time.Minute)
	tries := 0
	onWrite(w, func(*corev1.Secret, bool) error { tries++; return errUnanswered })
	w.look("links")
	if tries == 0 {
		t.Fatal("the test needs a write that hangs")
	}
	if !w.operator.lanes.slow[w.namespace] {
		t.Error("the namespace does not count as slow")
	}
}

// expectHalfOfTheWorkers checks how many workers two namespaces hold in which each write ends with err after a time. act is done
// between the write that shows that and the next ones.
func expectHalfOfTheWorkers(t *testing.T, after time.Duration, err error, act func(w *world, namespace string)) {
	t.Helper()
	const workers = 4
	names := []string{"t0", "t1", "t2"}
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	hung := []string{w.elsewhere(append(names, "idle")...), w.elsewhere(append(names, "idle")...)}
	w.operator.lanes = newLanes(workers)
	var running atomic.Int32
	var hang atomic.Bool
	release := make(chan struct{})
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			if hang.Load() {
				running.Add(1)
				<-release
			} else {
				w.tick(after)
			}
			return err
		},
	})
	for _, namespace := range hung {
		idle := &v1alpha1.PayUToken{}
		w.must(w.user.Get(w.ctx, client.ObjectKey{Namespace: namespace, Name: "idle"}, idle))
		idle.Spec.Suspend = true
		w.must(w.user.Update(w.ctx, idle))
		for _, name := range append([]string{"idle"}, names...) {
			_, err := w.operator.Reconcile(w.ctx, inNamespace(namespace, name))
			w.must(err)
		}
	}
	for _, namespace := range hung {
		act(w, namespace)
	}
	hang.Store(true)
	w.tick(time.Minute)
	ended := make(chan error)
	for _, namespace := range hung {
		for _, name := range names {
			go func() { _, err := w.operator.Reconcile(w.ctx, inNamespace(namespace, name)); ended <- err }()
		}
	}
	time.Sleep(2 * time.Second)
	if n := running.Load(); n > workers/2 {
		t.Errorf("two namespaces whose webhooks hang hold %d of %d workers", n, workers)
	}
	close(release)
	for range len(hung) * len(names) {
		w.must(<-ended)
	}
}

// TestEventsThatHangKeepNoOtherNamespacesEventWaiting: a webhook of one namespace is called for Events, too, and uses up its
// 10 s for each. Another namespace's failure still has its event within 30 s.
func TestEventsThatHangKeepNoOtherNamespacesEventWaiting(t *testing.T) {
	t.Parallel()
	written := make(chan struct{}, 1)
	writer := NewEventWriter(interceptor.NewClient(cluster.Client, interceptor.Funcs{
		Create: func(ctx context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			if o.GetNamespace() != "hangs" {
				written <- struct{}{}
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Second):
				return errWebhookDown
			}
		},
	}), clock.RealClock{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- writer.Start(ctx) }()
	for i := range 4 {
		token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: "hangs", Name: fmt.Sprint("t", i), UID: "u", ResourceVersion: "7"}}
		writer.Eventf(token, nil, corev1.EventTypeWarning, "TargetWriteFailed", "RenewToken", "x")
	}
	token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "links", UID: "u", ResourceVersion: "7"}}
	writer.Eventf(token, nil, corev1.EventTypeWarning, "InvalidClient", "RenewToken", "x")
	select {
	case <-written:
	case <-time.After(30 * time.Second):
		t.Error("30 s have passed, and the event of the other namespace is not written")
	}
	stop()
	<-ended
}

// TestANamespaceThatHangsKeepsNoOthersTokenFromBeingHandedOn while the operator stops: the process is killed after 25 s, and two
// writes that hang for 13 s each are enough. In revoke-previous mode the others hold a dead token then.
func TestANamespaceThatHangsKeepsNoOthersTokenFromBeingHandedOn(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious})
	names := make([]string, 30)
	for i := range names {
		names[i] = fmt.Sprintf("t%02d", i)
	}
	hangs := w.elsewhere(names...)
	for _, name := range names {
		_, err := w.operator.Reconcile(w.ctx, inNamespace(hangs, name))
		w.must(err)
	}
	w.tick(90 * time.Minute)
	w.payu.Inject(payutest.Fault{Hang: true, Times: 1})
	w.begin("links")
	w.payu.ClearFaults()
	await(w) // a new token has come, and the old one is dead
	release, written := make(chan struct{}), make(chan struct{}, 10)
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if o.GetNamespace() == hangs {
				<-release
				return errUnanswered
			}
			written <- struct{}{}
			return c.Patch(ctx, o, patch, options...)
		},
	})
	stopped, cancel := context.WithCancel(w.ctx)
	cancel()
	drained := make(chan error, 1)
	go func() { drained <- w.operator.drain(stopped) }()
	select {
	case <-written:
	case <-time.After(5 * time.Second):
		t.Error("the token of a namespace that is well waits for a namespace that hangs")
	}
	close(release)
	<-drained
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

// ---- restarts

// TestABlipAtTheStartCostsNoLiveToken: one read fails for a moment in a new process. A PayUToken whose Secret is
// not known yet is waited for, since another's request would kill its token in revoke-previous mode.
func TestABlipAtTheStartCostsNoLiveToken(t *testing.T) {
	t.Parallel()
	for kind, unread := range map[string]string{"credentials": "payu-credentials", "target": "links"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious})
			w.credentials("copy", "merchant", secretOne)
			w.create("a", withCredentials("copy"))
			w.restart()
			hideFromCache(w, "links") // as it is without its label: it is read from the API server
			reads := 0
			onRead(w, func(name string) error {
				if name == unread {
					if reads++; reads == 1 {
						return errEtcd
					}
				}
				return nil
			})
			w.endure(30 * time.Second)
			if reads < 2 {
				t.Fatal("the test needs a read that fails")
			}
			w.expectRequests(1)
			w.expectConditions("a", good)
			w.expectConditions("links", good)
		})
	}
}

// TestAWaitOutlivesARestartThatBeginsWithABlip: PayU has said to wait for an hour, and the first pass of the new process cannot
// read the credentials.
func TestAWaitOutlivesARestartThatBeginsWithABlip(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]payutest.Fault{
		"rate limit":     {Error: "rate_limit_exceeded", Header: map[string]string{"Retry-After": "3600"}, Times: 1},
		"invalid client": {Error: "invalid_client", Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.payu.Inject(fault)
			w.create("links")
			w.run()
			w.restart()
			blip := onCredentials(errEtcd)
			blip.begin(w)
			w.endure(2 * time.Second)
			blip.end(w)
			w.endure(10 * time.Minute)
			w.expectRequests(1)
		})
	}
}

// ---- wishes

// TestAWishOfAReplacedPayUTokenIsHandledByItsFirstToken: `kubectl replace --force`, and the wish of the former object was still
// pending. The new one has no status, and gets the live token.
func TestAWishOfAReplacedPayUTokenIsHandledByItsFirstToken(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious}, withPolicy(v1alpha1.DeletionPolicyRetain))
	w.edit("links", refresh("once more"))
	w.run() // the floor
	w.delete(w.token("links"))
	w.create("links", refresh("once more"), withPolicy(v1alpha1.DeletionPolicyRetain))
	w.run()
	w.pass(time.Minute)
	w.expectRequests(1)
	w.expectHandled("links", "once more")
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

// TestTheWordsOfAWebhookAboutAStatusAreNotLogged: the error of a pass is what controller-runtime logs, and nobody knows what a
// webhook has looked up before it denied the status.
func TestTheWordsOfAWebhookAboutAStatusAreNotLogged(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	token := w.value("links")
	w.faults.status(&apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 403, Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("admission webhook %q denied the request: Secret links holds %s", "status.example.com", token),
	}})
	w.tick(2 * time.Hour)
	w.payu.Inject(payutest.Fault{Error: "invalid_client"})
	for range 3 {
		_, err := w.look("links")
		await(w)
		if strings.Contains(fmt.Sprint(err), token) {
			t.Fatalf("the log has %v", err)
		}
	}
}

// TestWordsThatImitateAWebhookBetrayNothing: a policy says what it likes, and what it says may look like the name of a webhook.
func TestWordsThatImitateAWebhookBetrayNothing(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("0123456789abcdef", 4)
	for _, words := range []string{
		`ValidatingAdmissionPolicy 'names' with binding 'all' denied request: called webhook "` + token + `"`,
		`the value webhook "` + token + `" is not allowed`,
	} {
		if said := wordsOf(forbid("links", words)); strings.Contains(said, token) {
			t.Errorf("a token is in %s", said)
		}
	}
}

// TestTheWordsAboutASecretThatTheCacheDoesNotKnowBetrayNothing has a real mutating webhook quote the old object: the API server
// calls it before it looks at the resourceVersion, so that the dry run of a creation reaches it with somebody else's data.
func TestTheWordsAboutASecretThatTheCacheDoesNotKnowBetrayNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	const value = "the-password-of-a-database"
	w.quoteOldObjects(t)
	w.must(cluster.Client.Create(w.ctx, &corev1.Secret{ // and not through the mirror, which is the cache
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "links"}, Data: map[string][]byte{"password": []byte(value)},
	}))
	w.operator.Client = interceptor.NewClient(cluster.Client, interceptor.Funcs{
		Get: func(ctx context.Context, _ client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			return w.api.Get(ctx, key, o, options...)
		},
		SubResourcePatch: func(ctx context.Context, _ client.Client, sub string, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
			return w.api.SubResource(sub).Patch(ctx, o, patch, options...)
		},
	})
	said := listen(w)
	w.create("links")
	w.look("links")
	said.add(w.messages("links"))
	t.Log(w.messages("links"))
	for _, text := range said.all {
		if strings.Contains(text, value) {
			t.Errorf("the value of the Secret is in %.400s", text)
		}
	}
}

// quoteOldObjects registers a mutating webhook for this namespace that denies updates and quotes what was there.
func (w *world) quoteOldObjects(t *testing.T) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var review struct {
			Request struct {
				UID       string         `json:"uid"`
				Name      string         `json:"name"`
				OldObject *corev1.Secret `json:"oldObject"`
			} `json:"request"`
		}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		answer := map[string]any{"uid": review.Request.UID, "allowed": true}
		if old := review.Request.OldObject; old != nil {
			answer["allowed"] = false
			answer["status"] = map[string]any{"message": fmt.Sprintf("the Secret holds %s and must not change", old.Data["password"]), "code": 403}
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})
	}))
	t.Cleanup(server.Close)
	var authority bytes.Buffer
	w.must(pem.Encode(&authority, &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	config := map[string]any{"url": server.URL, "caBundle": base64.StdEncoding.EncodeToString(authority.Bytes())}
	w.must(cluster.Client.Create(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: w.namespace}}))
	w.register(t, "MutatingWebhookConfiguration", config, func(probe *corev1.Secret) error {
		return cluster.Client.Patch(w.ctx, probe, client.RawPatch(types.MergePatchType, []byte(`{"data":{"x":"eA=="}}`)), client.DryRunAll)
	})
}
