package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

func (t *tour) deleteSecret(ctx context.Context) error {
	before, err := t.undisturbed(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := lab.Within(ctx, patience, "the deleted Secret is restored")
	defer cancel()
	w, err := t.events(ctx, &corev1.SecretList{}, targetName)
	if err != nil {
		return err
	}
	away := make(chan absence, 1)
	go func() { away <- absent(ctx, w) }()
	if err := t.show(ctx, "delete", "secret", targetName, "-n", shop); err != nil {
		return err
	}
	return t.judgeRepair(ctx, before, <-away)
}

// moment is a state to compare with: the Secret, and the number of token requests so far.
type moment struct {
	secret   *corev1.Secret
	requests int
}

// undisturbed waits until no renewal is near, and returns that moment.
func (t *tour) undisturbed(ctx context.Context) (moment, error) {
	ctx, cancel := lab.Within(ctx, patience, "a fresh token")
	defer cancel()
	_, err := t.awaitToken(ctx, tokenName, func(token *v1alpha1.PayUToken) (bool, error) {
		return isReady(token) && time.Until(token.Status.RenewAt.Time) > tokenLife/4, nil
	})
	if err != nil {
		return moment{}, err
	}
	return t.now(ctx)
}

func (t *tour) now(ctx context.Context) (moment, error) {
	secret, err := t.target(ctx)
	if err != nil {
		return moment{}, err
	}
	requests, err := t.requests(ctx)
	return moment{secret, requests}, err
}

// absence is how long a Secret was missing.
type absence struct {
	time.Duration
	err error
}

// absent watches the deletion and the return of a Secret.
func absent(ctx context.Context, w watch.Interface) absence {
	var deleted time.Time
	err := follow(ctx, w, func(event watch.Event) (bool, error) {
		if event.Type == watch.Deleted {
			deleted = time.Now()
			return false, nil
		}
		return !deleted.IsZero(), nil
	})
	return absence{time.Since(deleted), err}
}

func (t *tour) judgeRepair(ctx context.Context, before moment, away absence) error {
	if away.err != nil {
		return away.err
	}
	after, err := t.now(ctx)
	if err != nil {
		return err
	}
	requests := after.requests - before.requests
	switch {
	case away.Duration > repairLimit:
		return fmt.Errorf("the deleted Secret was restored after %s, not within %s", rounded(away.Duration), repairLimit)
	case lab.AccessToken(after.secret) != lab.AccessToken(before.secret):
		return errors.New("the deleted Secret came back with another token")
	case requests != 0:
		return fmt.Errorf("the operator sent %d requests to PayU to repair a Secret", requests)
	}
	t.found(promiseRepair, "restored after %s, the same token, %s", rounded(away.Duration), counted(requests))
	return nil
}
