package plugin_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
)

const accessToken = "4c1f6a-an-access-token"

// targetOf creates the Secret of a PayUToken as the operator does.
func (s *shop) targetOf(token *v1alpha1.PayUToken) {
	s.Helper()
	check(s.T, cluster.Client.Create(s.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: token.TargetName(), Labels: map[string]string{v1alpha1.LabelTokenUID: string(token.UID)}},
		StringData: map[string]string{"access_token": accessToken, "scope": "create_payment_links", "token_type": "Bearer", "expires_at": "…"},
	}))
}

// pod creates a pod that uses a Secret as a directory and as a variable.
func (s *shop) pod(name, secret string) {
	s.Helper()
	optional := false
	check(s.T, cluster.Client.Create(s.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: corev1.PodSpec{
			Volumes: []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}},
			Containers: []corev1.Container{{
				Name: "app", Image: "app", VolumeMounts: []corev1.VolumeMount{{Name: "token", MountPath: "/var/run/payu"}},
				Env: []corev1.EnvVar{{Name: "PAYU_TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "access_token", Optional: &optional}}}},
			}},
		},
	}))
}

// event creates an event as the operator does, through the newer API of events.
func (s *shop) event(token *v1alpha1.PayUToken, reason, message string, age time.Duration) {
	s.Helper()
	at := s.clock.Now().Add(-age)
	check(s.T, cluster.Client.Create(s.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: s.namespace, GenerateName: "event-"},
		InvolvedObject: corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PayUToken", Namespace: s.namespace, Name: token.Name, UID: token.UID},
		Type:           corev1.EventTypeNormal, Reason: reason, Message: message, Action: "WriteToken",
		EventTime: metav1.NewMicroTime(at), ReportingController: v1alpha1.ManagedBy, ReportingInstance: "test",
	}))
}

func TestStatus(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	token := s.create("links", s.ready(54*time.Minute))
	s.targetOf(token)
	s.pod("shop-1", "links")
	s.pod("other", "other-secret")
	for i, message := range []string{"sixth", "fifth", "fourth", "third", "second", "first"} {
		s.event(token, "Refreshed", message, time.Duration(6-i)*time.Minute)
	}
	s.event(s.create("neighbour"), "Refreshed", "of a neighbour", 0)

	got := s.run("status", "links")
	got.want(t, 0,
		"Ready: Secret links holds a token that is valid for another 66m. It is renewed in 26m.",
		"45 % of its lifetime has passed",
		"keys     access_token, expires_at, scope, token_type",
		"pod shop-1  app  directory  /var/run/payu  renewed within about two minutes",
		"pod shop-1  app  env        PAYU_TOKEN     never renewed\n",
		"mount the Secret as a\n",
		"60s ago  Normal  Refreshed  first")
	for _, no := range []string{"sixth", "of a neighbour", "pod other", "What to do", accessToken, base64.StdEncoding.EncodeToString([]byte(accessToken))} {
		if strings.Contains(got.stdout+got.stderr, no) {
			t.Errorf("%q is in\n%s", no, got.stdout)
		}
	}
	if strings.Index(got.stdout, "first") > strings.Index(got.stdout, "second") {
		t.Errorf("the last event does not come first:\n%s", got.stdout)
	}
}

// Where pods are told of new tokens, status says which was, and when.
func TestStatusOfDelivery(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.targetOf(s.create("links", s.ready(54*time.Minute), func(p *v1alpha1.PayUToken) { p.Spec.Target.Delivery = v1alpha1.DeliveryPrompt },
		func(p *v1alpha1.PayUToken) {
			p.Status.Conditions = append(p.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionFalse,
				Reason: v1alpha1.ReasonDeliveryFailed, Message: "1 of 2 pods could not be told", LastTransitionTime: metav1.NewTime(s.clock.Now())})
		}))
	s.pod("shop-1", "links")
	at := s.clock.Now().Add(-3 * time.Minute).UTC().Format(time.RFC3339Nano)
	check(t, cluster.Client.Patch(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "shop-1"}},
		client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"annotations": {"`+v1alpha1.AnnotationTokenWrittenAt+`": "`+at+`"}}}`))))
	s.run("status", "links").want(t, 0, "pod shop-1  app  directory  /var/run/payu  told of this token 3m ago\n",
		"What to do\n  Nothing about pods that were not told once", "Delivered  False  DeliveryFailed")
}

// A program gets what a person sees, without values.
func TestStatusForPrograms(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.targetOf(s.create("links", s.ready(54*time.Minute)))
	s.pod("shop-1", "links")
	for format, decode := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": func(b []byte, o any) error { return yaml.UnmarshalStrict(b, o) }} {
		got := s.run("status", "links", "-o", format)
		got.want(t, 0)
		var summary screen.Summary
		if err := decode([]byte(got.stdout), &summary); err != nil {
			t.Fatalf("%s: %v\n%s", format, err, got.stdout)
		}
		if !summary.Ready || summary.Reason != v1alpha1.ReasonTokenValid || len(summary.Secret.Keys) != 4 || len(summary.Uses) != 2 ||
			summary.Uses[0].Renewal != "renewed within about two minutes" || summary.ExpiresAt == nil {
			t.Errorf("%s: %+v", format, summary)
		}
		s.wantHidden(got, accessToken)
	}
	s.create("other", s.refused(v1alpha1.ReasonInvalidScope, "PayU answered invalid_scope"))
	got := s.run("status", "other", "-o", "json")
	got.want(t, 2, `"ready": false`, `"reason": "InvalidScope"`, `"command": "kubectl payutoken refresh other -n `+s.namespace+`"`)
}

func TestStatusOfTrouble(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.refused("InvalidClient", "PayU answered invalid_client"))
	s.run("status", "links").want(t, 2, "Not ready (InvalidClient), and a person must act: Secret links holds no valid token.", "The operator says: PayU answered invalid_client.",
		"What to do", "kubectl create secret generic payu-credentials -n "+s.namespace, "does not exist")
}

func TestStatusOfAForeignSecret(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.refused("TargetConflict", "…"))
	s.secret("links", map[string]string{"password": "foreign-value"})
	got := s.run("status", "links")
	got.want(t, 2, "does not belong to this PayUToken")
	if strings.Contains(got.stdout, "password") {
		t.Errorf("it shows a Secret of another owner:\n%s", got.stdout)
	}
}

// Without an operator, kubectl get shows an expired token as ready for ever.
func TestStatusGoesByTheClock(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.ready(time.Minute))
	s.run("status", "links").want(t, 0)
	s.clock.Step(3 * time.Hour)
	s.run("status", "links").want(t, 2, "expired 61m ago, and the operator has not noticed", "Check that the operator runs")
	s.run("list").want(t, 0, "False  Expired")
}

// A user who can only read PayUTokens sees what that allows.
func TestStatusWithFewRights(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.targetOf(s.create("links", s.ready(time.Minute)))
	s.somebody("[{apiGroups: [auth.payu.in], resources: [payutokens], verbs: [get]}]")
	s.run("status", "links").want(t, 0, "Ready: Secret links holds a token",
		`cannot get resource "secrets"`, `cannot list resource "pods"`, `cannot list resource "events"`)
}
