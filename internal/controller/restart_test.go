package controller

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// ---- reuse

// TestALostSecretIsReplacedAfterARestart though the status says when a reused token ends.
func TestALostSecretIsReplacedAfterARestart(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{Mode: payutest.Reuse})
	w.pass(90 * time.Minute)
	w.expectCondition("links", v1alpha1.ConditionRefreshed, "True/TokenReused")
	made := w.requests()
	w.delete(named("links"))
	w.restart()
	w.run()
	w.pass(6 * time.Second)
	w.expectRequests(made + 1)
	w.expectLive("links")
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

// ---- credentials

// TestAReadThatBeganBeforeAnEditIsNotTaken: one PayUToken reads the credentials, slowly; a person corrects them; another
// PayUToken is reconciled because of that, and for nothing else.
func TestAReadThatBeganBeforeAnEditIsNotTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", "")
	w.create("slow")
	w.create("quick")
	began, goOn := make(chan struct{}), make(chan struct{})
	var reads atomic.Int32
	readThrough(w, interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			err := c.Get(ctx, key, o, options...)
			if key.Name == "payu-credentials" && reads.Add(1) == 1 {
				close(began)
				<-goOn // the answer is on its way
			}
			return err
		},
	}))
	var list v1alpha1.PayUTokenList
	w.must(w.user.List(w.ctx, &list, client.InNamespace(w.namespace)))
	for i := range list.Items {
		w.operator.references.replace(nil, &list.Items[i])
	}
	done := make(chan error, 2)
	go func() { _, err := w.operator.Reconcile(w.ctx, requestFor(w, "slow")); done <- err }()
	<-began
	w.credentials("payu-credentials", "merchant", secretOne)
	go func() { _, err := w.operator.pass(w.ctx, requestFor(w, "quick").NamespacedName); done <- err }()
	time.AfterFunc(500*time.Millisecond, func() { close(goOn) })
	w.must(errors.Join(<-done, <-done))
	if stale := w.condition("quick", v1alpha1.ConditionReady); stale == "False/CredentialsInvalid" {
		t.Errorf("it was reconciled after the edit, and says %s", stale)
	}
}
