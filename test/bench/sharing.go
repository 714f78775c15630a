package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// sharing counts the requests to PayU for PayUTokens that share one client and its scopes.
func (b *bench) sharing() []section {
	s := section{title: "Requests to PayU", head: []string{"PayUTokens of one client and scopes", "requests to PayU", "different tokens in their Secrets"}}
	namespace, remove := b.namespace()
	defer remove()
	b.createCredentials(namespace, 1)
	m := b.operator(b.account, "--propagation-margin=1s")
	defer b.stop(m)
	n := b.sharers
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"created", func() { b.createTokens(namespace, 0, n, sharedClient) }},
		{"one of them refreshed by its annotation", func() {
			b.setLife(brief)
			lab.Check(b, lab.Pause(b.Context(), time.Second)) // in another second than the creation: the operator counts whole ones
			lab.Check(b, b.refresh(b.Context(), namespace, 0, "now"))
		}},
		{"renewed in time", func() { b.setLife(usual) }},
	} {
		before, secrets := b.tokenRequests(), b.watchSecrets(namespace)
		step.do()
		_, err := secrets.await(b.Context(), n, step.what == "created", 3*brief)
		secrets.stop()
		lab.Check(b, err)
		requests := b.tokenRequests() - before
		s.add(fmt.Sprintf("%d, %s", n, step.what), requests, b.differentTokens(namespace))
		if step.what == "renewed in time" {
			b.goal(fmt.Sprintf("token requests for each renewal of %d PayUTokens of one client and scopes", n), "1", fmt.Sprint(requests), requests == 1)
		}
	}
	return []section{s}
}

// setLife has PayU give tokens that live so long.
func (b *bench) setLife(life time.Duration) {
	lab.Check(b, b.simulator.SetTokenTTL(b.Context(), life))
}

// tokenRequests returns how many requests PayU has answered.
func (b *bench) tokenRequests() int {
	return lab.Must(b.simulator.Counters(b.Context()))(b).Total()
}

// differentTokens counts the access tokens in the Secrets of the operator's.
func (b *bench) differentTokens(namespace string) int {
	var list corev1.SecretList
	lab.Check(b, b.client.List(b.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}))
	all := map[string]bool{}
	for _, secret := range list.Items {
		all[lab.AccessToken(&secret)] = true
	}
	return len(all)
}

// refresh asks for a new token as a user does.
func (b *bench) refresh(ctx context.Context, namespace string, n int, value string) error {
	token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: tokenName(n)}}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationRefreshRequestedAt, value)
	return b.client.Patch(ctx, token, client.RawPatch(types.MergePatchType, []byte(patch)))
}
