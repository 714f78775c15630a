package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/e2e/calls"
)

// nobodys is a PayUToken that no operator selects.
const nobodys = "nobodys"

// plantNobodys creates it, in the namespace of the first shop.
func (p *proof) plantNobodys(ctx context.Context) error {
	token := p.shops[0].token(p.shops[0].namespace(), nobodys, v1alpha1.DeletionPolicyDelete)
	token.Labels = map[string]string{shardLabel: nobodys}
	return p.client.Create(ctx, token)
}

// checkShards wants each PayU to have been asked by its own shop only, and each Secret to hold a token of its own PayU.
func (p *proof) checkShards(ctx context.Context) error {
	var errs []error
	for _, s := range p.shops {
		requests, err := s.admin.Requests(ctx)
		errs = append(errs, err)
		for _, r := range requests {
			if !strings.HasPrefix(r.ClientID, s.shop) {
				errs = append(errs, fmt.Errorf("the operator of shop %q asked for a token of client %q", s.shop, r.ClientID))
			}
		}
		issued, err := s.issued(ctx)
		errs = append(errs, err)
		var secret corev1.Secret
		errs = append(errs, s.client.Get(ctx, client.ObjectKey{Namespace: s.namespace(), Name: tokenName}, &secret))
		if _, own := issued[calls.Digest(string(secret.Data[v1alpha1.KeyAccessToken]))]; !own {
			errs = append(errs, fmt.Errorf("the Secret of shop %q holds no token of its PayU", s.shop))
		}
	}
	return errors.Join(errs...)
}

// checkNobodys wants the PayUToken that no operator selects to be as it was created.
func (p *proof) checkNobodys(ctx context.Context) error {
	var token v1alpha1.PayUToken
	err := p.client.Get(ctx, client.ObjectKey{Namespace: p.shops[0].namespace(), Name: nobodys}, &token)
	if err == nil && (token.Status.ObservedGeneration != -1 || len(token.Status.Conditions) > 0) {
		err = errors.New("an operator worked on a PayUToken that it does not select")
	}
	return err
}

// checkRestarts wants no container to have been started twice, but for those of the shops that are named.
func (p *proof) checkRestarts(ctx context.Context, namespace string, except ...string) error {
	pods, err := p.clientset.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			if c.RestartCount > 0 && !isOf(pod, except) {
				errs = append(errs, fmt.Errorf("pod %s/%s was restarted %d times", namespace, pod.Name, c.RestartCount))
			}
		}
	}
	return errors.Join(errs...)
}

// checkBetween wants the workloads that are never to be refused not to have been so at any time, also between scenarios.
func (p *proof) checkBetween() error {
	var errs []error
	for _, s := range p.shops {
		if n := calls.Summarize(s.tape.since(0)).Refusals; n > 0 && s.servedAlways() {
			errs = append(errs, fmt.Errorf("that of shop %q was refused %d times in all", s.shop, n))
		}
	}
	return errors.Join(errs...)
}

func isOf(pod corev1.Pod, shops []string) bool {
	for _, shop := range shops {
		if strings.HasPrefix(pod.Name, "payu-token-operator-"+shop) {
			return true
		}
	}
	return false
}
