package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// The traps are those of docs/reliability.md, which names the test of each.

func TestReuseCostsFewRequestsAndTheSuccessorComesAtOnce(t *testing.T) { // trap 2
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.Reuse})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	life := 2 * time.Hour
	for range 3 {
		value, before := w.value("links"), w.requests()
		left := w.token("links").Status.ExpiresAt.Sub(w.clock.Now())
		w.pass(left + 3*time.Second)
		if w.value("links") == value {
			t.Fatal("3 s after the old token's end its successor is not in the Secret")
		}
		if made := w.requests() - before; made > 12 {
			t.Errorf("%d requests in a life of %v", made, life)
		}
		w.expectLive("links")
	}
}

func TestNobodyIsAskedWhileTheTargetCannotBeWritten(t *testing.T) { // traps 3 and 8
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.RevokePrevious})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.faults.set(nil, func(string) error { return errQuota })
	w.create("links")
	w.run()
	w.pass(24 * time.Hour)
	w.expectRequests(0)
	w.expectConditions("links", "Ready=False/TargetWriteFailed Refreshed=False/TargetWriteFailed Stalled=True/TargetWriteFailed")
	w.faults.set(nil, nil)
	w.pass(5 * time.Minute)
	w.expectConditions("links", good)
	w.expectRequests(1)
}

func TestAFetchedTokenIsKeptUntilItCanBeWritten(t *testing.T) { // trap 8
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.RevokePrevious})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	trials := 0
	w.faults.set(nil, func(string) error {
		if trials++; trials == 1 {
			return nil // the trial before PayU is asked
		}
		return errQuota
	})
	w.pass(100 * time.Minute)
	w.expectRequests(2)
	w.faults.set(nil, nil)
	w.pass(5 * time.Minute)
	w.expectRequests(2)
	w.expectLive("links")
	w.expectConditions("links", good)
}

func TestANewTargetIsTriedOutOnceItsCredentialsAreRead(t *testing.T) { // trap 8
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	refused := 0
	w.faults.set(nil, func(string) error {
		refused++
		return errQuota
	})
	w.create("links")
	w.run()
	w.expectConditions("links", "Ready=False/CredentialsNotFound Refreshed=False/CredentialsNotFound Stalled=True/CredentialsNotFound")
	w.credentials("payu-credentials", "merchant", secretOne)
	w.run()
	w.expectConditions("links", "Ready=False/TargetWriteFailed Refreshed=False/TargetWriteFailed Stalled=True/TargetWriteFailed")
	w.expectRequests(0)
	if refused != 1 {
		t.Errorf("the target was tried %d times", refused)
	}
	w.create("refunds")
	w.run()
	w.expectConditions("refunds", "Ready=False/TargetWriteFailed Refreshed=False/TargetWriteFailed Stalled=True/TargetWriteFailed")
	w.expectRequests(0)
	w.faults.set(nil, nil)
	w.pass(10 * time.Minute)
	w.expectRequests(1)
	w.expectLive("links")
	w.expectConditions("refunds", good)
}

func TestTheAPIServersOwnTroubleCostsNoTokenAndIsNobodysFault(t *testing.T) { // trap 8
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.RevokePrevious})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	trials := 0
	w.faults.set(nil, func(string) error {
		if trials++; trials == 1 {
			return nil // the trial before PayU is asked
		}
		return errors.New("etcdserver: request timed out")
	})
	w.clock.SetTime(start.Add(90 * time.Minute))
	for range 20 {
		w.reconcile("links")
		w.settle()
	}
	w.expectRequests(2)
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/TargetWriteFailed")
	w.clock.SetTime(start.Add(2 * time.Hour))
	w.reconcile("links")
	w.expectConditions("links", "Ready=False/TargetWriteFailed Refreshed=False/TargetWriteFailed")
	w.faults.set(nil, nil)
	w.run()
	w.expectLive("links")
	w.expectRequests(2)
	w.expectConditions("links", good)
}

func TestAnEditOfTheCredentialsMetadataDoesNotDisturbASuspendedPayUToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Suspend = true })
	secret := w.secret("payu-credentials")
	secret.Labels = map[string]string{"touched": "yes"}
	w.must(w.user.Update(w.ctx, secret))
	w.run()
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/Suspended")
	w.expectRequests(1)
}

