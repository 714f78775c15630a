package controller

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// assuming sets the lifetime that a PayUToken assumes where PayU states none; 0 removes it.
func assuming(life time.Duration) edit {
	return func(t *v1alpha1.PayUToken) {
		t.Spec.AssumedLifetime = nil
		if life > 0 {
			t.Spec.AssumedLifetime = &metav1.Duration{Duration: life}
		}
	}
}

// expectLife checks how long the token in a Secret lives, as the Secret and the status say.
func (w *world) expectLife(name string, want time.Duration) {
	w.Helper()
	secret, status := w.secret(name), w.token(name).Status
	if secret == nil || status.ExpiresAt == nil {
		w.Errorf("PayUToken %s has no token: %s", name, w.conditions(name))
		return
	}
	annotations := secret.Annotations
	fetched, err := time.Parse(time.RFC3339, annotations[v1alpha1.AnnotationFetchedAt])
	w.must(err)
	expires, err := time.Parse(time.RFC3339, annotations[v1alpha1.AnnotationExpiresAt])
	w.must(err)
	data := string(secret.Data[v1alpha1.KeyExpiresAt])
	if got := expires.Sub(fetched); got != want || !expires.Equal(status.ExpiresAt.Time) || data != annotations[v1alpha1.AnnotationExpiresAt] {
		w.Errorf("the token in Secret %s lives for %v, want %v (data %s, annotation %v, status %v)", name, got, want, data, expires, status.ExpiresAt)
	}
}

const lifetimeUnknown = "Ready=False/LifetimeUnknown Refreshed=False/LifetimeUnknown Stalled=True/LifetimeUnknown"

func newWorldWithoutLives(t *testing.T, mode payutest.Mode) *world {
	w := newWorld(t, payutest.Config{Omit: "expires_in", Mode: mode})
	w.credentials("payu-credentials", "merchant", secretOne)
	return w
}

func TestATokenWithoutALifetimeWaitsForAnAssumedOne(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links")
	w.run()
	w.expectConditions("links", lifetimeUnknown)
	w.expectPlainMessages("links")
	if w.secret("links") != nil {
		t.Error("a token without a lifetime was written")
	}
	if got := w.events.take(); len(got) != 1 || got[0] != "Warning LifetimeUnknown" {
		t.Errorf("events %q", got)
	}
	w.edit("links", assuming(time.Hour))
	w.run()
	w.expectConditions("links", good)
	w.expectLife("links", time.Hour)
	w.expectRequests(1)
}

// Each answer is a token that nobody ends: so they are few, also over restarts.
func TestWithoutALifetimePayUIsAskedSeldom(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links")
	w.run()
	for _, wait := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, time.Hour} {
		before := w.requests()
		w.pass(wait/2 - 40*time.Second)
		w.restart() // the token in memory is lost
		w.run()
		w.pass(wait/2 - 40*time.Second)
		w.expectRequests(before)
		w.expectConditions("links", lifetimeUnknown)
		w.pass(90 * time.Second)
		w.expectRequests(before + 1)
	}
	w.edit("links", refresh("now"))
	w.run()
	w.expectRequests(6)
	if status := w.token("links").Status; status.LastHandledRefreshAt != "now" {
		t.Errorf("the wish was not echoed: %+v", status)
	}
}

func TestAnAnswerWithoutALifetimeTakesTheFormerTokens(t *testing.T) {
	t.Parallel()
	for _, mode := range []payutest.Mode{payutest.Default, payutest.RevokePrevious} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, payutest.Config{Mode: mode, TokenTTL: 2 * time.Hour})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.create("links")
			w.run()
			first := w.value("links")
			w.payu.SetOmit("expires_in")
			w.pass(90 * time.Minute)
			w.expectRequests(2)
			w.expectConditions("links", good)
			w.expectLive("links")
			w.expectLife("links", 2*time.Hour)
			if w.value("links") == first {
				t.Error("the token was not renewed")
			}
			w.restart()
			w.run()
			w.pass(30 * time.Minute)
			w.expectRequests(2)
		})
	}
}

