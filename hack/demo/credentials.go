package main

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// mistake is a user's typing error.
const mistake = `{"stringData":{"client_secret":"mistyped"}}`

func (t *tour) breakCredentials(ctx context.Context) error {
	before, err := t.undisturbed(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := t.show(ctx, "patch", "secret", credentialsName, "-n", shop, "-p", mistake); err != nil {
		return err
	}
	patched := time.Now()
	token, err := t.awaitRefusal(ctx)
	if err != nil {
		return err
	}
	t.saw("InvalidClient, and Stalled, after %s", sinceCommand(start, patched))
	if err := t.show(ctx, "get", "payutoken", tokenName, "-n", shop); err != nil {
		return err
	}
	t.say("Its message:")
	t.output(condition(token, v1alpha1.ConditionReady).Message)
	return t.judgeRefusal(ctx, before)
}

// awaitRefusal waits until the status reports the wrong credentials, and that a person must act.
func (t *tour) awaitRefusal(ctx context.Context) (*v1alpha1.PayUToken, error) {
	ctx, cancel := lab.Within(ctx, readyLimit, "PayUToken "+tokenName+" is InvalidClient")
	defer cancel()
	return t.awaitToken(ctx, tokenName, func(token *v1alpha1.PayUToken) (bool, error) {
		return condition(token, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonInvalidClient &&
			meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionStalled), nil
	})
}

// judgeRefusal checks that the Secret is unchanged, and that its token still works.
func (t *tour) judgeRefusal(ctx context.Context, before moment) error {
	after, err := t.now(ctx)
	if err != nil {
		return err
	}
	if after.secret.ResourceVersion != before.secret.ResourceVersion {
		return errors.New("the Secret changed while the credentials were wrong")
	}
	if err := t.mustWork(ctx, "the token in the Secret still works: 200", lab.AccessToken(after.secret)); err != nil {
		return err
	}
	t.found(promiseRefusal, "InvalidClient after %s, the Secret unchanged", counted(after.requests-before.requests))
	return nil
}

func (t *tour) correctCredentials(ctx context.Context) error {
	before, err := t.now(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := t.show(ctx, "apply", "-f", credentialsFile, "-n", shop); err != nil {
		return err
	}
	applied := time.Now()
	if err := t.awaitReady(ctx); err != nil {
		return err
	}
	t.saw("Ready after %s", sinceCommand(start, applied))
	after, err := t.now(ctx)
	if err != nil {
		return err
	}
	t.found(promiseCorrected, "Ready again, %s", how(after.requests-before.requests))
	if err := t.mustWork(ctx, "the token works: 200", lab.AccessToken(after.secret)); err != nil {
		return err
	}
	return t.awaitHealth(ctx, start)
}

func (t *tour) awaitReady(ctx context.Context) error {
	ctx, cancel := lab.Within(ctx, readyLimit, "PayUToken "+tokenName+" is Ready again")
	defer cancel()
	_, err := t.awaitToken(ctx, tokenName, func(token *v1alpha1.PayUToken) (bool, error) { return isReady(token), nil })
	return err
}

// awaitHealth waits until the status no longer reports the refusal, at the latest after the next renewal.
func (t *tour) awaitHealth(ctx context.Context, start time.Time) error {
	ctx, cancel := lab.Within(ctx, tokenLife, "the status of PayUToken "+tokenName+" no longer reports the wrong credentials")
	defer cancel()
	if _, err := t.healthyToken(ctx, tokenName); err != nil {
		return err
	}
	t.saw("Refreshed, and no longer Stalled, after %s", rounded(time.Since(start)))
	return nil
}

// how says what was necessary to be Ready again.
func how(requests int) string {
	if requests == 0 {
		return "without a token request: the token was made from these credentials"
	}
	return "with " + counted(requests)
}