func TestAnEditOfTheCredentialsMetadataIsNotWorthAWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	token, target := w.token("links").ResourceVersion, w.secret("links").ResourceVersion
	secret := w.secret("payu-credentials")
	secret.Labels = map[string]string{"touched": "yes"}
	w.must(w.user.Update(w.ctx, secret))
	for range 2 {
		w.run()
		if w.token("links").ResourceVersion != token || w.secret("links").ResourceVersion != target {
			t.Error("something was written")
		}
		w.restart()
	}
	w.expectConditions("links", good)
	w.expectRequests(1)
	w.pass(90 * time.Minute)
	w.expectRequests(2)
	if got, want := w.token("links").Status.CredentialsVersion, secret.ResourceVersion; got != want {
		t.Errorf("the next attempt was made with the credentials' version %s, want %s", got, want)
	}
}

func TestTheStatusNamesTheCredentialsOfTheLastAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.payu.PutClient(payutest.Client{ID: "merchant", Secret: "another"})
	w.credentials("payu-credentials", "merchant", "another") // in the same second: all else in the status stays
	w.run()
	w.expectRequests(2)
	if got, want := w.token("links").Status.CredentialsVersion, w.secret("payu-credentials").ResourceVersion; got != want {
		t.Errorf("the last attempt was made with the credentials' version %s, want %s", got, want)
	}
}

func TestAWaitSurvivesAnEditOfTheCredentialsMetadataAndARestart(t *testing.T) { // trap 21
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{ClientID: "merchant", Times: 1, Error: "rate_limit_exceeded", Header: map[string]string{"Retry-After": "900"}})
	w.create("first")
	w.run()
	w.create("second", func(p *v1alpha1.PayUToken) { p.Spec.Scopes = []v1alpha1.Scope{"create_payment_links"} })
	w.run()
	w.expectConditions("second", "Ready=False/RateLimited Refreshed=False/RateLimited")
	w.delete(&v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Name: "first"}}) // it would tell the new process to wait
	secret := w.secret("payu-credentials")
	secret.Labels = map[string]string{"touched": "yes"}
	w.must(w.user.Update(w.ctx, secret))
	w.run()
	w.restart()
	w.run()
	w.expectRequests(1)
}

func TestTheBackOffOfASharerSurvivesARestart(t *testing.T) { // trap 21
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", "wrong")
	w.create("a")
	w.create("b")
	w.run()
	w.expectRequests(1)
	w.restart()
	w.run()
	w.expectRequests(1)
	w.pass(16 * time.Minute)
	w.expectRequests(2)
	if got := w.token("b").Status.Failures; got != 2 {
		t.Errorf("failures %d, want 2", got)
	}
}

func TestARateLimitSurvivesARestartForTheWholeClient(t *testing.T) { // trap 22
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Error: "rate_limit_exceeded", Times: 1})
	w.create("a")
	w.run()
	w.restart()
	w.run()
	w.create("b", func(p *v1alpha1.PayUToken) { p.Spec.Scopes = p.Spec.Scopes[:1] })
	w.run()
	w.expectRequests(1)
	w.expectConditions("b", "Ready=False/RateLimited Refreshed=False/RateLimited")
	w.pass(61 * time.Second)
	w.expectConditions("a", good)
	w.expectConditions("b", good)
}

func TestAFormerTargetThatCannotBeRemovedDoesNotHideTheNewOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links", targeting("old"))
	w.run()
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error { return errQuota },
	})
	w.edit("links", targeting("new"))
	w.reconcile("links")
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/TargetWriteFailed Stalled=True/TargetWriteFailed")
	if got := w.token("links").Status; got.SecretName != "old" || got.ObservedGeneration != 2 {
		t.Errorf("secretName %q, observedGeneration %d", got.SecretName, got.ObservedGeneration)
	}
	w.operator.Client = w.api
	w.run()
	if w.secret("old") != nil || w.token("links").Status.SecretName != "new" {
		t.Error("the former Secret is still there")
	}
}

