package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	shop = "shop" // the namespace of the tour
	// tokenLife is short, so that a tour of a minute sees renewals.
	tokenLife = 20 * time.Second
	// patience limits short waits.
	patience = 15 * time.Second
)

// tour is one run of the demo.
type tour struct {
	*lab.Run
	*screen
	end context.CancelCauseFunc

	clients   map[string]payutest.Client
	cluster   *lab.Cluster
	simulator *lab.Simulator
	operator  *lab.Operator
	findings  [][]string // promises that were kept, and what was seen
}

// found records that a promise was kept, and shows how.
func (t *tour) found(promise, format string, args ...any) {
	seen := fmt.Sprintf(format, args...)
	t.saw("%s", seen)
	t.findings = append(t.findings, []string{promise, seen})
}

// follow passes every event of one object of the shop to see, beginning with its current state, until that returns true. It begins
// when it is called, and looks when the returned function is.
func (t *tour) follow(list client.ObjectList, name string, limit time.Duration, promise string, see func(watch.Event) bool) (look func() error) {
	ctx, cancel := lab.Within(t.Context(), limit, promise)
	w := lab.Must(t.cluster.Client.Watch(ctx, list, client.InNamespace(shop), client.MatchingFields{"metadata.name": name}))(t)
	return func() error {
		defer cancel()
		defer w.Stop()
		for event := range w.ResultChan() {
			if event.Type == watch.Error {
				return fmt.Errorf("watching: %v", event.Object)
			}
			if see(event) {
				return nil
			}
		}
		return lab.Outcome(ctx, errors.New("the API server ended a watch: start the demo again"))
	}
}

// awaitToken waits until a PayUToken is as wanted.
func (t *tour) awaitToken(name string, limit time.Duration, promise string, wanted func(*v1alpha1.PayUToken) bool) *v1alpha1.PayUToken {
	var token *v1alpha1.PayUToken
	lab.Check(t, t.follow(&v1alpha1.PayUTokenList{}, name, limit, promise, func(event watch.Event) bool {
		token = event.Object.(*v1alpha1.PayUToken)
		return wanted(token)
	})())
	return token
}

func isReady(token *v1alpha1.PayUToken) bool {
	return meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady)
}

// isHealthy reports whether a PayUToken is Ready, without a failure.
func isHealthy(token *v1alpha1.PayUToken) bool {
	return isReady(token) && meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionRefreshed) && !isStalled(token)
}

func isStalled(token *v1alpha1.PayUToken) bool {
	return meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionStalled)
}

// ready returns the condition Ready, zero if there is none.
func ready(token *v1alpha1.PayUToken) metav1.Condition {
	if c := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// target returns the Secret of the tour.
func (t *tour) target() *corev1.Secret {
	secret := &corev1.Secret{}
	lab.Check(t, t.cluster.Client.Get(t.Context(), client.ObjectKey{Namespace: shop, Name: targetName}, secret))
	return secret
}

// moment is a state to compare with: the Secret, and the number of token requests so far.
type moment struct {
	secret   *corev1.Secret
	requests int
}

func (t *tour) now() moment {
	requests := 0
	for _, n := range lab.Must(t.simulator.Counters(t.Context()))(t).Requests[t.clients[credentialsName].ID] {
		requests += n
	}
	return moment{t.target(), requests}
}

// undisturbed waits until no renewal is near, and returns that moment.
func (t *tour) undisturbed() moment {
	t.awaitToken(tokenName, patience, "a fresh token", func(token *v1alpha1.PayUToken) bool {
		return isReady(token) && time.Until(token.Status.RenewAt.Time) > tokenLife/4
	})
	return t.now()
}

// mustWork calls PayU's resource with tokens, as a workload would, and prints the text if all of them work.
func (t *tour) mustWork(text string, tokens ...string) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(lab.Must(os.ReadFile(t.simulator.CAFile))(t))
	caller := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	for _, token := range tokens {
		r := lab.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, t.simulator.URL+"/resource", nil))(t)
		r.Header.Set("Authorization", "Bearer "+token)
		response := lab.Must(caller.Do(r))(t)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("PayU's resource returns %d for token %s, not 200", response.StatusCode, masked(token))
		}
	}
	t.saw("%s", text)
}

// kubectl shows the command and runs it.
func (t *tour) kubectl(args ...string) string {
	t.command("kubectl " + shellLine(args))
	return lab.Must(t.cluster.Kubectl(t.Context(), args...))(t)
}

// show shows the command, runs it, and shows what it prints.
func (t *tour) show(args ...string) { t.output(t.kubectl(args...)) }

// shellLine quotes arguments for a shell.
func shellLine(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		if quoted[i] = arg; strings.ContainsAny(arg, ` {}"$*`) {
			quoted[i] = "'" + arg + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// summarize lists the promises and the observations, and counts the token requests.
func (t *tour) summarize() {
	counters := lab.Must(t.simulator.Counters(t.Context()))(t)
	t.heading(0, "Promised and observed")
	t.say("%s", table(t.findings))
	var list []string
	for _, client := range slices.Sorted(maps.Keys(counters.Requests)) {
		var outcomes []string
		for _, outcome := range slices.Sorted(maps.Keys(counters.Requests[client])) {
			outcomes = append(outcomes, fmt.Sprintf("%d %s", counters.Requests[client][outcome], outcome))
		}
		list = append(list, client+" "+strings.Join(outcomes, ", "))
	}
	t.say("Token requests in total: %d (%s)", counters.Total(), strings.Join(list, "; "))
}

// keepRunning keeps everything running for the user, until Ctrl-C.
func (t *tour) keepRunning() error {
	t.heading(0, "Everything keeps running until Ctrl-C. In another terminal:")
	admin := t.simulator.BaseURL
	t.say("export KUBECONFIG=%s", t.cluster.Kubeconfig)
	t.say("export PATH=%s:$PATH   # for kubectl", filepath.Dir(t.cluster.KubectlPath))
	t.command("kubectl get payutokens -n " + shop + " --watch")
	t.command("kubectl describe payutoken " + tokenName + " -n " + shop)
	t.say("\nMake PayU reuse tokens; make it fail twice; count its requests:")
	t.command(`curl -X PATCH -d '{"mode":"reuse"}' ` + admin + "/admin/settings")
	t.command(`curl -d '{"error":"server_error","times":2}' ` + admin + "/admin/faults")
	t.command("curl " + admin + "/admin/counters")
	t.say("\nPayUTokens of both environments get tokens of the simulator. There is no garbage collector here: a PayUToken that you delete\nleaves its Secret.")
	t.say("\n%s", table([][]string{
		{"simulator", t.simulator.URL + "   (CA: " + t.simulator.CAFile + ")"},
		{"its admin API", admin + "/admin"},
		{"metrics", "http://" + t.operator.Metrics + "/metrics"},
		{"log", filepath.Join(t.Dir, "manager.log")},
	}))
	<-t.Context().Done()
	if cause := context.Cause(t.Context()); !errors.Is(cause, lab.ErrInterrupted) {
		return cause
	}
	return nil
}
