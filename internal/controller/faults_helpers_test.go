package controller

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// ---- the operator's internals: only these functions know them

// await waits for the requests to PayU that are in flight.
func await(w *world) { w.settle() }

// nextQueued takes the next PayUToken from the work queue. It returns an empty name if the queue is empty.
func nextQueued(w *world) string {
	if w.queue().Len() == 0 {
		return ""
	}
	request, _ := w.queue().Get()
	w.queue().Done(request)
	return request.Name
}

// readThrough makes the operator read from the API server through c.
func readThrough(w *world, c client.WithWatch) {
	w.operator.Live, w.operator.credentials.live = c, c
}

// wakes reports whether the watch of PayUTokens has one reconciled because of a change.
func wakes(w *world, was, is *v1alpha1.PayUToken) bool {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	w.operator.tokenEvents().Update(w.ctx, event.UpdateEvent{ObjectOld: was, ObjectNew: is}, queue)
	return queue.Len() > 0
}

// ---- faults of the API server

// onRead calls fault before the operator reads a Secret from the API server.
func onRead(w *world, fault func(name string) error) {
	readThrough(w, interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if _, ok := o.(*corev1.Secret); ok {
				if err := fault(key.Name); err != nil {
					return err
				}
			}
			return c.Get(ctx, key, o, options...)
		},
	}))
}

// hideFromCache keeps a Secret out of the cache of the operator's own Secrets, as it is with foreign ones.
func hideFromCache(w *world, name string) {
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if _, ok := o.(*corev1.Secret); ok && key.Name == name {
				return notFound(name)
			}
			return c.Get(ctx, key, o, options...)
		},
	})
}

// onWrite calls admit with each Secret that the operator applies, as an admission webhook would be called. A trial is a dry run.
func onWrite(w *world, admit func(secret *corev1.Secret, trial bool) error) {
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
			secret, all := &corev1.Secret{}, client.PatchOptions{}
			data, err := patch.Data(o)
			if err := errors.Join(err, json.Unmarshal(data, secret)); err != nil {
				return err
			}
			secret.Name = o.GetName()
			if err := admit(secret, len(all.ApplyOptions(options).DryRun) > 0); err != nil {
				return err
			}
			return c.Patch(ctx, o, patch, options...)
		},
	})
}

// onDelete makes deletions by the operator fail.
func onDelete(w *world, err error) {
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error { return err },
	})
}

func forbid(name, why string) error {
	return apierrors.NewForbidden(corev1.Resource("secrets"), name, errors.New(why))
}

// forbidLabel is an admission policy that refuses Secrets with a label.
func forbidLabel(label string) func(*corev1.Secret, bool) error {
	return func(secret *corev1.Secret, _ bool) error {
		if _, ok := secret.Labels[label]; ok {
			return forbid(secret.Name, "label "+label+" is forbidden")
		}
		return nil
	}
}

// endure reconciles all PayUTokens and lets time pass, as run and pass do, but passes may fail: the queue then tries again.
func (w *world) endure(d time.Duration) {
	w.Helper()
	end := w.clock.Now().Add(d)
	for _, token := range w.tokens() {
		w.attempt(token.Name)
	}
	for passes := 0; ; passes++ {
		name, at := w.nextDue()
		if name == "" || at.After(end) {
			w.clock.SetTime(end)
			return
		}
		if passes > 2000 {
			w.Fatalf("more than %d passes in %v", passes, d)
		}
		if at.After(w.clock.Now()) {
			w.clock.SetTime(at)
		}
		w.attempt(name)
	}
}

// attempt makes a pass over a PayUToken, and over those that the pass and the requests in flight put into the queue.
func (w *world) attempt(name string) {
	w.Helper()
	for passes := 0; name != ""; passes++ {
		if passes > 100 {
			w.Fatalf("the queue is never empty")
		}
		result, err := w.look(name)
		if err != nil && !result.IsZero() {
			w.Errorf("a pass returns the result %v and the error %v", result, err)
		}
		delete(w.wakeAt, name)
		switch {
		case err != nil:
			w.wakeAt[name] = w.clock.Now().Add(10 * time.Second)
		case result.RequeueAfter > 0:
			w.wakeAt[name] = w.clock.Now().Add(result.RequeueAfter)
		}
		await(w)
		name = nextQueued(w)
	}
}

// begin reconciles a PayUToken until a request to PayU is in flight, which a fault keeps there.
func (w *world) begin(name string) {
	w.Helper()
	for next := name; next != ""; next = nextQueued(w) {
		if _, err := w.look(next); err != nil {
			w.Fatalf("reconciling %s: %v", next, err)
		}
	}
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	w.must(w.payu.Await(ctx, func(c payutest.Counters) bool { return c.InFlight == 1 }))
}

// ---- what users write

func withScopes(scopes ...v1alpha1.Scope) edit {
	return func(p *v1alpha1.PayUToken) { p.Spec.Scopes = scopes }
}

