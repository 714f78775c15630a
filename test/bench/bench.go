package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// bench is one run: a control plane, PayU's token server, and programs that are measured.
type bench struct {
	options
	*lab.Run

	log       *os.File // of all processes
	cluster   *lab.Cluster
	client    client.WithWatch // the administrator's
	account   *lab.User        // the operator's
	audited   *lab.User        // the operator's, where its requests are counted
	simulator *lab.Simulator
	payu      *payu.Client // asks as the operator does

	goals  []goal
	inputs inputs
}

// auditedName is who the operator is while its requests are counted.
const auditedName = "audited"

func newBench(ctx context.Context, o options) (*bench, error) {
	run, err := lab.NewRun(ctx, "payu-bench")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, Run: run}
	b.Later(b.stopCluster)
	b.log, err = os.Create(filepath.Join(b.Dir, "processes.log"))
	return b, err
}

// setUp starts what every measurement needs.
func (b *bench) setUp() {
	b.newCluster()
	b.startSimulator()
}

// newCluster starts a control plane with nothing in it but the operator's rights, instead of the one that there is.
func (b *bench) newCluster() {
	lab.Check(b, b.stopCluster())
	b.cluster = lab.Must(lab.StartAuditedCluster(`users: ["system:serviceaccount:`+lab.OperatorName+`:`+auditedName+`"]`, "delete-collection-workers=16"))(b)
	b.client = b.cluster.Client
	b.addAccounts()
}

func (b *bench) stopCluster() error {
	if b.cluster == nil {
		return nil
	}
	stopped := b.cluster
	b.cluster = nil
	return stopped.Stop()
}

// addAccounts makes the operator known, once as what config/default says and once as another one with the same rights.
func (b *bench) addAccounts() {
	b.account = lab.Must(b.cluster.Install(b.Context()))(b)
	b.audited = lab.Must(b.cluster.AddServiceAccount(lab.OperatorName, auditedName))(b)
	lab.Check(b, b.client.Create(b.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: auditedName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: lab.OperatorName},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: lab.OperatorName, Name: auditedName}},
	}))
	lab.Check(b, lab.Await(b.Context(), lab.Patience, "the operator may list PayUTokens", func(ctx context.Context) error {
		return errors.Join(b.account.Client.List(ctx, &v1alpha1.PayUTokenList{}), b.audited.Client.List(ctx, &v1alpha1.PayUTokenList{}))
	}))
}

func (b *bench) startSimulator() {
	var err error
	b.simulator, err = lab.StartSimulator(b.Context(), io.Discard, b.Dir, allClients())
	if b.simulator != nil {
		b.Later(func() error { return stop(b.simulator.Process) })
	}
	lab.Check(b, err)
	b.payu = lab.Must(payu.NewClient(payu.Config{
		BaseURLs: map[string]string{string(v1alpha1.EnvironmentTest): b.simulator.URL},
		CAs:      lab.Must(os.ReadFile(b.simulator.CAFile))(b), Timeout: lab.Patience, UserAgent: "bench", Now: time.Now,
	}))(b)
}

// operator starts the operator, with as many workers as the bare loop has, and waits until its caches are filled.
func (b *bench) operator(as *lab.User, flags ...string) *manager {
	m := &manager{pprof: lab.Must(lab.FreeAddress())(b),
		Operator: &lab.Operator{Stdout: b.log, Stderr: b.log, Env: append(os.Environ(), "GOGC=50")}} // as in config/manager
	flags = append([]string{"--test-base-url=" + b.simulator.URL, "--ca-file=" + b.simulator.CAFile, "--pprof-bind-address=" + m.pprof,
		fmt.Sprintf("--max-concurrent-reconciles=%d", workers)}, flags...)
	lab.Check(b, m.Start(as.Kubeconfig, flags...))
	b.Later(func() error { return m.Stop(lab.Patience) }) // if nobody has stopped it
	lab.Check(b, m.AwaitReady(b.Context()))
	return m
}

// close stops everything and removes it, but for the logs if they may explain a failure. It returns that and its own.
func (b *bench) close(failure error) error {
	err := b.Clean(failure)
	if failure != nil && !errors.Is(failure, lab.ErrInterrupted) {
		fmt.Fprintln(os.Stderr, "What the operator said:", b.log.Name())
		return err
	}
	return errors.Join(err, os.RemoveAll(b.Dir))
}
