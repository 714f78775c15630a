package controller

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// The floor: PayU is never asked for one source twice within 5 s, whoever wants it.

func TestTinyLivesAreAskedForAtTheFloor(t *testing.T) { // fault 8
	t.Parallel()
	for _, life := range []time.Duration{1, 2, 3, 4, 5, 7, 10} {
		life *= time.Second
		t.Run(life.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{TokenTTL: life})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.tick(900 * time.Millisecond)
			w.create("links")
			w.create("same")
			w.run()
			w.pass(time.Minute)
			w.expectFloor()
			if made := w.requests(); made < 6 {
				t.Errorf("%d requests in a minute are too few", made)
			}
		})
	}
}

func TestTransientFailuresKeepTheFloor(t *testing.T) { // fault 8, trap 21
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.payu.Inject(payutest.Fault{Error: "server_error"})
	w.create("links")
	w.create("same")
	w.run()
	w.pass(2 * time.Minute)
	w.expectFloor()
	if made := w.requests(); made < 4 {
		t.Errorf("%d requests in 2 min are too few", made)
	}
}

// restless are things that people and machines do again and again.
var restless = map[string]func(w *world, i int){
	"wishes":         func(w *world, i int) { w.edit("links", refresh(fmt.Sprint(i))) },
	"wishes of both": func(w *world, i int) { w.edit([]string{"links", "same"}[i%2], refresh(fmt.Sprint(i))) },
	"percents": func(w *world, i int) {
		w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.RenewalPercent = int32(20 + i) })
	},
	"suspensions": func(w *world, i int) { w.edit("links", withSuspend(i%2 == 0)) },
	"targets":     func(w *world, i int) { w.edit("links", targeting(v1alpha1.SecretName(fmt.Sprint("t", i)))) },
	"templates":   func(w *world, i int) { w.edit("links", withData(fmt.Sprint("k", i), "{{ .AccessToken }}")) },
	"scopes": func(w *world, i int) {
		w.edit("links", withScopes([]v1alpha1.Scope{"read_payment_links", "create_payment_links"}[i%2]))
	},
	"credentials": func(w *world, i int) {
		w.edit("links", withCredentials([]v1alpha1.SecretName{"other", "payu-credentials"}[i%2]))
	},
	"sharers":      func(w *world, i int) { w.create(fmt.Sprint("sharer-", i)) },
	"re-creations": func(w *world, _ int) { w.recreate("links") },
	"of all":       func(w *world, _ int) { w.recreate("links"); w.recreate("same") },
	"damage":       func(w *world, _ int) { w.delete(named("links")) },
	"credentials anew": func(w *world, _ int) {
		w.delete(named("payu-credentials"))
		w.credentials("payu-credentials", "merchant", secretOne)
	},
	"credentials there": func(w *world, i int) { w.comeAndGo(i) },
	"their metadata": func(w *world, i int) {
		w.change("payu-credentials", func(s *corev1.Secret) { metav1.SetMetaDataLabel(&s.ObjectMeta, "n", fmt.Sprint(i)) })
	},
}

// recreate deletes a PayUToken, with its Secret, and creates it anew.
func (w *world) recreate(name string) {
	w.Helper()
	w.delete(w.token(name))
	w.delete(named(name))
	w.reconcile(name)
	w.create(name)
}

// comeAndGo deletes the credentials in even rounds, and creates them in odd ones.
func (w *world) comeAndGo(i int) {
	w.Helper()
	if i%2 == 0 {
		w.delete(named("payu-credentials"))
		return
	}
	w.credentials("payu-credentials", "merchant", secretOne)
}

func TestRestlessUsersDoNotBreakTheFloor(t *testing.T) { // faults 8, 21, 22
	t.Parallel()
	for state, begin := range map[string]func(*world){
		"works":      func(*world) {},
		"refuses":    func(w *world) { w.payu.Inject(payutest.Fault{Error: "invalid_client"}) },
		"tiny lives": func(w *world) { w.payu.SetTokenTTL(time.Second) },
	} {
		for name, act := range restless {
			t.Run(state+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, payutest.Config{Clients: []payutest.Client{{ID: "merchant", Secret: secretOne}, {ID: "other", Secret: "2"}}})
				w.credentials("payu-credentials", "merchant", secretOne)
				w.credentials("other", "other", "2")
				begin(w)
				w.create("links")
				w.create("same")
				w.run()
				for i := range 8 {
					act(w, i)
					w.run()
					w.pass(400 * time.Millisecond)
				}
				w.pass(6 * time.Second)
				w.expectFloor()
			})
		}
	}
}

func TestARollOutThatPayUDoesNotSeeCostsNoRequest(t *testing.T) { // fault 21
	t.Parallel()
	w := newWorld(t, payutest.Config{})
	w.credentials("payu-credentials", "merchant", "wrong")
	const sharers = 12
	for i := range sharers {
		w.create(fmt.Sprintf("t%02d", i))
	}
	w.run()
	w.expectRequests(1)
	for i := range sharers {
		w.edit(fmt.Sprintf("t%02d", i), func(p *v1alpha1.PayUToken) { p.Spec.RenewalPercent = 50 })
		w.run()
		w.pass(time.Second)
	}
	w.expectRequests(1)
	w.expectConditions("t07", stalledBy("InvalidClient"))
}

