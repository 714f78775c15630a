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
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

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
