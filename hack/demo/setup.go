package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"

	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// operatorName is the name of the operator's namespace and ServiceAccount in config/default.
const operatorName = "payu-token-operator"

func (t *tour) startControlPlane(context.Context) error {
	var err error
	if t.clients, err = sampleClients(); err != nil {
		return err
	}
	t.say("A real kube-apiserver and etcd, without nodes.")
	if t.cluster, err = testcluster.Start(); err != nil {
		return err
	}
	t.later(t.cluster.Stop)
	t.client = t.cluster.Client
	return t.sayVersion()
}

func (t *tour) sayVersion() error {
	server, err := discovery.NewDiscoveryClientForConfig(t.cluster.Config)
	if err != nil {
		return err
	}
	version, err := server.ServerVersion()
	if err != nil {
		return fmt.Errorf("asking the API server for its version: %w", err)
	}
	t.saw("Kubernetes %s at %s", version.GitVersion, strings.TrimSuffix(t.cluster.Config.Host, "/"))
	return nil
}

func (t *tour) build(ctx context.Context) error {
	args := []string{"build", "-o", "bin/", "./cmd/manager", "./cmd/payu-simulator"}
	t.command("go " + strings.Join(args, " "))
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		t.output(string(out))
		return fmt.Errorf("go build: %w: correct what it prints above", err)
	}
	t.saw("bin/manager, bin/payu-simulator")
	t.managerPath, t.simulatorPath = cmp.Or(t.managerPath, "bin/manager"), cmp.Or(t.simulatorPath, "bin/payu-simulator")
	return nil
}

func (t *tour) startSimulator(ctx context.Context) error {
	clientsFile, err := writeClients(t.private, t.clients)
	if err != nil {
		return err
	}
	ctx, cancel := within(ctx, patience, "the simulator listens")
	defer cancel()
	if t.simulator, err = startSimulator(ctx, t, clientsFile); err != nil {
		return err
	}
	t.say("It has the clients of %s.\nIts tokens are valid for %s, so that a short tour sees renewals.", credentialsFile, tokenLife)
	t.saw("listens on %s, with a certificate of its own CA", t.simulator.URL)
	return nil
}

func (t *tour) startOperator(ctx context.Context) error {
	out, err := t.kubectl(ctx, "apply", "-k", "config/default")
	if err != nil {
		return err
	}
	t.output(fmt.Sprintf("%d objects: the CRD of PayUTokens, RBAC, ...", strings.Count(out, "\n")))
	account, err := t.cluster.AddServiceAccount(operatorName, operatorName)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := t.launchManager(account.Kubeconfig); err != nil {
		return err
	}
	t.say("There is no node for its Deployment, so bin/manager runs here, with only that RBAC.\n--test-base-url and --ca-file point it to the simulator.")
	if err := t.awaitManager(ctx); err != nil {
		return err
	}
	t.saw("ready after %s", rounded(time.Since(start)))
	return nil
}

// launchManager starts the operator as its ServiceAccount. --propagation-margin is for tokens of hours: with it, tokens
// of seconds would be renewed at half of their lifetime.
func (t *tour) launchManager(kubeconfig string) error {
	var err error
	if t.probes, err = process.FreeAddress(); err != nil {
		return err
	}
	if t.metrics, err = process.FreeAddress(); err != nil {
		return err
	}
	log, err := t.logTo("manager")
	if err != nil {
		return err
	}
	defer log.Close()
	manager, err := process.Launch(nil, log, t.managerPath,
		"--kubeconfig="+kubeconfig, "--test-base-url="+t.simulator.URL, "--ca-file="+t.simulator.CAFile,
		"--propagation-margin=2s", "--metrics-bind-address="+t.metrics, "--metrics-secure=false",
		"--health-probe-bind-address="+t.probes)
	if err != nil {
		return err
	}
	t.attend("manager", manager)
	return nil
}

// awaitManager waits until the operator's caches are filled.
func (t *tour) awaitManager(ctx context.Context) error {
	ctx, cancel := within(ctx, patience, "the operator is ready (/readyz)")
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
		return answersOK("http://" + t.probes + "/readyz"), nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func answersOK(url string) bool {
	answer, err := http.Get(url)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