// A server that reuses tokens and states no life gives the same one again: its assumed life begins anew.
func TestTheSameTokenAgainBeginsTheAssumedLifeAnew(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Reuse)
	w.payu.SetTokenTTL(24 * time.Hour)
	w.create("links", assuming(time.Hour))
	w.run()
	token := w.value("links")
	w.events.take()
	w.pass(41 * time.Minute) // after 67 % of the hour, whatever the spread is
	w.expectRequests(2)
	w.pass(20 * time.Minute) // the hour is over: if it was the token's life, there is another one now
	w.expectRequests(3)
	for n := 4; n < 12; n++ { // more often than repairs are allowed
		w.pass(41 * time.Minute)
		w.expectRequests(n)
		w.expectConditions("links", good)
		w.expectLife("links", time.Hour)
	}
	if w.value("links") != token {
		t.Error("the server gave another token")
	}
	for _, event := range w.events.take() {
		if event != "Normal Refreshed" {
			t.Errorf("event %q, want Refreshed only", event)
		}
	}
}

// The stated life of a token stands, also if PayU gives the token once more without one.
func TestAStatedLifeStands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.Reuse, TokenTTL: 2 * time.Hour})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links", assuming(5*time.Hour))
	w.run()
	w.payu.SetOmit("expires_in")
	w.pass(90 * time.Minute)
	w.expectLife("links", 2*time.Hour)
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=True/TokenReused")
}

// What is assumed is each PayUToken's own, also after a restart.
func TestEachPayUTokenAssumesALifetimeOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("hour", assuming(time.Hour))
	w.create("day", assuming(24*time.Hour))
	w.create("none")
	w.run()
	check := func() {
		t.Helper()
		w.expectRequests(1)
		w.expectLife("hour", time.Hour)
		w.expectLife("day", 24*time.Hour)
		w.expectConditions("none", lifetimeUnknown)
		if hour, day := w.value("hour"), w.value("day"); hour != day {
			t.Error("the two do not share one token")
		}
	}
	check()
	w.restart()
	w.run()
	w.pass(10 * time.Minute)
	check()
	w.pass(6 * time.Minute)
	w.expectRequests(1) // none for the one that has no token: it might end that of the others
	w.expectConditions("none", lifetimeUnknown)
	w.expectConditions("hour", good)
	w.edit("none", assuming(2*time.Hour))
	w.run()
	w.expectLife("none", 2*time.Hour)
	w.expectRequests(1)
}

func TestAnotherAssumedLifetimeHoldsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorldWithoutLives(t, payutest.Default)
	w.create("links", assuming(time.Hour))
	w.run()
	for _, restarts := range []bool{false, true} {
		for _, life := range []time.Duration{2 * time.Hour, 40 * time.Minute} {
			w.edit("links", assuming(life))
			if restarts {
				w.restart()
			}
			w.run()
			w.expectLife("links", life)
			w.expectConditions("links", good)
		}
	}
	w.expectRequests(1)
	w.edit("links", assuming(0)) // the token keeps its life
	w.run()
	w.expectLife("links", 40*time.Minute)
	w.pass(10 * time.Minute)
	w.edit("links", assuming(5*time.Minute)) // over by now
	w.run()
	w.expectRequests(2)
	w.expectLife("links", 5*time.Minute)
	w.expectConditions("links", good)
}

// PayU's tokens for partner_payments are JWTs; samples lack created_at, or the scope.
func TestTokensInEveryFormThatPayUDocuments(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]payutest.Config{
		"30 minutes, JWT":               {TokenTTL: 30 * time.Minute, JWT: true},
		"4 hours, JWT, no created_at":   {TokenTTL: 4 * time.Hour, JWT: true, Omit: "created_at"},
		"JWT, no created_at, no scope":  {TokenTTL: 30 * time.Minute, JWT: true, Omit: "created_at,scope"},
		"30 days less a second":         {TokenTTL: 2591999 * time.Second},
		"30 days, reused, no scope":     {TokenTTL: 720 * time.Hour, Mode: payutest.Reuse, Omit: "scope"},
		"30 days, revoke the previous ": {TokenTTL: 720 * time.Hour, Mode: payutest.RevokePrevious},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, config)
			w.credentials("payu-credentials", "merchant", secretOne)
			w.create("links")
			w.run()
			w.expectConditions("links", good)
			w.expectLife("links", config.TokenTTL)
			if got, want := string(w.secret("links").Data[v1alpha1.KeyScope]), "create_payment_links read_payment_links"; got != want {
				t.Errorf("scope %q, want %q", got, want)
			}
			w.restart()
			w.run()
			w.expectRequests(1)
			if isJWT := strings.Count(w.value("links"), ".") == 2; isJWT != config.JWT {
				t.Errorf("the token is a JWT: %t", isJWT)
			}
		})
	}
}

