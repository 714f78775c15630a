package main

import (
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

func (t *tour) startControlPlane() {
	t.clients = lab.Must(sampleClients())(t)
	t.say("A real kube-apiserver and etcd, without nodes.")
	t.cluster = lab.Must(lab.StartCluster())(t)
	t.Later(t.cluster.Stop)
	version := lab.Must(lab.Must(discovery.NewDiscoveryClientForConfig(t.cluster.Config))(t).ServerVersion())(t)
	t.saw("Kubernetes %s at %s", version.GitVersion, strings.TrimSuffix(t.cluster.Config.Host, "/"))
}

func (t *tour) build() {
	t.command("go build ./cmd/...")
	t.saw("the programs are in %s", lab.Must(lab.Programs())(t))
}

func (t *tour) startSimulator() {
	private := filepath.Join(t.Dir, "private") // credentials: not kept, not even after a failure
	lab.Check(t, os.Mkdir(private, 0o700))
	t.Later(func() error { return os.RemoveAll(private) })
	log := t.logTo("simulator")
	defer log.Close()
	clients := slices.Collect(maps.Values(t.clients))
	var err error
	t.simulator, err = lab.StartSimulator(t.Context(), log, private, clients, "--token-ttl="+tokenLife.String())
	if t.simulator != nil {
		t.attend("simulator", t.simulator.Process)
	}
	lab.Check(t, err)
	t.say("It has the clients of %s.\nIts tokens are valid for %s, so that a short tour sees renewals.", credentialsFile, tokenLife)
	t.saw("listens on %s, with a certificate of its own CA", t.simulator.URL)
}

// startOperator starts the operator as its ServiceAccount. --propagation-margin is for tokens of hours: with it, tokens
// of seconds would be renewed at half of their lifetime.
func (t *tour) startOperator() {
	applied := t.kubectl("apply", "-k", "config/default")
	t.output(fmt.Sprintf("%d objects: the CRD of PayUTokens, RBAC, ...", strings.Count(applied, "\n")))
	account := lab.Must(t.cluster.AddServiceAccount(lab.OperatorName, lab.OperatorName))(t)
	log := t.logTo("manager")
	defer log.Close()
	start := time.Now()
	t.operator = &lab.Operator{Stderr: log}
	lab.Check(t, t.operator.Start(account.Kubeconfig, "--test-base-url="+t.simulator.URL, "--production-base-url="+t.simulator.URL, "--ca-file="+t.simulator.CAFile, "--propagation-margin=2s"))
	t.attend("operator", t.operator.Process)
	t.say("There is no node for its Deployment, so cmd/manager runs here, with only that RBAC.\n--test-base-url, --production-base-url and --ca-file point it to the simulator.")
	lab.Check(t, t.operator.AwaitReady(t.Context()))
	t.saw("ready after %s", rounded(time.Since(start)))
}

// logTo creates the file for a program's stderr.
func (t *tour) logTo(name string) *os.File {
	return lab.Must(os.Create(filepath.Join(t.Dir, name+".log")))(t)
}

// attend stops the tour if a process ends early, and the process after the tour.
func (t *tour) attend(name string, p *lab.Process) {
	go func() {
		<-p.Ended()
		t.end(fmt.Errorf("the %s ended before the tour did: %s", name, p.State()))
	}()
	t.Later(func() error { return p.Stop(lab.Grace) })
}
