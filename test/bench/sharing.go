package main

import (
	"context"
	"errors"
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
func (b *bench) sharing(ctx context.Context) (_ []section, err error) {
	s := section{title: "Requests to PayU", head: []string{"PayUTokens of one client and scopes", "requests to PayU", "different tokens in their Secrets"}}
	namespace, remove, err := b.namespace(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := b.createCredentials(ctx, namespace, 1); err != nil {
		return nil, err
	}
	m, err := b.operator(ctx, b.account, "--propagation-margin=1s")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(stop(m.Process), err) }()
	n := b.sharers
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"created", func() error { return b.createTokens(ctx, namespace, 0, n, sharedClient) }},
		{"one of them refreshed by its annotation", func() error {
			// In another second than the creation: the operator counts whole ones.
			return errors.Join(b.simulator.SetTokenTTL(ctx, brief), lab.Pause(ctx, time.Second), b.refresh(ctx, namespace, 0, "now"))
		}},
		{"renewed in time", func() error { return b.simulator.SetTokenTTL(ctx, usual) }},
	} {
		requests, different, err := b.countAtPayU(ctx, namespace, n, step.what == "created", step.do)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
		s.add(fmt.Sprintf("%d, %s", n, step.what), requests, different)
		if step.what == "renewed in time" {
			b.goal(fmt.Sprintf("token requests for each renewal of %d PayUTokens of one client and scopes", n), "1", fmt.Sprint(requests), requests == 1)
		}
	}
	return []section{s}, nil
}

// countAtPayU counts the requests to PayU until n Secrets have appeared or changed because of something, and the tokens in them.
func (b *bench) countAtPayU(ctx context.Context, namespace string, n int, areNew bool, do func() error) (requests, different int, err error) {
	before, err := b.tokenRequests(ctx)
	if err != nil {
		return 0, 0, err
	}
	secrets, err := b.watchSecrets(ctx, namespace)
	if err != nil {
		return 0, 0, err
	}
	defer secrets.stop()
	if err := do(); err != nil {
		return 0, 0, err
	}
	if _, err := secrets.await(ctx, n, areNew, 3*brief); err != nil {
		return 0, 0, err
	}
	after, err1 := b.tokenRequests(ctx)
	different, err2 := b.differentTokens(ctx, namespace)
	return after - before, different, errors.Join(err1, err2)
}

// tokenRequests returns how many requests PayU has answered.
func (b *bench) tokenRequests(ctx context.Context) (int, error) {
	counters, err := b.simulator.Counters(ctx)
	return counters.Total(), err
}

// differentTokens counts the access tokens in the Secrets of the operator's.
func (b *bench) differentTokens(ctx context.Context, namespace string) (int, error) {
	var list corev1.SecretList
	err := b.client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
	all := map[string]bool{}
	for _, secret := range list.Items {
		all[string(secret.Data[v1alpha1.KeyAccessToken])] = true
	}
	return len(all), err
}

// refresh asks for a new token as a user does.
func (b *bench) refresh(ctx context.Context, namespace string, n int, value string) error {
	token := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: tokenName(n)}}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationRefreshRequestedAt, value)
	return b.client.Patch(ctx, token, client.RawPatch(types.MergePatchType, []byte(patch)))
}