func TestSharersGetOneToken(t *testing.T) { // traps 4 and 28
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.RevokePrevious, Latency: time.Millisecond})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.credentials("other-name", "merchant", secretOne)
	for i := range 10 {
		w.create(fmt.Sprint("token-", i), func(p *v1alpha1.PayUToken) {
			if i%2 == 0 {
				p.Spec.CredentialsSecretRef.Name = "other-name"
				p.Spec.Scopes = []v1alpha1.Scope{"read_payment_links", "create_payment_links"} // the same set
			}
		})
	}
	w.run()
	w.expectRequests(1)
	for i := range 10 {
		w.expectLive(fmt.Sprint("token-", i))
	}
	w.pass(100 * time.Minute)
	w.expectRequests(2)
	w.restart()
	w.run()
	w.pass(80 * time.Minute)
	w.expectRequests(3)
	for i := range 10 {
		w.expectLive(fmt.Sprint("token-", i))
	}
	w.payu.PutClient(payutest.Client{ID: "merchant", Secret: "rotated"})
	w.credentials("payu-credentials", "merchant", "rotated")
	w.credentials("other-name", "merchant", "rotated")
	w.run()
	w.expectRequests(4)
}

func TestAnotherSecretOrScopeSetIsAnotherToken(t *testing.T) { // trap 4
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.credentials("wrong", "merchant", "guessed")
	w.create("mine")
	w.run()
	w.create("thief", func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.Name = "wrong" })
	w.create("less", func(p *v1alpha1.PayUToken) { p.Spec.Scopes = p.Spec.Scopes[:1] })
	w.run()
	w.expectRequests(3)
	if w.secret("thief") != nil || w.value("less") == w.value("mine") {
		t.Error("a token was shared with somebody who has no right to it")
	}
}

// TestAForgedSealOpensNothing has somebody who may write Secrets, but does not know the client secret, copy the seal
// of another PayUToken's Secret: the operator must not believe it and hand out the shared token.
func TestAForgedSealOpensNothing(t *testing.T) { // trap 4
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.credentials("wrong", "merchant", "guessed")
	w.create("mine")
	w.create("thief", func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.Name = "wrong" })
	w.run()
	thief, mine := w.token("thief"), w.secret("mine")
	forged := mine.DeepCopy()
	forged.ObjectMeta = metav1.ObjectMeta{Namespace: w.namespace, Name: "thief", Labels: mine.Labels, Annotations: mine.Annotations}
	forged.Labels[v1alpha1.LabelTokenUID], forged.Annotations[v1alpha1.AnnotationTokenName] = string(thief.UID), "thief"
	w.apply(forged)
	copied := w.value("thief")
	w.restart()
	w.run()
	if w.conditions("thief") == good {
		t.Error("a copied seal was believed")
	}
	w.edit("mine", refresh("now"))
	w.pass(6 * time.Second)
	w.pass(90 * time.Minute)
	if w.value("mine") == copied || w.value("thief") != copied {
		t.Error("the Secret of a PayUToken with wrong credentials holds a shared token")
	}
}

func TestTheClockIsNotTrusted(t *testing.T) { // trap 7
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	if sleep := w.wakeAt["links"].Sub(w.clock.Now()); sleep > 10*time.Minute {
		t.Errorf("sleeps for %v", sleep)
	}
	w.clock.SetTime(start.Add(-time.Hour))
	w.run()
	w.expectRequests(2)
	if at := w.token("links").Status.FetchedAt.Time; !at.Equal(start.Add(-time.Hour)) {
		t.Errorf("fetchedAt %v after the clock was set back", at)
	}
	w.clock.SetTime(start.Add(5 * time.Hour))
	w.run()
	w.expectRequests(3)
	w.expectLive("links")
}

func TestACrashBeforeTheStatusIsWrittenCostsNothing(t *testing.T) { // trap 9
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.faults.status(errors.New("the process was killed"))
	w.run()
	if w.value("links") == "" || w.conditions("links") != "" {
		t.Fatal("the test needs a Secret without a status")
	}
	w.faults.status(nil)
	w.restart()
	w.run()
	w.expectConditions("links", good)
	w.expectRequests(1)
}

