package docs_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// backup is what a namespace held: a PayUToken, its credentials and its target.
type backup struct {
	token               *v1alpha1.PayUToken
	credentials, target *corev1.Secret
}

// restore proves the table of docs/operations.md. There is no garbage collector: the test deletes what it would.
func (w *world) restore() {
	for _, c := range []struct {
		name     string
		change   func(*backup)
		requests int
		same     bool // the token
	}{
		{"PayUToken and credentials", func(b *backup) { b.target = nil }, 1, false},
		{"the target too, without owner", func(b *backup) { b.target.OwnerReferences = nil }, 0, true},
		{"other credentials than the target was made from", func(b *backup) {
			b.target.OwnerReferences = nil
			b.credentials.Data["client_id"] = []byte(otherClientID)
		}, 1, false},
	} {
		w.Run(c.name, func(t *testing.T) {
			w := w.on(t)
			b := w.lose()
			former := lab.AccessToken(b.target)
			c.change(b)
			w.putBack(b)
			requests := len(w.payu.Requests())
			w.operate()
			w.awaitOwner(b)
			lab.AwaitTrue(w, "the token", func() bool { return (lab.AccessToken(w.target(b)) == former) == c.same })
			w.expectRequests(requests, c.requests)
			w.expectToken(b, former, c.same)
		})
	}
	w.Run("with the UID of the former owner", func(t *testing.T) { w.on(t).restoreWithOwner() })
	w.Run("an older target over a newer one", func(t *testing.T) { w.on(t).restoreOlder() })
}

func (w *world) restoreWithOwner() {
	b := w.lose()
	former := lab.AccessToken(b.target)
	w.putBack(b)
	requests := len(w.payu.Requests())
	w.operate()
	w.awaitCondition(b, v1alpha1.ConditionStalled, v1alpha1.ReasonTargetWriteFailed)
	w.awaitCondition(b, v1alpha1.ConditionReady, v1alpha1.ReasonTokenValid)
	lab.Check(w.T, w.Client.Delete(w.Context(), b.target))
	w.awaitOwner(b)
	w.expectRequests(requests, 0)
	w.expectToken(b, former, true)
}

func (w *world) restoreOlder() {
	b := w.lose()
	older := b.target
	b.target = nil
	w.putBack(b)
	lab.AwaitTrue(w, "a later second: of two tokens of one second none is the newer", func() bool {
		return time.Since(b.token.Status.FetchedAt.Time) > time.Second
	})
	stop := w.operate()
	w.awaitOwner(b)
	newer := w.target(b)
	requests := len(w.payu.Requests())
	putOlder := func() {
		target := w.target(b)
		target.Data, target.Annotations, target.OwnerReferences = older.Data, older.Annotations, nil
		lab.Check(w.T, w.Client.Update(w.Context(), target))
	}

	putOlder()
	w.awaitOwner(b)
	w.expectToken(b, lab.AccessToken(newer), true)
	stop()
	putOlder()
	w.operate()
	w.awaitOwner(b)
	w.expectToken(b, lab.AccessToken(older), true)
	w.expectRequests(requests, 0)
}

// lose has the operator make a token, backs all up and deletes it. The operator is stopped then.
func (w *world) lose() *backup {
	w.Helper()
	object := metav1.ObjectMeta{Namespace: lab.Must(w.Cluster.Namespace(w.Context()))(w), Name: "payment-links"}
	w.payu.PutClient(payutest.Client{ID: object.Namespace, Secret: clientSecret}) // of nobody else, who could hold a live token
	b := &backup{
		credentials: lab.NewCredentials(object.Namespace, "payu-credentials", object.Namespace, clientSecret),
		token:       lab.NewToken(object.Namespace, object.Name, lab.For("create_payment_links")),
	}
	stop := w.operate()
	lab.Check(w.T, w.Client.Create(w.Context(), b.credentials))
	lab.Check(w.T, w.Client.Create(w.Context(), b.token))
	w.awaitCondition(b, v1alpha1.ConditionReady, v1alpha1.ReasonTokenValid)
	stop()
	b.target = w.target(b)
	for _, lost := range []client.Object{b.token, b.target, b.credentials} {
		lab.Check(w.T, w.Client.Delete(w.Context(), lost))
	}
	return b
}

// putBack creates what the backup holds, Secrets first, and then the status, as a tool may that restores it.
func (w *world) putBack(b *backup) {
	w.Helper()
	status := b.token.Status
	objects := []client.Object{b.credentials, b.token}
	if b.target != nil {
		objects = []client.Object{b.credentials, b.target, b.token}
	}
	for _, object := range objects {
		object.SetUID("")
		object.SetResourceVersion("")
		lab.Check(w.T, w.Client.Create(w.Context(), object))
	}
	b.token.Status = status
	lab.Check(w.T, w.Client.Status().Update(w.Context(), b.token))
}

func (w *world) awaitCondition(b *backup, condition, reason string) {
	w.Helper()
	lab.AwaitTrue(w, condition+" is True: "+reason, func() bool {
		lab.Check(w.T, w.Client.Get(w.Context(), client.ObjectKeyFromObject(b.token), b.token))
		c := meta.FindStatusCondition(b.token.Status.Conditions, condition)
		return c != nil && c.Status == metav1.ConditionTrue && c.Reason == reason && b.token.Status.SecretName != ""
	})
}

func (w *world) target(b *backup) *corev1.Secret {
	w.Helper()
	target := &corev1.Secret{}
	lab.Check(w.T, w.Client.Get(w.Context(), client.ObjectKeyFromObject(b.token), target))
	return target
}

// awaitOwner waits until the target belongs to the PayUToken as it is now.
func (w *world) awaitOwner(b *backup) {
	w.Helper()
	lab.AwaitTrue(w, "the target has its new owner", func() bool {
		target := &corev1.Secret{}
		err := w.Client.Get(w.Context(), client.ObjectKeyFromObject(b.token), target)
		lab.Check(w.T, client.IgnoreNotFound(err))
		return metav1.IsControlledBy(target, b.token) && target.Labels[v1alpha1.LabelTokenUID] == string(b.token.UID)
	})
}

// expectToken checks whether the target holds a token, or another.
func (w *world) expectToken(b *backup, token string, same bool) {
	w.Helper()
	if got := lab.AccessToken(w.target(b)); got == "" || (got == token) != same {
		w.Errorf("the expected token is in the target: %t, want %t", got == token, same)
	}
}

func (w *world) expectRequests(before, more int) {
	w.Helper()
	if got := len(w.payu.Requests()) - before; got != more {
		w.Errorf("%d token requests after the restore, want %d", got, more)
	}
}
