package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// summarize lists the promises and the observations, and counts the token requests.
func (t *tour) summarize(ctx context.Context) error {
	counters, err := t.simulator.Counters(ctx)
	if err != nil {
		return err
	}
	t.heading(0, "Promised and observed")
	var rows [][]string
	for _, f := range t.findings {
		rows = append(rows, []string{f.promise, f.seen})
	}
	t.say("%s", table(rows))
	t.say("Token requests in total: %d (%s)", counters.Total(), strings.Join(perClient(counters.Requests), "; "))
	return nil
}

// perClient lists the responses to each client, and how many.
func perClient(requests map[string]map[string]int) []string {
	var list []string
	for _, client := range slices.Sorted(maps.Keys(requests)) {
		var answers []string
		for _, outcome := range slices.Sorted(maps.Keys(requests[client])) {
			answers = append(answers, fmt.Sprintf("%d %s", requests[client][outcome], outcome))
		}
		list = append(list, client+" "+strings.Join(answers, ", "))
	}
	return list
}

// keepRunning keeps everything running for the user, until Ctrl-C.
func (t *tour) keepRunning(ctx context.Context) error {
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
	t.say("\n%s", table([][]string{
		{"simulator", t.simulator.URL + "   (CA: " + t.simulator.CAFile + ")"},
		{"its admin API", admin + "/admin"},
		{"metrics", "http://" + t.operator.Metrics + "/metrics"},
		{"log", filepath.Join(t.Dir, "manager.log")},
	}))
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, lab.ErrInterrupted) {
		return cause
	}
	return nil
}

// farewell prints the result after the cleanup.
func (t *tour) farewell(err error) error {
	if err == nil {
		t.heading(0, "All promises were kept. Everything is stopped and removed.")
	}
	return err
}
