package controller

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// TestANewSharerAfterARestartGetsTheLiveToken: another request would kill it in revoke-previous mode.
func TestANewSharerAfterARestartGetsTheLiveToken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first edit
		edit  edit
		name  string
	}{
		"reconciled first":          {name: "a"},
		"reconciled last":           {name: "z"},
		"from a template":           {name: "a", first: withData("access_token", "{{ .AccessToken }}", "env", "T={{ .AccessToken }}!\n")},
		"from a template alone":     {name: "z", first: withData("access_token", "Bearer {{ .AccessToken }}")},
		"for a template":            {name: "z", edit: withData("access_token", "{{ .AccessToken }}")},
		"of one that is suspended":  {name: "a", first: withSuspend(true)},
		"other scope order":         {name: "a", edit: withScopes("read_payment_links", "create_payment_links")},
		"other credentials' Secret": {name: "z", edit: withCredentials("copy")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious})
			w.credentials("copy", "merchant", secretOne)
			w.edit("links", orNothing(test.first))
			w.run()
			w.restart()
			w.create(test.name, orNothing(test.edit))
			w.run()
			w.pass(30 * time.Second)
			w.expectConditions(test.name, good)
			w.expectLive(test.name)
			if got := w.value("links"); !strings.HasSuffix(got, w.value(test.name)) {
				t.Error("the two do not share a token")
			}
			w.expectRequests(1)
		})
	}
}

// TestATargetThatWasLostMeanwhileIsWrittenWithTheTokenOfASharer: the Secret was deleted while no operator ran.
func TestATargetThatWasLostMeanwhileIsWrittenWithTheTokenOfASharer(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{"links", "same"} { // reconciled first, and last
		w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious})
		w.create("same")
		w.run()
		w.delete(named(lost))
		w.restart()
		w.run()
		w.pass(30 * time.Second)
		w.expectConditions(lost, good)
		w.expectLive("links")
		w.expectLive("same")
		w.expectRequests(1)
	}
}

func TestARetainedSecretIsTakenUpByANewProcess(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious}, withPolicy(v1alpha1.DeletionPolicyRetain))
	value := w.value("links")
	w.delete(w.token("links"))
	w.reconcile("links")
	w.restart()
	w.create("links")
	w.run()
	w.pass(time.Minute)
	w.expectConditions("links", good)
	w.expectRequests(1)
	if secret, token := w.secret("links"), w.token("links"); w.value("links") != value || !metav1.IsControlledBy(secret, token) {
		t.Error("the retained Secret was not taken up")
	}
}

// TestAnOldWishOnANewObjectIsHandled: a copy, a restore and a replacement bring an annotation along that was handled long ago.
func TestAnOldWishOnANewObjectIsHandled(t *testing.T) {
	t.Parallel()
	for _, wish := range []string{"2026-11-22T08:00:00Z", "2027-01-01T00:00:00Z", "once more"} {
		for name, arrive := range map[string]func(*world) string{
			"copied": func(w *world) string { w.create("copy", refresh(wish)); return "copy" },
			"restored": func(w *world) string {
				w.delete(w.token("links"))
				w.reconcile("links")
				w.create("links", refresh(wish))
				return "links"
			},
			"restored for a new process": func(w *world) string {
				w.delete(w.token("links"))
				w.reconcile("links")
				w.restart()
				w.create("links", refresh(wish))
				return "links"
			},
			"copied for a new process": func(w *world) string { w.restart(); w.create("copy", refresh(wish)); return "copy" },
		} {
			t.Run(wish+", "+name, func(t *testing.T) {
				t.Parallel()
				w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious}, withPolicy(v1alpha1.DeletionPolicyRetain))
				w.pass(time.Minute)
				arrived := arrive(w)
				w.run()
				w.pass(time.Minute)
				w.expectRequests(1)
				w.expectConditions(arrived, good)
				w.expectLive(arrived)
				w.expectHandled(arrived, wish)
			})
		}
	}
}

// TestOfAFormerWishANewProcessServesWhatMayBeNew: the echo is lost, as after a restore of an older status.
func TestOfAFormerWishANewProcessServesWhatMayBeNew(t *testing.T) {
	t.Parallel()
	for wish, requests := range map[string]int{"2026-11-22T08:59:00Z": 1, "2026-11-22T09:00:30Z": 2, "today": 2} {
		t.Run(wish, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			w.pass(time.Minute)
			w.edit("links", refresh(wish))
			w.restart()
			w.run()
			w.pass(time.Minute)
			w.expectRequests(requests)
			w.expectConditions("links", good)
			w.expectHandled("links", wish)
		})
	}
}

func TestAWishOfAPersonWithAWrongClockIsServed(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.pass(time.Minute)
	w.edit("links", refresh("2020-01-01T00:00:00Z"))
	w.run()
	w.pass(5 * time.Second)
	w.expectRequests(2)
}

// TestKeysOfAFormerTemplateDoNotStayUnseen: another field manager restored the Secret and owns its keys, too.
func TestKeysOfAFormerTemplateDoNotStayUnseen(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	backup := w.secret("links")
	w.delete(named("links"))
	backup.ResourceVersion, backup.UID, backup.ManagedFields = "", "", nil
	w.must(w.user.Create(w.ctx, backup, client.FieldOwner("velero")))
	w.run()
	w.edit("links", withData("token.env", "T={{ .AccessToken }}"))
	w.run()
	w.pass(90 * time.Minute)
	left := w.value("links")
	if left != "" && !strings.Contains(w.messages("links"), "access_token") {
		t.Errorf("key access_token stays with an old token, and nothing says so: %s", w.conditions("links"))
	}
	token := strings.TrimPrefix(string(w.secret("links").Data["token.env"]), "T=")
	if info, ok := w.payu.TokenInfo(token); !ok || !info.LiveAt(w.clock.Now()) {
		t.Error("the key of the new template holds no live token")
	}
}

func TestARenewalWithAReducedScopeIsNotWritten(t *testing.T) {
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	value := w.value("links")
	w.payu.Inject(payutest.Fault{Grant: []string{"read_payment_links"}})
	w.pass(100 * time.Minute)
	w.expectConditions("links", aliveStalledBy("ScopeReduced"))
	if w.value("links") != value {
		t.Error("the token that lacks a scope was written")
	}
	if made := w.requests(); made > 3 {
		t.Errorf("%d requests: a person must act, nobody else", made)
	}
	w.payu.ClearFaults()
	w.edit("links", refresh("now"))
	w.run()
	w.pass(5 * time.Second)
	w.expectConditions("links", good)
}

func TestMoreScopesThanWantedAreWelcome(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]edit{
		"scope in the data": nil,
		"scope hidden":      withData("token.env", "PAYU_TOKEN={{ .AccessToken }}\n"),
		"scope in a text":   withData("scope", "granted: {{ .Scope }}", "token", "{{ .AccessToken }}"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.payu.Inject(payutest.Fault{Grant: []string{"read_payment_links", "update_payment_links", "create_payment_links"}})
			w.create("links", orNothing(data))
			w.run()
			w.expectConditions("links", good)
			version := w.secret("links").ResourceVersion
			w.restart()
			w.run()
			w.pass(time.Minute)
			w.expectConditions("links", good)
			w.expectRequests(1)
			if w.secret("links").ResourceVersion != version {
				t.Error("the Secret was written again")
			}
		})
	}
}
