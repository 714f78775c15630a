package controller

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// decoded returns a string with a copy of its own, as a decoder does.
func decoded(s string) string { return string([]byte(s)) }

func TestACacheKeepsAllThatCountsAndCommonStringsOnce(t *testing.T) {
	t.Parallel()
	meta := func() metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Namespace: decoded("shop"), Name: "links", UID: "u", ResourceVersion: "7", Generation: 2,
			Labels:        map[string]string{decoded("team"): "payments", decoded(v1alpha1.LabelManagedBy): decoded(v1alpha1.ManagedBy)},
			Annotations:   map[string]string{decoded(v1alpha1.AnnotationFetchedAt): "2026-11-22T09:00:00Z"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: decoded("auth.payu.in/v1alpha1"), Kind: decoded("PayUToken"), Name: "links", UID: "o", Controller: ptr.To(true)},
			},
		}
	}
	secret := func() client.Object {
		sealed := meta()
		sealed.Labels[v1alpha1.LabelTokenUID] = "o"
		sealed.Annotations[v1alpha1.AnnotationTokenName], sealed.Annotations[v1alpha1.AnnotationSource] = "links", "2.a.b.c"
		return &corev1.Secret{ObjectMeta: sealed, Type: corev1.SecretType(decoded("Opaque")), Data: map[string][]byte{decoded("access_token"): []byte("x")}}
	}
	token := func() client.Object {
		token := &v1alpha1.PayUToken{ObjectMeta: meta(), Spec: v1alpha1.PayUTokenSpec{
			Environment: v1alpha1.Environment(decoded("Test")), Scopes: []v1alpha1.Scope{v1alpha1.Scope(decoded("read_payment_links"))},
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: v1alpha1.SecretName(decoded("payu")), ClientIDKey: "client_id", ClientSecretKey: "client_secret"},
		}}
		token.Status = v1alpha1.PayUTokenStatus{Scope: "read_payment_links", Conditions: []metav1.Condition{
			{Type: decoded("Ready"), Status: "True", Reason: decoded("TokenValid"), Message: "Secret \"links\" holds a valid token"},
		}}
		return token
	}
	cache := newCommon()
	for _, fresh := range []func() client.Object{secret, token} {
		want := fresh()
		want.SetManagedFields(nil)
		applied := fresh()
		if _, isToken := applied.(*v1alpha1.PayUToken); isToken {
			applied.GetAnnotations()[corev1.LastAppliedConfigAnnotation] = "the manifest, once more"
			applied.GetAnnotations()[v1alpha1.AnnotationRefreshRequestedAt] = "now"
			want.SetAnnotations(map[string]string{v1alpha1.AnnotationRefreshRequestedAt: "now"})
			want.SetLabels(nil)
			want.SetOwnerReferences(nil)
		}
		for range 2 {
			if _, err := cache.compact(applied); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, applied); diff != "" {
				t.Errorf("%T (-want +kept):\n%s", want, diff)
			}
		}
		another := fresh()
		if _, err := cache.compact(another); err != nil {
			t.Fatal(err)
		}
		a, b := applied.GetNamespace(), another.GetNamespace()
		if unsafe.StringData(a) != unsafe.StringData(b) {
			t.Errorf("each %T has its own copy of the namespace", want)
		}
	}
}

// TestALabelAloneKeepsNoDataInMemory: anybody who may write Secrets may write the operator's label.
func TestALabelAloneKeepsNoDataInMemory(t *testing.T) { // fault 16
	t.Parallel()
	for name, edit := range map[string]func(*corev1.Secret){
		"a label":              func(*corev1.Secret) {},
		"no seal":              func(s *corev1.Secret) { s.Labels[v1alpha1.LabelTokenUID] = "u" },
		"a seal of other form": func(s *corev1.Secret) { s.Annotations = map[string]string{v1alpha1.AnnotationSource: "x"} },
	} {
		forged := &corev1.Secret{Data: map[string][]byte{"big": make([]byte, 1<<20)}}
		forged.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
		edit(forged)
		if _, err := newCommon().compact(forged); err != nil {
			t.Fatal(err)
		}
		if len(forged.Data) > 0 {
			t.Errorf("%s: the data is kept", name)
		}
	}
}

func TestWhatObjectsHaveInCommonIsBounded(t *testing.T) {
	t.Parallel()
	c := newCommon()
	for n := range 2 * mostCommon {
		if s := fmt.Sprint("namespace-", n); one(c, s) != s {
			t.Fatalf("%q became another string", s)
		}
	}
	if len(c.known) != mostCommon {
		t.Errorf("%d strings are held, want %d", len(c.known), mostCommon)
	}
}
