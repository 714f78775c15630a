package docs_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
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
			former := accessToken(b.target)
			c.change(b)
			w.putBack(b)
			requests := len(w.payu.Requests())
			w.operate()
			w.awaitOwner(b)
			w.await("the token", func(context.Context) bool { return (accessToken(w.target(b)) == former) == c.same })
			w.expectRequests(requests, c.requests)
			w.expectToken(b, former, c.same)
		})
	}
	w.Run("with the UID of the former owner", func(t *testing.T) { w.on(t).restoreWithOwner() })
	w.Run("an older target over a newer one", func(t *testing.T) { w.on(t).restoreOlder() })
}

func (w *world) restoreWithOwner() {
	b := w.lose()
	former := accessToken(b.target)
	w.putBack(b)
	requests := len(w.payu.Requests())
	w.operate()
	w.awaitCondition(b, v1alpha1.ConditionStalled, v1alpha1.ReasonTargetWriteFailed)
	w.awaitCondition(b, v1alpha1.ConditionReady, v1alpha1.ReasonTokenValid)
	check(w.T, w.Client.Delete(w.Context(), b.target))
	w.awaitOwner(b)
	w.expectRequests(requests, 0)
	w.expectToken(b, former, true)
}

func (w *world) restoreOlder() {
	b := w.lose()
	older := b.target
	b.target = nil
	w.putBack(b)
	w.await("a later second: of two tokens of one second none is the newer", func(context.Context) bool {
		return time.Since(b.token.Status.FetchedAt.Time) > time.Second
	})
	stop := w.operate()
	w.awaitOwner(b)
	newer := w.target(b)
	requests := len(w.payu.Requests())
	putOlder := func() {
		target := w.target(b)
		target.Data, target.Annotations, target.OwnerReferences = older.Data, older.Annotations, nil
		check(w.T, w.Client.Update(w.Context(), target))
	}

	putOlder()
	w.awaitOwner(b)
	w.expectToken(b, accessToken(newer), true)
	stop()
	putOlder()
	w.operate()
	w.awaitOwner(b)
	w.expectToken(b, accessToken(older), true)
	w.expectRequests(requests, 0)
}

// lose has the operator make a token, backs all up and deletes it. The operator is stopped then.
func (w *world) lose() *backup {
	w.Helper()
	object := metav1.ObjectMeta{Namespace: must(w.Namespace(w.Context()))(w.T), Name: "payment-links"}
	w.payu.PutClient(payutest.Client{ID: object.Namespace, Secret: clientSecret}) // of nobody else, who could hold a live token
	b := &backup{
		credentials: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: object.Namespace, Name: "payu-credentials"},
			Data:       map[string][]byte{"client_id": []byte(object.Namespace), "client_secret": []byte(clientSecret)},
		},
		token: &v1alpha1.PayUToken{ObjectMeta: object, Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.EnvironmentTest,
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "payu-credentials"},
			Scopes:               []v1alpha1.Scope{"create_payment_links"},
		}},
	}
	stop := w.operate()
	check(w.T, w.Client.Create(w.Context(), b.credentials))
	check(w.T, w.Client.Create(w.Context(), b.token))
	w.awaitCondition(b, v1alpha1.ConditionReady, v1alpha1.ReasonTokenValid)
	stop()
	b.target = w.target(b)
	for _, lost := range []client.Object{b.token, b.target, b.credentials} {
		check(w.T, w.Client.Delete(w.Context(), lost))
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
		check(w.T, w.Client.Create(w.Context(), object))
	}
	b.token.Status = status
	check(w.T, w.Client.Status().Update(w.Context(), b.token))
}

func (w *world) awaitCondition(b *backup, condition, reason string) {
	w.Helper()
	w.await(condition+" is True: "+reason, func(ctx context.Context) bool {
		check(w.T, w.Client.Get(ctx, client.ObjectKeyFromObject(b.token), b.token))
		c := meta.FindStatusCondition(b.token.Status.Conditions, condition)
		return c != nil && c.Status == metav1.ConditionTrue && c.Reason == reason && b.token.Status.SecretName != ""
	})
}

func (w *world) target(b *backup) *corev1.Secret {
	w.Helper()
	target := &corev1.Secret{}
	check(w.T, w.Client.Get(w.Context(), client.ObjectKeyFromObject(b.token), target))
	return target
}

// awaitOwner waits until the target belongs to the PayUToken as it is now.
func (w *world) awaitOwner(b *backup) {
	w.Helper()
	w.await("the target has its new owner", func(ctx context.Context) bool {
		target := &corev1.Secret{}
		err := w.Client.Get(ctx, client.ObjectKeyFromObject(b.token), target)
		check(w.T, client.IgnoreNotFound(err))
		return metav1.IsControlledBy(target, b.token) && target.Labels[v1alpha1.LabelTokenUID] == string(b.token.UID)
	})
}

// expectToken checks whether the target holds a token, or another.
func (w *world) expectToken(b *backup, token string, same bool) {
	w.Helper()
	if got := accessToken(w.target(b)); got == "" || (got == token) != same {
		w.Errorf("the expected token is in the target: %t, want %t", got == token, same)
	}
}

func (w *world) expectRequests(before, more int) {
	w.Helper()
	if got := len(w.payu.Requests()) - before; got != more {
		w.Errorf("%d token requests after the restore, want %d", got, more)
	}
}

func accessToken(secret *corev1.Secret) string { return string(secret.Data[v1alpha1.KeyAccessToken]) }
