package main

import (
	"context"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// bare does what the operator does for n PayUTokens, and nothing else: create the PayUToken, ask for the token, create
// the Secret, write the status. It looks at nothing, remembers nothing and is prepared for nothing.
func (b *bench) bare(namespace string, n int) {
	lab.Check(b, each(b.Context(), workers, n, func(ctx context.Context, n int) error { return b.bareOne(ctx, namespace, n) }))
}

func (b *bench) bareOne(ctx context.Context, namespace string, n int) error {
	token := newToken(namespace, n, n)
	if err := b.client.Create(ctx, token); err != nil {
		return err
	}
	given, err := b.payu.Token(ctx, sourceOf(n))
	if err != nil {
		return err
	}
	if err := b.client.Create(ctx, bareSecret(token, given)); err != nil {
		return err
	}
	before := token.DeepCopy()
	token.Status = bareStatus(given, time.Now())
	return b.client.Status().Patch(ctx, token, client.MergeFrom(before), client.FieldOwner(v1alpha1.ManagedBy))
}

// bareSteadily adds what the bare loop takes of the CPU, which is this program's, for as many PayUTokens in a minute as n of
// them have renewals. No operator may run.
func (b *bench) bareSteadily(s *section, n int) {
	every := meanRenewal(usual) / time.Duration(n)
	times := int(b.minute / every)
	if times == 0 {
		return
	}
	namespace := lab.Must(b.cluster.Namespace(b.Context()))(b)
	cpu, took := b.cpuOf(os.Getpid(), func() {
		next := time.Tick(every)
		for i := range times {
			<-next
			lab.Check(b, b.bareOne(b.Context(), namespace, i))
		}
	})
	s.add("bare loop, as often as renewals", lab.Shown(took), "", times, "", cpu, percent(float64(cpu)/float64(took)))
}

// bareSecret is as large as the operator's.
func bareSecret(token *v1alpha1.PayUToken, given payu.Token) *corev1.Secret {
	fetched, expires := given.FetchedAt.Format(time.RFC3339), given.ExpiresAt.Format(time.RFC3339)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: token.Namespace, Name: token.Name,
			Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelTokenUID: string(token.UID)},
			Annotations: map[string]string{
				v1alpha1.AnnotationTokenName: token.Name, v1alpha1.AnnotationFetchedAt: fetched, v1alpha1.AnnotationExpiresAt: expires,
				v1alpha1.AnnotationSource: strings.Repeat("0", 164),
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "PayUToken", Name: token.Name, UID: token.UID, Controller: ptr.To(true),
			}},
		},
		Data: map[string][]byte{
			v1alpha1.KeyAccessToken: []byte(given.AccessToken), v1alpha1.KeyTokenType: []byte(given.Type),
			v1alpha1.KeyScope: []byte(given.Scope), v1alpha1.KeyExpiresAt: []byte(expires),
		},
	}
}

func bareStatus(given payu.Token, now time.Time) v1alpha1.PayUTokenStatus {
	condition := func(kind, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: "As large as the operator's",
			ObservedGeneration: 1, LastTransitionTime: metav1.NewTime(now)}
	}
	return v1alpha1.PayUTokenStatus{
		ObservedGeneration: 1, Scope: given.Scope,
		FetchedAt: ptr.To(metav1.NewTime(given.FetchedAt)), ExpiresAt: ptr.To(metav1.NewTime(given.ExpiresAt)),
		RenewAt:            ptr.To(metav1.NewTime(given.ExpiresAt.Add(-time.Hour))),
		CredentialsVersion: "1",
		Conditions:         []metav1.Condition{condition(v1alpha1.ConditionReady, "TokenValid"), condition(v1alpha1.ConditionRefreshed, "Succeeded")},
	}
}
