package controller

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

func TestATokenIsFetchedWrittenAndRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	if got := w.token("links").Status.ObservedGeneration; got != -1 {
		t.Errorf("a new object has observedGeneration %d, want -1", got)
	}
	w.run()
	w.expectConditions("links", good)
	w.expectLive("links")
	w.expectRequests(1)

	status := w.token("links").Status
	life := 2 * time.Hour
	if !status.FetchedAt.Time.Equal(start) || !status.ExpiresAt.Time.Equal(start.Add(life)) {
		t.Errorf("fetchedAt %v, expiresAt %v; want %v and %v later", status.FetchedAt, status.ExpiresAt, start, life)
	}
	latest := start.Add(life / 100 * 67)
	if at := status.RenewAt.Time; at.After(latest) || at.Before(latest.Add(-life/20)) {
		t.Errorf("renewAt %v is not within 5 %% of the life before %v", at, latest)
	}
	want := v1alpha1.PayUTokenStatus{ObservedGeneration: 1, SecretName: "links", Scope: "create_payment_links read_payment_links"}
	if status.ObservedGeneration != want.ObservedGeneration || status.SecretName != want.SecretName || status.Scope != want.Scope {
		t.Errorf("status %+v, want %+v", status, want)
	}
	if got := w.events.take(); !slices.Equal(got, []string{"Normal Refreshed"}) {
		t.Errorf("events %v", got)
	}

	first := w.value("links")
	w.pass(status.RenewAt.Sub(start) - time.Second)
	if w.value("links") != first {
		t.Error("renewed before its time")
	}
	w.pass(time.Second)
	if w.value("links") == first {
		t.Error("not renewed when due")
	}
	w.expectRequests(2)
	w.expectConditions("links", good)
}

func TestTheTargetSecretIsAsTheContractSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links", targeting("links-token"))
	w.run()
	secret, token := w.secret("links-token"), w.token("links")
	data := map[string]string{}
	for key, value := range secret.Data {
		data[key] = string(value)
	}
	want := map[string]string{
		"access_token": data["access_token"], "token_type": "Bearer",
		"scope": "create_payment_links read_payment_links", "expires_at": "2026-11-22T11:00:00Z",
	}
	if diff := cmp.Diff(want, data); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	wantLabels := map[string]string{v1alpha1.LabelManagedBy: "payu-token-operator", v1alpha1.LabelTokenUID: string(token.UID)}
	if diff := cmp.Diff(wantLabels, secret.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	for name, value := range map[string]string{
		"auth.payu.in/token-name": "links", "auth.payu.in/fetched-at": "2026-11-22T09:00:00Z", "auth.payu.in/expires-at": "2026-11-22T11:00:00Z",
	} {
		if secret.Annotations[name] != value {
			t.Errorf("annotation %s is %q, want %q", name, secret.Annotations[name], value)
		}
	}
	if source := secret.Annotations["auth.payu.in/source"]; source == "" || strings.Contains(source, "merchant") {
		t.Errorf("annotation source %q", source)
	}
	if owner := metav1.GetControllerOf(secret); owner == nil || owner.UID != token.UID {
		t.Errorf("owner %v, want the PayUToken", owner)
	}
	for _, entry := range secret.ManagedFields {
		if entry.Manager != "payu-token-operator" || entry.Operation != metav1.ManagedFieldsOperationApply {
			t.Errorf("fields are managed by %s with %s, want a server-side apply of payu-token-operator", entry.Manager, entry.Operation)
		}
	}
	if len(secret.Finalizers)+len(token.Finalizers) > 0 {
		t.Error("there are finalizers")
	}
}

func TestAnIdlePassDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.events.take()
	version, secretVersion := w.token("links").ResourceVersion, w.secret("links").ResourceVersion
	w.run()
	w.restart()
	w.run()
	w.expectRequests(1)
	if w.token("links").ResourceVersion != version || w.secret("links").ResourceVersion != secretVersion {
		t.Error("an idle pass, or one after a restart, has written something")
	}
	if got := w.events.take(); len(got) > 0 {
		t.Errorf("events %v on an idle pass", got)
	}
}

// TestDamageIsRepaired breaks the target Secret in every way, with an operator that remembers the token.
func TestDamageIsRepaired(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*corev1.Secret){
		"edited":                  func(s *corev1.Secret) { s.Data["access_token"] = []byte("x") },
		"emptied":                 func(s *corev1.Secret) { s.Data = nil },
		"a key removed":           func(s *corev1.Secret) { delete(s.Data, "scope") },
		"all labels removed":      func(s *corev1.Secret) { s.Labels = nil },
		"another managed-by":      func(s *corev1.Secret) { s.Labels[v1alpha1.LabelManagedBy] = "helm" },
		"annotations removed":     func(s *corev1.Secret) { s.Annotations = nil },
		"a longer life forged":    func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationExpiresAt] = "2036-01-01T00:00:00Z" },
		"owner reference removed": func(s *corev1.Secret) { s.OwnerReferences = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, payutest.Config{})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.create("links")
			w.run()
			before := w.secret("links")
			broken := before.DeepCopy()
			damage(broken)
			w.must(w.user.Update(w.ctx, broken))
			w.run()
			after := w.secret("links")
			if diff := cmp.Diff(before.Data, after.Data); diff != "" {
				t.Errorf("data (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff([]any{before.Labels, before.Annotations, before.OwnerReferences}, []any{after.Labels, after.Annotations, after.OwnerReferences}); diff != "" {
				t.Errorf("metadata (-before +after):\n%s", diff)
			}
			w.expectRequests(1)
			w.expectConditions("links", good)
		})
	}
}

func TestADeletedTargetIsWrittenAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	value := w.value("links")
	w.restart()
	w.run() // the new process reads the token from the Secret
	w.delete(named("links"))
	w.run()
	if w.value("links") != value {
		t.Error("the same token is not back")
	}
	w.expectRequests(1)
}

func TestCorrectedCredentialsLeadToANewAttemptAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", "wrong")
	w.create("links")
	w.run()
	w.expectConditions("links", "Ready=False/InvalidClient Refreshed=False/InvalidClient Stalled=True/InvalidClient")
	w.credentials("payu-credentials", "merchant", secretOne)
	w.run()
	w.expectConditions("links", good)
	w.expectRequests(2)
}

func TestARenamedTargetIsWrittenFirstAndTheFormerOneRemovedAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links", targeting("old"))
	w.run()
	value := w.value("old")
	w.faults.set(nil, func(string) error { return errQuota })
	w.edit("links", targeting("new"))
	w.run()
	if w.secret("old") == nil || w.secret("new") != nil {
		t.Fatal("the former Secret must stay until the new one is written")
	}
	w.faults.set(nil, nil)
	w.edit("links", refresh("once"))
	w.run()
	if w.secret("old") != nil || w.value("new") == "" {
		t.Errorf("former Secret there: %t, new one: %q", w.secret("old") != nil, w.value("new"))
	}
	if w.token("links").Status.SecretName != "new" {
		t.Errorf("secretName %q", w.token("links").Status.SecretName)
	}
	_ = value
}

func TestATemplateShapesTheSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links", func(p *v1alpha1.PayUToken) {
		p.Spec.Target.Template = v1alpha1.SecretTemplate{
			Type:     "example.com/token",
			Metadata: v1alpha1.TemplateMetadata{Labels: map[string]string{"team": "links"}, Annotations: map[string]string{"note": "x"}},
			Data:     map[string]v1alpha1.DataTemplate{"token.env": "T={{ .AccessToken }} {{ .TokenType }} {{ .Environment }}"},
		}
	})
	w.run()
	secret := w.secret("links")
	if len(secret.Data) != 1 || !strings.HasSuffix(string(secret.Data["token.env"]), " Bearer Test") {
		t.Errorf("data has keys %d, token.env ends in %q", len(secret.Data), secret.Data["token.env"])
	}
	if secret.Type != "example.com/token" || secret.Labels["team"] != "links" || secret.Annotations["note"] != "x" {
		t.Errorf("type %s, labels %v, annotations %v", secret.Type, secret.Labels, secret.Annotations)
	}
	w.edit("links", func(p *v1alpha1.PayUToken) {
		p.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{"token": "{{ .AccessToken }}"}
		p.Spec.Target.Template.Metadata.Labels = nil
	})
	w.run()
	secret = w.secret("links")
	if _, stale := secret.Data["token.env"]; stale || len(secret.Data["token"]) == 0 || secret.Labels["team"] != "" {
		t.Errorf("after the change: keys %v, labels %v", len(secret.Data), secret.Labels)
	}
	w.expectRequests(1)
	w.expectConditions("links", good)
}

func TestSuspendLeavesAllAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Suspend = true })
	w.run()
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/Suspended")
	w.pass(2*time.Hour - time.Second)
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/Suspended")
	w.pass(time.Second)
	w.expectConditions("links", "Ready=False/Suspended Refreshed=False/Suspended")
	if w.value("links") == "" {
		t.Error("the Secret was emptied")
	}
	w.expectRequests(1)
	w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Suspend = false })
	w.run()
	w.expectConditions("links", good)
	w.expectRequests(2)
}

func TestARefreshRequestAsksOnceAndIsEchoed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.create("same", targeting("same-token"))
	w.run()
	w.expectRequests(1)
	before := w.value("links")
	w.pass(payu.Floor)
	w.edit("links", refresh("2026-11-22T09:00:00Z"))
	w.run()
	w.run()
	w.expectRequests(2)
	if w.value("links") == before || w.value("same-token") != w.value("links") {
		t.Error("the new token must be in the Secrets of all that share it")
	}
	if got := w.token("links").Status.LastHandledRefreshAt; got != "2026-11-22T09:00:00Z" {
		t.Errorf("lastHandledRefreshAt %q", got)
	}
	w.pass(payu.Floor)
	w.payu.Inject(payutest.Fault{Error: "server_error", Times: 1})
	w.edit("links", refresh("again"))
	w.run()
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/ServerError")
	if got := w.token("links").Status.LastHandledRefreshAt; got != "again" {
		t.Errorf("lastHandledRefreshAt %q after an attempt that failed", got)
	}
	w.pass(10 * time.Second)
	w.expectConditions("links", good)
	w.expectRequests(4)
}

func TestDeletionPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links", func(p *v1alpha1.PayUToken) { p.Spec.Target.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
	w.run()
	if owner := metav1.GetControllerOf(w.secret("links")); owner != nil {
		t.Errorf("a retained Secret has owner %v", owner)
	}
	w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Target.DeletionPolicy = v1alpha1.DeletionPolicyDelete })
	w.run()
	if metav1.GetControllerOf(w.secret("links")) == nil {
		t.Error("no owner after Retain became Delete")
	}
	w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Target.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
	w.run()
	if owner := metav1.GetControllerOf(w.secret("links")); owner != nil {
		t.Errorf("owner %v after Delete became Retain", owner)
	}
	value := w.value("links")
	w.delete(w.token("links"))
	w.reconcile("links")
	w.create("links")
	w.run()
	if w.value("links") != value {
		t.Error("a retained Secret is not taken up again")
	}
	w.expectConditions("links", good)
	w.expectRequests(1)
	if got := w.secret("links").Labels[v1alpha1.LabelTokenUID]; got != string(w.token("links").UID) {
		t.Errorf("the Secret still belongs to %s", got)
	}
}

func TestReadyTurnsFalseAtTheInstantOfExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{TokenTTL: 10 * time.Minute})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.payu.Inject(payutest.Fault{Status: 502, Body: "<html>Bad Gateway</html>"})
	w.pass(10*time.Minute - time.Second)
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/ServerError")
	w.pass(time.Second)
	w.expectConditions("links", "Ready=False/ServerError Refreshed=False/ServerError")
	ready := w.token("links").Status.Conditions[0]
	if !ready.LastTransitionTime.Time.Equal(start.Add(10 * time.Minute)) {
		t.Errorf("Ready turned at %v", ready.LastTransitionTime)
	}
	if w.value("links") == "" {
		t.Error("the Secret was emptied")
	}
	w.payu.ClearFaults()
	w.pass(5 * time.Minute)
	w.expectConditions("links", good)
}

// TestATokenOfFormerCredentialsIsNotPassedOff: the token that was there is not one for other credentials, although these
// cannot be read.
func TestATokenOfFormerCredentialsIsNotPassedOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.credentials("other", "merchant", "refused")
	w.create("links")
	w.run()
	w.edit("links", func(p *v1alpha1.PayUToken) {
		p.Spec.CredentialsSecretRef.Name = "other"
		p.Spec.Scopes = []v1alpha1.Scope{"read_payment_links"}
	})
	w.run()
	w.expectConditions("links", "Ready=False/InvalidClient Refreshed=False/InvalidClient Stalled=True/InvalidClient")
	w.credentials("other", "merchant", "")
	w.run()
	w.expectConditions("links", "Ready=False/CredentialsInvalid Refreshed=False/CredentialsInvalid Stalled=True/CredentialsInvalid")
}

func TestFormerCredentialsRestoredClearTheTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.events.take()
	w.credentials("payu-credentials", "merchant", "wrong")
	w.run()
	w.expectConditions("links", "Ready=False/InvalidClient Refreshed=False/InvalidClient Stalled=True/InvalidClient")
	w.credentials("payu-credentials", "merchant", secretOne)
	w.run()
	w.expectConditions("links", good)
	w.expectRequests(2)
	if status := w.token("links").Status; status.Failures != 0 || status.NextAttemptAt != nil {
		t.Errorf("failures %d, nextAttemptAt %v", status.Failures, status.NextAttemptAt)
	}
	if got := w.events.take(); !slices.Equal(got, []string{"Warning InvalidClient"}) {
		t.Errorf("events %v", got)
	}
}

// TestARefusedRefreshIsTriedAgain: what keeps a refresh away stays in the conditions until the refresh is done.
func TestARefusedRefreshIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	w.pass(payu.Floor)
	w.faults.set(nil, func(name string) error {
		return apierrors.NewForbidden(corev1.Resource("secrets"), name, errors.New("no"))
	})
	w.edit("links", refresh("now"))
	w.run()
	w.pass(10 * time.Minute)
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/TargetWriteFailed Stalled=True/TargetWriteFailed")
	w.expectRequests(1)
	w.faults.set(nil, nil)
	w.pass(5 * time.Minute)
	w.expectConditions("links", good)
	w.expectRequests(2)
}

// TestTheStatusOfOneIsNotWrittenToAnother: a PayUToken that is made anew during a pass does not get the status of the former.
func TestTheStatusOfOneIsNotWrittenToAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.create("links") // and no credentials
	w.operator.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
			w.delete(w.token("links"))
			w.create("links")
			return c.SubResource(sub).Patch(ctx, o, patch, options...)
		},
	})
	if _, err := w.look("links"); !apierrors.IsInvalid(err) {
		t.Errorf("the status was written with error %v, want that it is refused", err)
	}
	if got := w.conditions("links"); got != "" {
		t.Errorf("the new PayUToken has the conditions %s before it was looked at", got)
	}
}