func withCredentials(name v1alpha1.SecretName) edit {
	return func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.Name = name }
}

func withSuspend(suspend bool) edit {
	return func(p *v1alpha1.PayUToken) { p.Spec.Suspend = suspend }
}

func withPolicy(policy v1alpha1.DeletionPolicy) edit {
	return func(p *v1alpha1.PayUToken) { p.Spec.Target.DeletionPolicy = policy }
}

func withType(secretType v1alpha1.SecretType) edit {
	return func(p *v1alpha1.PayUToken) { p.Spec.Target.Template.Type = secretType }
}

func withLabel(key, value string) edit {
	return func(p *v1alpha1.PayUToken) { p.Spec.Target.Template.Metadata.Labels = map[string]string{key: value} }
}

func orNothing(e edit) edit {
	if e == nil {
		return func(*v1alpha1.PayUToken) {}
	}
	return e
}

// withData sets the template of the data: key, value, key, value.
func withData(pairs ...string) edit {
	return func(p *v1alpha1.PayUToken) {
		p.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{}
		for i := 0; i < len(pairs); i += 2 {
			p.Spec.Target.Template.Data[pairs[i]] = v1alpha1.DataTemplate(pairs[i+1])
		}
	}
}

// change updates a Secret as a user.
func (w *world) change(name string, change func(*corev1.Secret)) {
	w.Helper()
	secret := w.secret(name)
	if secret == nil {
		w.Fatalf("there is no Secret %s to change", name)
	}
	change(secret)
	w.must(w.user.Update(w.ctx, secret))
}

// withLinks returns a world with the PayUToken "links", which is ready.
func withLinks(t *testing.T, config payutest.Config, edits ...edit) *world {
	t.Helper()
	w := newWorld(t, config)
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links", edits...)
	w.run()
	w.expectConditions("links", good)
	w.events.take()
	return w
}

// ---- what users see

// stalledBy, failedBy, aliveStalledBy and aliveFailedBy are conditions in short.
func stalledBy(reason string) string { return failedBy(reason) + " Stalled=True/" + reason }
func failedBy(reason string) string {
	return "Ready=False/" + reason + " Refreshed=False/" + reason
}
func aliveStalledBy(reason string) string { return aliveFailedBy(reason) + " Stalled=True/" + reason }
func aliveFailedBy(reason string) string  { return "Ready=True/TokenValid Refreshed=False/" + reason }

// condition returns one condition as "True/TokenValid", empty if it is absent.
func (w *world) condition(name, kind string) string {
	w.Helper()
	if c := meta.FindStatusCondition(w.token(name).Status.Conditions, kind); c != nil {
		return string(c.Status) + "/" + c.Reason
	}
	return ""
}

func (w *world) expectCondition(name, kind, want string) {
	w.Helper()
	if got := w.condition(name, kind); got != want {
		w.Errorf("condition %s of %s is %q, want %q (all: %s)", kind, name, got, want, w.conditions(name))
	}
}

// expectHandled checks which wish for a refresh counts as handled.
func (w *world) expectHandled(name, want string) {
	w.Helper()
	if got := w.token(name).Status.LastHandledRefreshAt; got != want {
		w.Errorf("%s: lastHandledRefreshAt is %q, want %q", name, got, want)
	}
}

// messages returns the messages of all conditions.
func (w *world) messages(name string) string {
	w.Helper()
	var all strings.Builder
	for _, c := range w.token(name).Status.Conditions {
		all.WriteString(c.Type + ": " + c.Message + "\n")
	}
	return all.String()
}

func (w *world) expectEvents(want ...string) {
	w.Helper()
	if got := w.events.take(); strings.Join(got, ", ") != strings.Join(want, ", ") {
		w.Errorf("events %q, want %q", got, want)
	}
}

var payuByName = regexp.MustCompile(`\bPayU\b`)

// expectPayUNotNamed checks that the conditions that are not well do not speak of PayU.
func (w *world) expectPayUNotNamed(name string) {
	w.Helper()
	for _, c := range w.token(name).Status.Conditions {
		well := c.Status == "True" && c.Type != v1alpha1.ConditionStalled
		if !well && payuByName.MatchString(c.Message) {
			w.Errorf("%s=%s/%s names PayU, which did nothing wrong: %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
}

// expectFloor checks that PayU was not asked for one source twice within 5 s.
func (w *world) expectFloor() {
	w.Helper()
	last, least := map[string]time.Time{}, 5*time.Second
	for _, r := range w.payu.Requests() {
		source := r.ClientID + " " + r.Scope
		if before, ok := last[source]; ok {
			least = min(least, r.ReceivedAt.Sub(before))
		}
		last[source] = r.ReceivedAt
	}
	if least < 5*time.Second {
		w.Errorf("PayU was asked for one source again after %v (%d requests in all)", least, w.requests())
	}
}

// tick lets time pass without anything being reconciled.
func (w *world) tick(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }
