package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
	before, err := s.asked(ctx, s.shop)
	if err != nil {
		return row{}, err
	}
	closed := 0
	r, err := overRenewals(func(ctx context.Context, s *shop, n int, _ time.Time) error {
		began := time.Now()
		var err error
		switch n {
		case 0:
			err = s.uninstallAndInstall(ctx)
			did("uninstalled and installed, nothing lost,", began)
		case 1:
			err = s.deleteTokens(ctx)
			did("PayUTokens deleted, and the Secret of the one with deletionPolicy Delete collected,", began)
		case 2:
			closed, err = s.deleteNamespace(ctx)
			did("namespace deleted", began)
		}
		return err
	})(ctx, s)
	r.notes = append(r.notes, notes...)
	if err != nil {
		return r, err
	}
	if now, err := s.asked(ctx, s.closingClient()); err != nil || now != closed {
		return r, errors.Join(err, fmt.Errorf("for PayUTokens of a namespace that is gone, PayU was asked %d times more", now-closed))
	}
	return r, s.judgeRequests(ctx, &r, before)
}

// asked is how often PayU was asked for a token of a client.
func (s *shop) asked(ctx context.Context, clientID string) (int, error) {
	requests, err := s.admin.Requests(ctx)
	return len(slices.DeleteFunc(requests, func(r payutest.Request) bool { return r.ClientID != clientID })), err
}

// judgeRequests wants PayU not to have been asked but for the renewals that the row counts.
func (s *shop) judgeRequests(ctx context.Context, r *row, before int) error {
	now, err := s.asked(ctx, s.shop)
	r.notes = append(r.notes, fmt.Sprintf("%d token requests", now-before))
	if now-before > r.Renewals+1 { // one may be under way
		r.broken = append(r.broken, fmt.Sprintf("%d renewals cost %d token requests", r.Renewals, now-before))
	}
	return err
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

// belongings are the UIDs of the shop's PayUTokens and Secrets.
func (s *shop) belongings(ctx context.Context) (map[string]types.UID, error) {
	var secrets corev1.SecretList
	var tokens v1alpha1.PayUTokenList
	in := client.InNamespace(s.namespace())
	if err := errors.Join(s.client.List(ctx, &secrets, in), s.client.List(ctx, &tokens, in)); err != nil {
		return nil, err
	}
	all := map[string]types.UID{}
	for _, each := range secrets.Items {
		all["Secret "+each.Name] = each.UID
	}
	for _, each := range tokens.Items {
		all["PayUToken "+each.Name] = each.UID
	}
	return all, nil
}

func (s *shop) expectSame(ctx context.Context, before map[string]types.UID, what string) error {
	now, err := s.belongings(ctx)
	if diff := cmp.Diff(before, now); err == nil && diff != "" {
		err = fmt.Errorf("%s made or lost something (-before +after): %s", what, diff)
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

// closing is a namespace that is to be deleted.
const closing = "e2e-closing"

// closingClient is the client of its PayUTokens.
func (s *shop) closingClient() string { return s.shop + "-closing" }

// deleteNamespace deletes a namespace with PayUTokens of both policies, waits until it is gone, and returns how often PayU
// was asked for them.
func (s *shop) deleteNamespace(ctx context.Context) (int, error) {
	if err := s.createNamespace(ctx, closing); err != nil {
		return 0, err
	}
	own := payutest.Client{ID: s.closingClient(), Secret: rand.Text(), Scopes: []string{scope}}
	if err := errors.Join(s.admin.PutClient(ctx, own), s.writeCredentials(ctx, closing, own)); err != nil {
		return 0, err
	}
	for name, policy := range map[string]v1alpha1.DeletionPolicy{"kept": v1alpha1.DeletionPolicyRetain, "dropped": v1alpha1.DeletionPolicyDelete} {
		if err := s.client.Create(ctx, s.token(closing, name, policy)); err != nil {
			return 0, err
		}
		if err := s.awaitReady(ctx, closing, name); err != nil {
			return 0, err
		}
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: closing}}
	if err := s.client.Delete(ctx, namespace); err != nil {
		return 0, err
	}
	if err := s.awaitGone(ctx, namespace, soon); err != nil {
		return 0, err
	}
	return s.asked(ctx, s.closingClient())
}