func TestAnotherLeadersLaterTokenIsKept(t *testing.T) { // trap 10
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.clock.SetTime(start.Add(90 * time.Minute))
	other := *w
	other.restart()
	applies, interfered := 0, false
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			if applies++; applies == 2 { // the first is the trial before PayU is asked
				interfered = true
				w.clock.SetTime(w.clock.Now().Add(2 * time.Second))
				other.run()
			}
			return c.Patch(ctx, o, patch, options...)
		},
	})
	w.run()
	if !interfered {
		t.Fatal("the other leader did not come in between")
	}
	issued := w.payu.Issued()
	if w.value("links") != issued[len(issued)-1].Token {
		t.Error("the older token has replaced the later one")
	}
	w.run()
	w.expectRequests(3)
}

// TestALeaderThatDiesBetweenTwoWritesLeavesNoDeadToken has a leader die when one of two Secrets has got the new token: in
// revoke-previous mode the other one holds a dead token then, which looks as good as any.
func TestALeaderThatDiesBetweenTwoWritesLeavesNoDeadToken(t *testing.T) { // traps 3, 10
	t.Parallel()
	for name, lookAgain := range map[string]func(*world){
		"the next process": func(w *world) { w.restart() },
		"a leader at work": func(*world) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, payutest.Config{Mode: payutest.RevokePrevious})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.create("first")
			w.create("second", func(p *v1alpha1.PayUToken) {
				p.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{"access_token": "{{ .AccessToken }}"}
			})
			w.run()
			w.clock.SetTime(start.Add(10 * time.Second))
			dying := *w
			dying.restart()
			dying.run()
			dying.edit("first", refresh("now"))
			dying.reconcile("first")
			dying.settle()
			dying.reconcile("first")
			if w.value("first") == w.value("second") {
				t.Fatal("the test needs Secrets with different tokens")
			}
			lookAgain(w)
			w.clock.SetTime(start.Add(11 * time.Second))
			w.run()
			w.expectLive("first")
			w.expectLive("second")
			w.expectRequests(2)
			w.expectConditions("second", good)
			w.restart()
			w.run()
			w.pass(time.Hour)
			w.expectRequests(2)
		})
	}
}

// TestALaterTokenThatCannotBeSharedIsLeftAlone has one Secret keep a later token than the others: to ask again does not
// help, and must not be repeated.
func TestALaterTokenThatCannotBeSharedIsLeftAlone(t *testing.T) { // trap 3
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("first")
	w.create("second")
	w.run()
	w.clock.SetTime(start.Add(time.Minute))
	w.faults.set(nil, func(name string) error {
		if name == "second" {
			return apierrors.NewForbidden(corev1.Resource("secrets"), name, errors.New("no"))
		}
		return nil
	})
	w.edit("first", refresh("now"))
	w.run()
	w.restart()
	w.run()
	w.pass(time.Hour)
	w.expectRequests(2)
	w.faults.set(nil, nil)
	w.pass(10 * time.Minute)
	w.expectRequests(2)
	if w.value("first") != w.value("second") {
		t.Error("two tokens of one source")
	}
}

// TestATokenThatComesDuringThePassIsHandedOn has PayU answer before the pass that asked is over, and the operator stop
// before there is another one.
func TestATokenThatComesDuringThePassIsHandedOn(t *testing.T) { // trap 9
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.reconcile("links")
	w.settle()
	if w.requests() != 1 || w.secret("links") != nil {
		t.Fatal("the test needs a token that is not written yet")
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	w.must(w.operator.drain(stopped))
	w.expectLive("links")
}

func TestAStaleCacheIsWaitedFor(t *testing.T) { // trap 11
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	stale := w.token("links")
	w.run()
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			switch into := o.(type) {
			case *v1alpha1.PayUToken:
				stale.DeepCopyInto(into)
				return nil
			case *corev1.Secret:
				return notFound(key.Name)
			}
			return c.Get(ctx, key, o, options...)
		},
	})
	w.operator.Others = w.operator.Client
	for range 5 {
		w.run()
	}
	w.expectRequests(1)
	w.pass(10 * time.Second) // then it is read from the API server
	w.expectRequests(1)
	w.expectConditions("links", good)
}

