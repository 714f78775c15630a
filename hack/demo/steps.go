package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// The limits of the promises.
const (
	readyLimit  = 10 * time.Second
	repairLimit = time.Second
)

// mistake is a user's typing error.
const mistake = `{"stringData":{"client_secret":"mistyped"}}`

func (t *tour) requestTokens() {
	t.show("create", "namespace", shop)
	start := time.Now()
	t.show("apply", "-k", samples, "-n", shop)
	applied := time.Now()
	for _, name := range []string{tokenName, "child-merchants"} {
		t.awaitToken(name, time.Until(start.Add(readyLimit)), "both PayUTokens are Ready", isHealthy)
	}
	t.found("Ready within seconds", "both Ready after %s", sinceCommand(start, applied))
	t.show("get", "payutokens", "-n", shop)
}

func (t *tour) lookIntoSecret() {
	secret := t.target()
	t.say("Secret %s holds (secret values are shortened):", targetName)
	t.output(table(shownData(secret)))
	t.mustWork("it works: GET /resource with it returns 200", lab.AccessToken(secret))
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

func (t *tour) seeRenewals() {
	t.say("A token is renewed at 67 %% of its lifetime, here after 12 to 13 s. Waiting ...")
	for range 2 {
		t.seeRenewal()
	}
}

// seeRenewal waits for another token in the Secret, while Ready stays True, and uses the new token and the previous one.
func (t *tour) seeRenewal() {
	before := t.target()
	old := t.awaitToken(tokenName, readyLimit, "the PayUToken is healthy", isHealthy)
	end := old.Status.ExpiresAt.Time
	t.awaitToken(tokenName, time.Until(end), "the token is renewed before it expires at "+clock(end), func(token *v1alpha1.PayUToken) bool {
		if !isReady(token) {
			t.Fatalf("PayUToken %q lost Ready during its renewal: %s", tokenName, ready(token).Message)
		}
		return token.Status.FetchedAt.After(old.Status.FetchedAt.Time)
	})
	left := time.Until(end)
	after := t.target()
	former, renewed := lab.AccessToken(before), lab.AccessToken(after)
	if renewed == former {
		t.Fatalf("the renewal left token %s in the Secret", masked(former))
	}
	t.say("%s (expires_at %s) was replaced by %s (%s)", masked(former), before.Data[v1alpha1.KeyExpiresAt], masked(renewed), after.Data[v1alpha1.KeyExpiresAt])
	t.found("renewed in time, and always Ready", "in the Secret %s before the old one expires", rounded(left))
	t.mustWork("the new token works, and so does the old one that a pod may still have: 200, 200", renewed, former)
}

func (t *tour) deleteSecret() {
	before := t.undisturbed()
	var deleted time.Time
	restored := t.follow(&corev1.SecretList{}, targetName, patience, "the deleted Secret is restored", func(event watch.Event) bool {
		if event.Type == watch.Deleted {
			deleted = time.Now()
			return false
		}
		return !deleted.IsZero()
	})
	absence := make(chan time.Duration, 1)
	failed := make(chan error, 1)
	go func() {
		failed <- restored()
		absence <- time.Since(deleted)
	}()
	t.show("delete", "secret", targetName, "-n", shop)
	lab.Check(t, <-failed)
	away, after := <-absence, t.now()
	switch requests := after.requests - before.requests; {
	case away > repairLimit:
		t.Fatalf("the deleted Secret was restored after %s, not within %s", rounded(away), repairLimit)
	case lab.AccessToken(after.secret) != lab.AccessToken(before.secret):
		t.Fatal("the deleted Secret came back with another token")
	case requests != 0:
		t.Fatalf("the operator sent %d requests to PayU to repair a Secret", requests)
	}
	t.found("a deleted Secret is restored within a second", "restored after %s, the same token, %s", rounded(away), counted(0))
}

func (t *tour) breakCredentials() {
	before := t.undisturbed()
	start := time.Now()
	t.show("patch", "secret", credentialsName, "-n", shop, "-p", mistake)
	patched := time.Now()
	token := t.awaitToken(tokenName, readyLimit, "PayUToken "+tokenName+" is InvalidClient", func(token *v1alpha1.PayUToken) bool {
		return ready(token).Reason == v1alpha1.ReasonInvalidClient && isStalled(token)
	})
	t.saw("InvalidClient, and Stalled, after %s", sinceCommand(start, patched))
	t.show("get", "payutoken", tokenName, "-n", shop)
	t.say("Its message:")
	t.output(ready(token).Message)
	after := t.now()
	if after.secret.ResourceVersion != before.secret.ResourceVersion {
		t.Fatal("the Secret changed while the credentials were wrong")
	}
	t.mustWork("the token in the Secret still works: 200", lab.AccessToken(after.secret))
	t.found("wrong credentials are reported, and do no harm", "InvalidClient after %s, the Secret unchanged", counted(after.requests-before.requests))
}

func (t *tour) correctCredentials() {
	before := t.now()
	start := time.Now()
	t.show("apply", "-f", credentialsFile, "-n", shop)
	applied := time.Now()
	t.awaitToken(tokenName, readyLimit, "PayUToken "+tokenName+" is Ready again", isReady)
	t.saw("Ready after %s", sinceCommand(start, applied))
	after := t.now()
	how := "without a token request: the token was made from these credentials"
	if requests := after.requests - before.requests; requests > 0 {
		how = "with " + counted(requests)
	}
	t.found("corrected credentials are used", "Ready again, %s", how)
	t.mustWork("the token works: 200", lab.AccessToken(after.secret))
	// At the latest after the next renewal.
	t.awaitToken(tokenName, tokenLife, "the status of PayUToken "+tokenName+" no longer reports the wrong credentials", isHealthy)
	t.saw("Refreshed, and no longer Stalled, after %s", rounded(time.Since(start)))
}
