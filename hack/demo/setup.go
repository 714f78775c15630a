package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/discovery"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

func (t *tour) startControlPlane(context.Context) error {
	var err error
	if t.clients, err = sampleClients(); err != nil {
		return err
	}
	t.say("A real kube-apiserver and etcd, without nodes.")
	if t.cluster, err = lab.StartCluster(); err != nil {
		return err
	}
	t.Later(t.cluster.Stop)
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

func (t *tour) build(context.Context) error {
	t.command("go build ./cmd/...")
	folder, err := lab.Programs()
	if err != nil {
		return err
	}
	t.saw("the programs are in %s", folder)
	return nil
}

func (t *tour) startSimulator(ctx context.Context) error {
	log, err := t.logTo("simulator")
	if err != nil {
		return err
	}
	defer log.Close()
	clients := slices.Collect(maps.Values(t.clients))
	t.simulator, err = lab.StartSimulator(ctx, log, t.private, clients, "--token-ttl="+tokenLife.String())
	if t.simulator != nil {
		t.attend("simulator", t.simulator.Process)
	}
	if err != nil {
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
	start := time.Now()
	if err := t.launchOperator(); err != nil {
		return err
	}
	t.say("There is no node for its Deployment, so cmd/manager runs here, with only that RBAC.\n--test-base-url and --ca-file point it to the simulator.")
	if err := t.operator.AwaitReady(ctx); err != nil {
		return err
	}
	t.saw("ready after %s", rounded(time.Since(start)))
	return nil
}

// launchOperator starts the operator as its ServiceAccount. --propagation-margin is for tokens of hours: with it, tokens
// of seconds would be renewed at half of their lifetime.
func (t *tour) launchOperator() error {
	account, err := t.cluster.AddServiceAccount(lab.OperatorName, lab.OperatorName)
	if err != nil {
		return err
	}
	log, err := t.logTo("manager")
	if err != nil {
		return err
	}
	defer log.Close()
	t.operator = &lab.Operator{Stderr: log}
	if err := t.operator.Start(account.Kubeconfig, "--test-base-url="+t.simulator.URL, "--ca-file="+t.simulator.CAFile, "--propagation-margin=2s"); err != nil {
		return err
	}
	t.attend("operator", t.operator.Process)
	return nil
}

// logTo creates the file for a program's stderr.
func (t *tour) logTo(name string) (*os.File, error) {
	return os.Create(filepath.Join(t.Dir, name+".log"))
}

// attend stops the tour if a process ends early, and the process after the tour.
func (t *tour) attend(name string, p *lab.Process) {
	go func() {
		<-p.Ended()
		t.end(fmt.Errorf("the %s ended before the tour did: %s", name, p.State()))
	}()
	t.Later(func() error { return p.Stop(lab.Grace) })
}