func TestARefusedClientIsAskedSlowlyAndAtOnceWhenTheCauseChanges(t *testing.T) { // trap 20
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", "wrong")
	w.create("links")
	w.run()
	for _, wait := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, time.Hour} {
		before := w.requests()
		w.pass(wait - time.Second)
		w.expectRequests(before)
		w.restart() // a crash loop must not forget it
		w.run()
		w.expectRequests(before)
		w.pass(time.Second)
		w.expectRequests(before + 1)
	}
	for i, change := range []func(){
		func() {
			w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.RenewalPercent = 50 }) // PayU does not see that
			w.edit("links", refresh("now"))
		},
		func() {
			w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Scopes = []v1alpha1.Scope{"read_payment_links"} })
		},
		func() { w.credentials("payu-credentials", "merchant", "wrong again") },
	} {
		w.pass(payu.Floor)
		before := w.requests()
		change()
		w.run()
		w.run()
		if made := w.requests() - before; made != 1 {
			t.Errorf("change %d: %d requests, want 1 at once", i, made)
		}
	}
}

func TestTransientFailuresBackOffAndARestartDoesNotForget(t *testing.T) { // trap 21
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Error: "server_error"})
	w.create("links")
	w.run()
	w.pass(20 * time.Minute)
	// 5, 10, 20 … 160 s, then every 5 min: with the jitter at its most, 1 + 6 + 2 requests in 20 min.
	if made := w.requests(); made < 9 || made > 10 {
		t.Errorf("%d requests in 20 min", made)
	}
	failures, before := w.token("links").Status.Failures, w.requests()
	for range 10 {
		w.restart()
		w.run()
	}
	w.expectRequests(before)
	w.pass(5 * time.Minute)
	if got := w.token("links").Status.Failures; got != failures+1 {
		t.Errorf("failures went from %d to %d over a restart", failures, got)
	}
}

func TestOneRateLimitHoldsForTheWholeClient(t *testing.T) { // trap 22
	t.Parallel()
	w := newWorld(t, payutest.Config{Clients: []payutest.Client{{ID: "merchant", Secret: secretOne}, {ID: "other", Secret: "other-secret"}}})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.credentials("other", "other", "other-secret")
	w.payu.Inject(payutest.Fault{ClientID: "merchant", Times: 1, Status: 429, Body: `{"error":"rate_limit_exceeded","retry_after":60}`, Header: map[string]string{"Retry-After": "90"}})
	w.create("first")
	w.run()
	w.create("second", func(p *v1alpha1.PayUToken) { p.Spec.Scopes = p.Spec.Scopes[:1] })
	w.create("third", func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.Name = "other" })
	w.run()
	w.expectRequests(2)
	w.expectConditions("second", "Ready=False/RateLimited Refreshed=False/RateLimited")
	w.expectConditions("third", good)
	w.pass(89 * time.Second)
	w.expectRequests(2)
	w.pass(2 * time.Second)
	w.expectRequests(4)
	w.expectConditions("first", good)
	w.expectConditions("second", good)
}

func TestAnIncidentAtPayUDestroysNoToken(t *testing.T) { // trap 23
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	before := w.secret("links")
	w.payu.Inject(payutest.Fault{Error: "invalid_client"})
	w.pass(2*time.Hour - time.Second)
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/InvalidClient Stalled=True/InvalidClient")
	w.pass(time.Hour)
	w.expectConditions("links", "Ready=False/InvalidClient Refreshed=False/InvalidClient Stalled=True/InvalidClient")
	if w.secret("links").ResourceVersion != before.ResourceVersion {
		t.Error("the Secret was changed")
	}
}

func TestTheOperatorsOwnWritesDoNotWakeIt(t *testing.T) { // trap 24
	t.Parallel()
	old := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	for name, test := range map[string]struct {
		change edit
		want   bool
	}{
		"a status":                    {func(p *v1alpha1.PayUToken) { p.Status.Failures = 3 }, false},
		"a label":                     {func(p *v1alpha1.PayUToken) { p.Labels = map[string]string{"a": "b"} }, false},
		"a spec":                      {func(p *v1alpha1.PayUToken) { p.Generation++ }, true},
		"a refresh request":           {refresh("now"), true},
		"the beginning of a deletion": {func(p *v1alpha1.PayUToken) { p.DeletionTimestamp = &metav1.Time{Time: start} }, true},
		"one made anew":               {func(p *v1alpha1.PayUToken) { p.UID = "another" }, true},
	} {
		is := old.DeepCopy()
		test.change(is)
		if got := changed(old, is); got != test.want {
			t.Errorf("%s wakes: %t, want %t", name, got, test.want)
		}
	}
}

