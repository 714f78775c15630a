package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// soon is how long Kubernetes' own controllers may take to collect garbage or to end a namespace.
const soon = time.Minute

// reinstall uninstalls the operator and installs it again after a renewal, then deletes PayUTokens of both policies, and
// then a namespace with PayUTokens, while the workload works on.
func reinstall(ctx context.Context, s *shop) (row, error) {
	var notes []string
	did := func(what string, began time.Time) { notes = append(notes, what+" after "+shown(time.Since(began))) }
	asked := 0
	r, err := overRenewals(func(ctx context.Context, s *shop, n int, _ time.Time) error {
		began := time.Now()
		requests, err := s.admin.Requests(ctx)
		if err != nil {
			return err
		}
		switch n {
		case 0:
			asked = len(requests)
			err = s.uninstallAndInstall(ctx)
			did("uninstalled and installed, nothing lost,", began)
		case 1:
			if len(requests) != asked+1 { // the renewal
				return fmt.Errorf("to uninstall and install cost %d token requests", len(requests)-asked-1)
			}
			err = s.deleteTokens(ctx)
			did("PayUTokens deleted, and the Secret of the one with deletionPolicy Delete collected,", began)
		case 2:
			err = s.deleteNamespace(ctx)
			did("namespace deleted", began)
		}
		return err
	})(ctx, s)
	r.notes = append(r.notes, notes...)
	return r, err
}

// uninstallAndInstall loses no PayUToken and no Secret.
func (s *shop) uninstallAndInstall(ctx context.Context) error {
	before, err := s.belongings(ctx)
	if err != nil {
		return err
	}
	if err := s.helm(ctx, "uninstall", s.release(), "--wait"); err != nil {
		return err
	}
	if err := s.awaitGone(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: operators, Name: s.release()}}, soon); err != nil {
		return err
	}
	if err := s.expectSame(ctx, before, "helm uninstall"); err != nil {
		return err
	}
	if err := s.install(ctx); err != nil {
		return err
	}
	return s.expectSame(ctx, before, "helm install")
}

// belongings are the PayUTokens and Secrets of the shop, by kind and name, as what of them may not change.
func (s *shop) belongings(ctx context.Context) (map[string]string, error) {
	var secrets corev1.SecretList
	var tokens v1alpha1.PayUTokenList
	in := client.InNamespace(s.namespace())
	if err := errors.Join(s.client.List(ctx, &secrets, in), s.client.List(ctx, &tokens, in)); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, each := range secrets.Items {
		all["Secret "+each.Name] = string(each.UID) + " version " + each.ResourceVersion
	}
	for _, each := range tokens.Items {
		all["PayUToken "+each.Name] = fmt.Sprintf("%s generation %d", each.UID, each.Generation)
	}
	return all, nil
}

func (s *shop) expectSame(ctx context.Context, before map[string]string, what string) error {
	now, err := s.belongings(ctx)
	if diff := cmp.Diff(before, now); err == nil && diff != "" {
		err = fmt.Errorf("%s changed something (-before +after): %s", what, diff)
	}
	return err
}

// deleteTokens deletes a PayUToken with deletionPolicy Retain, whose Secret stays, and then one with Delete, whose
// Secret goes.
func (s *shop) deleteTokens(ctx context.Context) error {
	kept, dropped := s.token(s.namespace(), "kept", v1alpha1.DeletionPolicyRetain), s.token(s.namespace(), "dropped", v1alpha1.DeletionPolicyDelete)
	for _, each := range []*v1alpha1.PayUToken{kept, dropped} {
		if err := s.client.Create(ctx, each); err != nil {
			return err
		}
		if err := s.awaitReady(ctx, each.Namespace, each.Name); err != nil {
			return err
		}
	}
	for _, each := range []*v1alpha1.PayUToken{kept, dropped} { // by the time that the second one's Secret is gone, so would be the first one's
		if err := s.client.Delete(ctx, each); err != nil {
			return err
		}
	}
	if err := s.awaitGone(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace(), Name: "dropped"}}, soon); err != nil {
		return err
	}
	var secret corev1.Secret
	if err := s.client.Get(ctx, client.ObjectKeyFromObject(kept), &secret); err != nil {
		return fmt.Errorf("the Secret of a PayUToken with deletionPolicy Retain: %w", err)
	}
	if len(secret.OwnerReferences) > 0 || len(secret.Data[v1alpha1.KeyAccessToken]) == 0 {
		return errors.New("the Secret of a PayUToken with deletionPolicy Retain has an owner, or no token")
	}
	return s.client.Delete(ctx, &secret)
}

// deleteNamespace deletes a namespace with PayUTokens of both policies. It goes, and PayU is not asked for them again.
func (s *shop) deleteNamespace(ctx context.Context) error {
	const closing = "e2e-closing"
	if err := s.createNamespace(ctx, closing); err != nil {
		return err
	}
	own := payutest.Client{ID: s.shop + "-closing", Secret: "a secret of its own", Scopes: []string{scope}}
	if err := errors.Join(s.admin.PutClient(ctx, own), s.writeCredentials(ctx, closing, own)); err != nil {
		return err
	}
	for _, each := range []*v1alpha1.PayUToken{
		s.token(closing, "kept", v1alpha1.DeletionPolicyRetain), s.token(closing, "dropped", v1alpha1.DeletionPolicyDelete),
	} {
		if err := s.client.Create(ctx, each); err != nil {
			return err
		}
		if err := s.awaitReady(ctx, closing, each.Name); err != nil {
			return err
		}
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: closing}}
	if err := s.client.Delete(ctx, namespace); err != nil {
		return err
	}
	if err := s.awaitGone(ctx, namespace, soon); err != nil {
		return err
	}
	requests, err := s.admin.Requests(ctx)
	requests = slices.DeleteFunc(requests, func(r payutest.Request) bool { return r.ClientID != own.ID })
	if err == nil && len(requests) != 1 {
		err = fmt.Errorf("PayU was asked %d times for the two PayUTokens of a namespace that was deleted, which share one token", len(requests))
	}
	return err
}