// Thirty days of renewals after two thirds of the life: the token in the Secret lives at each moment, and PayU is asked as often
// as lives take, not more.
func TestThirtyDays(t *testing.T) {
	t.Parallel()
	const days = 30 * 24 * time.Hour
	for name, test := range map[string]struct {
		config payutest.Config
		life   time.Duration
		spare  time.Duration // with which a token is renewed before it expires, at least
	}{
		"4 hours":                  {config: payutest.Config{TokenTTL: 4 * time.Hour}, life: 4 * time.Hour, spare: 79 * time.Minute},
		"4 hours, none stated":     {config: payutest.Config{TokenTTL: 4 * time.Hour, Omit: "expires_in"}, life: 4 * time.Hour, spare: 79 * time.Minute},
		"30 days, revoke-previous": {config: payutest.Config{TokenTTL: days, Mode: payutest.RevokePrevious}, life: days, spare: 9 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.config)
			w.credentials("payu-credentials", "merchant", secretOne)
			w.create("links", assuming(test.life))
			w.run()
			written := start
			for _, since := w.value("links"), start; since.Before(start.Add(days)); since = w.clock.Now() {
				token := w.value("links")
				w.pass(test.life / 8)
				if !w.livedUntil(token, test.spare) {
					t.Fatalf("a token was renewed less than %v before its end, at %v", test.spare, w.clock.Now())
				}
				w.expectLive("links")
			}
			passed := w.clock.Now().Sub(written)
			most := int(passed/(test.life*62/100)) + 1
			if got := w.requests(); got > most || got < int(passed/(test.life*68/100)) {
				t.Errorf("%d requests in %v with tokens of %v, want at most %d", got, passed, test.life, most)
			}
		})
	}
}

// livedUntil reports whether a token was replaced so long before its end, or is still the one in the Secret.
func (w *world) livedUntil(token string, spare time.Duration) bool {
	w.Helper()
	replacedAt := w.token("links").Status.FetchedAt.Time
	info, ok := w.payu.TokenInfo(token)
	return ok && (w.value("links") == token || info.ExpiresAt.Sub(replacedAt) >= spare)
}

// With --require-credentials-label nobody can have values of another Secret sent to PayU.
func TestOnlyLabelledSecretsAreCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.operator.RequireCredentialsLabel = true
	w.operator.prepare()
	w.credentials("payu-credentials", "merchant", secretOne)
	w.create("links")
	w.run()
	const refused = "Ready=False/CredentialsInvalid Refreshed=False/CredentialsInvalid Stalled=True/CredentialsInvalid"
	w.expectConditions("links", refused)
	for _, value := range []string{"", "yes", "True"} {
		w.label(value)
		w.run()
		w.expectConditions("links", refused)
	}
	w.expectRequests(0)
	w.label("true")
	w.run()
	w.expectConditions("links", good)
	w.expectRequests(1)
	w.label("false") // the token lives on, and is renewed no more
	w.run()
	w.expectConditions("links", "Ready=True/TokenValid Refreshed=False/CredentialsInvalid Stalled=True/CredentialsInvalid")
	w.pass(3 * time.Hour)
	w.expectRequests(1)
}

func (w *world) label(value string) {
	w.Helper()
	secret := w.secret("payu-credentials")
	metav1.SetMetaDataLabel(&secret.ObjectMeta, v1alpha1.LabelCredentials, value)
	w.must(w.user.Update(w.ctx, secret))
}