// TestWishesShareRequests is `kubectl annotate payutokens --all`.
func TestWishesShareRequests(t *testing.T) { // fault 22
	t.Parallel()
	for name, test := range map[string]struct {
		between time.Duration
		most    int
	}{
		"at once":             {0, 3}, // the first may begin at once, another serves the rest
		"one after the other": {200 * time.Millisecond, 3},
		"for longer than 5 s": {time.Second, 4},
		"every 6 s":           {6 * time.Second, 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{Mode: payutest.RevokePrevious})
			w.credentials("payu-credentials", "merchant", secretOne)
			for i := range 8 {
				w.create(fmt.Sprint("t", i))
			}
			w.run()
			w.pass(time.Minute)
			for i := range 8 {
				w.edit(fmt.Sprint("t", i), refresh("2026-11-22T09:01:00Z"))
				if test.between > 0 {
					w.reconcile(fmt.Sprint("t", i))
					w.drainQueue()
					w.pass(test.between)
				}
			}
			w.run()
			w.pass(10 * time.Second)
			if made := w.requests(); made < 2 || made > test.most {
				t.Errorf("PayU saw %d requests, want 2 to %d", made, test.most)
			}
			w.expectFloor()
			for i := range 8 {
				w.expectConditions(fmt.Sprint("t", i), good)
				w.expectLive(fmt.Sprint("t", i))
				w.expectHandled(fmt.Sprint("t", i), "2026-11-22T09:01:00Z")
			}
		})
	}
}

func TestAWishRightAfterARequestWaitsForTheFloor(t *testing.T) { // fault 22
	t.Parallel()
	w := withLinks(t, payutest.Config{})
	w.pass(time.Second)
	w.edit("links", refresh("now"))
	w.run()
	w.pass(3 * time.Second)
	w.expectRequests(1)
	w.expectConditions("links", good)
	w.expectHandled("links", "")
	w.pass(2 * time.Second)
	w.expectRequests(2)
	w.expectHandled("links", "now")
}

// TestAWishIsServedByARequestThatBeganAfterIt has a user wish while a renewal is in flight.
func TestAWishIsServedByARequestThatBeganAfterIt(t *testing.T) { // fault 22
	t.Parallel()
	for name, fault := range map[string]payutest.Fault{
		"the answer is a token":   {Hang: true, Times: 1},
		"the answer is a failure": {Hang: true, Times: 1, Error: "server_error"},
	} {
		t.Run(name, func(t *testing.T) {
			w := withLinks(t, payutest.Config{Mode: payutest.RevokePrevious})
			w.tick(90 * time.Minute)
			w.payu.Inject(fault)
			w.begin("links")
			w.edit("links", refresh("meanwhile"))
			if _, err := w.look("links"); err != nil {
				t.Fatal(err)
			}
			w.payu.ClearFaults()
			await(w)
			w.run()
			w.expectRequests(2)
			w.expectHandled("links", "") // the request in flight began before the wish
			w.pass(6 * time.Second)
			w.expectRequests(3)
			w.expectFloor()
			w.expectConditions("links", good)
			w.expectHandled("links", "meanwhile")
		})
	}
}

// TestEachTargetIsTriedByItself before PayU is asked, though one like it was accepted just now.
func TestEachTargetIsTriedByItself(t *testing.T) { // fault 11
	t.Parallel()
	for name, test := range map[string]struct {
		edit  edit
		admit func(*corev1.Secret) bool
	}{
		"a policy on names":  {targeting("b"), func(s *corev1.Secret) bool { return s.Name != "b" }},
		"a policy on keys":   {withData("token.env", "{{ .AccessToken }}"), func(s *corev1.Secret) bool { return s.Data["token.env"] == nil }},
		"a policy on labels": {withLabel("team", "shop"), func(s *corev1.Secret) bool { return s.Labels["team"] == "" }},
		"a policy on types":  {withType("example.com/token"), func(s *corev1.Secret) bool { return s.Type == corev1.SecretTypeOpaque }},
		"a policy on owners": {targeting("b"), func(s *corev1.Secret) bool { return s.OwnerReferences[0].Name != "b" }},
		"a policy on sizes":  {withData("t", "{{ .AccessToken }}", "pad", fmt.Sprintf("%01000d", 0)), func(s *corev1.Secret) bool { return len(s.Data["pad"]) < 500 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{Mode: payutest.RevokePrevious})
			w.credentials("payu-credentials", "merchant", secretOne)
			onWrite(w, func(s *corev1.Secret, _ bool) error {
				if test.admit(s) {
					return nil
				}
				return forbid(s.Name, "policy")
			})
			w.create("a", targeting("a"))
			w.create("b", withScopes("read_payment_links"), test.edit)
			w.run()
			w.expectConditions("a", good)
			w.expectConditions("b", stalledBy("TargetWriteFailed"))
			w.expectRequests(1)
		})
	}
}