func TestTwoWritersDoNotFightForEver(t *testing.T) { // trap 25
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	fight := func() (repairs int) {
		for range 20 {
			secret := w.secret("links")
			secret.Data["access_token"] = []byte("theirs")
			w.must(w.user.Update(w.ctx, secret))
			w.run()
			if w.value("links") != "theirs" {
				repairs++
			}
		}
		return repairs
	}
	if repairs := fight(); repairs != 5 {
		t.Errorf("%d repairs in a moment, want 5", repairs)
	}
	w.expectConditions("links", "Ready=False/TargetConflict Refreshed=True/Succeeded Stalled=True/TargetConflict")
	w.expectRequests(1)
	w.pass(59 * time.Minute)
	if w.value("links") != "theirs" {
		t.Error("repaired before the hour was over")
	}
	w.pass(2 * time.Minute)
	w.expectConditions("links", good)
	fight()
	w.edit("links", refresh("mine"))
	w.run()
	w.expectConditions("links", good)
	w.expectLive("links")
}

func TestTheElderOfTwoRivalsWins(t *testing.T) { // trap 26
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("a", targeting("same"))
	w.create("b", targeting("same"), func(p *v1alpha1.PayUToken) { p.Spec.Scopes = p.Spec.Scopes[:1] })
	w.run()
	w.expectConditions("a", good)
	w.expectConditions("b", "Ready=False/TargetConflict Refreshed=False/TargetConflict Stalled=True/TargetConflict")
	w.pass(time.Hour)
	w.expectRequests(1)
	w.edit("a", targeting("own"))
	w.run()
	w.run()
	w.expectConditions("a", good)
	w.expectConditions("b", good)
	if w.value("own") == w.value("same") {
		t.Error("both have the same token")
	}
}

func TestATerminatingNamespaceIsLeftAlone(t *testing.T) { // trap 27
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.must(cluster.Client.Delete(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}))
	version := w.token("links").ResourceVersion
	w.delete(named("links"))
	for range 3 {
		w.run()
	}
	w.pass(time.Hour)
	w.expectRequests(1)
	if w.secret("links") != nil || w.token("links").ResourceVersion != version {
		t.Error("something was written into a namespace that is being deleted")
	}
	w.delete(w.token("links"))
	w.reconcile("links")
	if _, due := w.wakeAt["links"]; due {
		t.Error("a deleted PayUToken is to be looked at again")
	}
}

func TestForeignSecretsAreCachedAsTheirVersionOnly(t *testing.T) { // trap 29
	t.Parallel()
	secret := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "theirs", UID: "u", ResourceVersion: "7", Labels: map[string]string{"a": "b"},
		Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "everything"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}, OwnerReferences: []metav1.OwnerReference{{Name: "x"}},
	}}
	got, err := newCommon().compact(secret)
	if err != nil {
		t.Fatal(err)
	}
	want := metav1.ObjectMeta{Namespace: "shop", Name: "theirs", UID: "u", ResourceVersion: "7"}
	if stripped := got.(*metav1.PartialObjectMetadata).ObjectMeta; !slices.Equal([]string{fmt.Sprint(stripped)}, []string{fmt.Sprint(want)}) {
		t.Errorf("kept %+v", stripped)
	}
	for _, each := range []labels.Set{nil, {v1alpha1.LabelManagedBy: "Helm"}, {v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}} {
		own := each[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy
		if OwnSecrets().Matches(each) != own || otherSecrets().Matches(each) == own {
			t.Errorf("a Secret with labels %v is in the wrong cache, in both or in none", each)
		}
	}
}

func TestCredentialsAreReadInThePayUTokensNamespaceOnly(t *testing.T) { // trap 32
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	elsewhere := *w
	elsewhere.reset()
	elsewhere.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.expectConditions("links", "Ready=False/CredentialsNotFound Refreshed=False/CredentialsNotFound Stalled=True/CredentialsNotFound")
	w.expectRequests(0)
}
