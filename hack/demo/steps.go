package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// The limits of the promises.
const (
	readyLimit  = 10 * time.Second
	repairLimit = time.Second
)

// The promises, as the summary names them.
const (
	promiseReady     = "Ready within seconds"
	promiseRenewal   = "renewed in time, and always Ready"
	promiseRepair    = "a deleted Secret is restored within a second"
	promiseRefusal   = "wrong credentials are reported, and do no harm"
	promiseCorrected = "corrected credentials are used"
)

func (t *tour) askForTokens(ctx context.Context) error {
	if err := t.show(ctx, "create", "namespace", shop); err != nil {
		return err
	}
	ctx, cancel := lab.Within(ctx, readyLimit, "both PayUTokens are Ready")
	defer cancel()
	start := time.Now()
	if err := t.show(ctx, "apply", "-k", samples, "-n", shop); err != nil {
		return err
	}
	applied := time.Now()
	for _, name := range []string{tokenName, "child-merchants"} {
		if _, err := t.healthyToken(ctx, name); err != nil {
			return err
		}
	}
	t.found(promiseReady, "both Ready after %s", sinceCommand(start, applied))
	return t.show(ctx, "get", "payutokens", "-n", shop)
}

func (t *tour) lookIntoSecret(ctx context.Context) error {
	secret, err := t.target(ctx)
	if err != nil {
		return err
	}
	t.say("Secret %s holds (secret values are shortened):", targetName)
	t.output(table(shownData(secret)))
	return t.mustWork(ctx, "it works: GET /resource with it returns 200", lab.AccessToken(secret))
}

// shownData returns the keys and values of a Secret, and masks all values that are not known to be public.
func shownData(secret *corev1.Secret) [][]string {
	var rows [][]string
	for _, key := range slices.Sorted(maps.Keys(secret.Data)) {
		value := string(secret.Data[key])
		switch key {
		case v1alpha1.KeyTokenType, v1alpha1.KeyScope, v1alpha1.KeyExpiresAt:
		default:
			value = fmt.Sprintf("%s (%d characters)", masked(value), len(value))
		}
		rows = append(rows, []string{key, value})
	}
	return rows
}

// mustWork uses tokens, and prints the text if all of them work.
func (t *tour) mustWork(ctx context.Context, text string, tokens ...string) error {
	for _, token := range tokens {
		status, err := t.use(ctx, token)
		if err != nil {
			return fmt.Errorf("using token %s: %w", masked(token), err)
		}
		if status != http.StatusOK {
			return fmt.Errorf("PayU's resource returns %[2]d for token %[1]s, not 200", masked(token), status)
		}
	}
	t.saw("%s", text)
	return nil
}

func (t *tour) seeRenewals(ctx context.Context) error {
	t.say("A token is renewed at 67 %% of its lifetime, here after 12 to 13 s. Waiting ...")
	for range 2 {
		if err := t.seeRenewal(ctx); err != nil {
			return err
		}
	}
	return nil
}

// seeRenewal waits for one renewal, and uses the new token and the previous one.
func (t *tour) seeRenewal(ctx context.Context) error {
	before, err := t.target(ctx)
	if err != nil {
		return err
	}
	left, err := t.awaitRenewal(ctx)
	if err != nil {
		return err
	}
	after, err := t.target(ctx)
	if err != nil {
		return err
	}
	if lab.AccessToken(after) == lab.AccessToken(before) {
		return fmt.Errorf("the renewal left token %s in the Secret", masked(lab.AccessToken(before)))
	}
	t.say("%s (expires_at %s) was replaced by %s (%s)", masked(lab.AccessToken(before)), before.Data[v1alpha1.KeyExpiresAt],
		masked(lab.AccessToken(after)), after.Data[v1alpha1.KeyExpiresAt])
	t.found(promiseRenewal, "in the Secret %s before the old one expires", rounded(left))
	return t.mustWork(ctx, "the new token works, and so does the old one that a pod may still have: 200, 200",
		lab.AccessToken(after), lab.AccessToken(before))
}

// awaitRenewal waits for another token in the Secret, and returns how long the former one is still valid.
// Ready must stay True.
func (t *tour) awaitRenewal(ctx context.Context) (time.Duration, error) {
	old, err := t.healthyToken(ctx, tokenName)
	if err != nil {
		return 0, err
	}
	end := old.Status.ExpiresAt
	ctx, cancel := lab.Within(ctx, time.Until(end.Time), "the token is renewed before it expires at "+clock(end.Time))
	defer cancel()
	_, err = t.awaitToken(ctx, tokenName, func(token *v1alpha1.PayUToken) (bool, error) {
		if !isReady(token) {
			return false, fmt.Errorf("PayUToken %q lost Ready during its renewal: %s", tokenName, condition(token, v1alpha1.ConditionReady).Message)
		}
		return token.Status.FetchedAt.After(old.Status.FetchedAt.Time), nil
	})
	return time.Until(end.Time), err
}
