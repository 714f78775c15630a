package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// operatorName is the name of the operator's namespace, ServiceAccount and ClusterRole in config/default.
const operatorName = "payu-token-operator"

// bench is one run: a control plane, PayU's token server, and programs that are measured.
type bench struct {
	options
	start time.Time

	dir       string
	log       *os.File // of all processes
	auditLog  string
	cluster   *testcluster.Cluster
	client    client.WithWatch  // the administrator's
	account   *testcluster.User // the operator's
	audited   *testcluster.User // the operator's, where its requests are counted
	simulator *process.Simulator
	payu      *payu.Client // asks as the operator does

	goals    []goal
	inputs   inputs
	cleanups []func() error
}

// auditedName is who the operator is while its requests are counted.
const auditedName = "audited"

// The audit log costs the API server time: it holds nothing of others.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["system:serviceaccount:` + operatorName + `:` + auditedName + `"]
- level: None
`

// setUp starts what every measurement needs.
func (b *bench) setUp(ctx context.Context) error {
	for _, step := range []func(context.Context) error{b.makeFolder, b.build, b.newCluster, b.startSimulator} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) makeFolder(context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "payu-bench-"); err != nil {
		return err
	}
	b.later(b.stopCluster)
	b.auditLog = filepath.Join(b.dir, "audit.log")
	b.log, err = os.Create(filepath.Join(b.dir, "processes.log"))
	return err
}

// build makes the programs that no flag names.
func (b *bench) build(ctx context.Context) error {
	for path, name := range map[*string]string{&b.managerPath: "manager", &b.simulatorPath: "payu-simulator"} {
		if *path != "" {
			continue
		}
		*path = filepath.Join(b.dir, name)
		command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", *path,
			"github.com/payu-token-operator/payu-token-operator/cmd/"+name)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("building cmd/%s (start this program in a folder of its module): %w: %s", name, err, out)
		}
	}
	return nil
}

// newCluster starts a control plane with nothing in it but the operator's rights, instead of the one that there is.
func (b *bench) newCluster(ctx context.Context) error {
	if err := b.stopCluster(); err != nil {
		return err
	}
	if err := b.startCluster(ctx); err != nil {
		return err
	}
	return b.addAccounts(ctx)
}

func (b *bench) stopCluster() error {
	if b.cluster == nil {
		return nil
	}
	stopped := b.cluster
	b.cluster = nil
	return stopped.Stop()
}

func (b *bench) startCluster(ctx context.Context) error {
	policy := filepath.Join(b.dir, "policy.yaml")
	err := os.WriteFile(policy, []byte(auditPolicy), 0o600)
	if err != nil {
		return err
	}
	b.cluster, err = testcluster.Start("audit-policy-file="+policy, "audit-log-path="+b.auditLog, "delete-collection-workers=16")
	if err != nil {
		return err
	}
	b.client = b.cluster.Client
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = b.cluster.Kubectl(ctx, "apply", "-k", filepath.Join(b.root, "config", "default"))
	return err
}

// addAccounts makes the operator known, once as what config/default says and once as another one with the same rights.
func (b *bench) addAccounts(ctx context.Context) (err error) {
	if b.account, err = b.cluster.AddServiceAccount(operatorName, operatorName); err != nil {
		return err
	}
	if b.audited, err = b.cluster.AddServiceAccount(operatorName, auditedName); err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: auditedName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: operatorName},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: operatorName, Name: auditedName}},
	}
	if err := b.client.Create(ctx, binding); err != nil {
		return err
	}
	return await(ctx, "the operator may list PayUTokens", func() (bool, error) {
		return b.account.Client.List(ctx, &v1alpha1.PayUTokenList{}) == nil &&
			b.audited.Client.List(ctx, &v1alpha1.PayUTokenList{}) == nil, nil
	})
}

func (b *bench) startSimulator(ctx context.Context) error {
	known, err := json.Marshal(allClients())
	if err != nil {
		return err
	}
	file, caFile := filepath.Join(b.dir, "clients.json"), filepath.Join(b.dir, "ca.pem")
	if err := os.WriteFile(file, known, 0o600); err != nil {
		return err
	}
	listening, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b.simulator, err = process.StartSimulator(listening, io.Discard, b.simulatorPath, caFile, file)
	if b.simulator != nil {
		b.later(func() error { return stop(b.simulator.Process) })
	}
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	b.payu, err = payu.NewClient(payu.Config{
		BaseURLs: map[string]string{string(v1alpha1.EnvironmentTest): b.simulator.URL},
		CAs:      pem, Timeout: patience, UserAgent: "bench", Now: time.Now,
	})
	return err
}

// operator starts the operator, with as many workers as the bare loop has.
func (b *bench) operator(ctx context.Context, as *testcluster.User, args ...string) (*manager, error) {
	args = append([]string{"--kubeconfig=" + as.Kubeconfig, "--test-base-url=" + b.simulator.URL,
		"--ca-file=" + b.simulator.CAFile, fmt.Sprintf("--max-concurrent-reconciles=%d", workers)}, args...)
	m, err := startManager(ctx, b.managerPath, b.log, args...)
	if err != nil && m != nil && m.Process != nil {
		err = errors.Join(err, stop(m.Process))
	}
	return m, err
}

// say tells what goes on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%5.1f s] %s\n", time.Since(b.start).Seconds(), fmt.Sprintf(format, args...))
}

// later has close do something, the last one first.
func (b *bench) later(cleanup func() error) { b.cleanups = append(b.cleanups, cleanup) }

// close stops everything and removes it, but for the logs if they may explain a failure. It returns that and its own.
func (b *bench) close(failure error) error {
	errs := []error{failure}
	for _, cleanup := range slices.Backward(b.cleanups) {
		errs = append(errs, cleanup())
	}
	if failure != nil && b.log != nil {
		fmt.Fprintln(os.Stderr, "What the operator said:", b.log.Name())
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}
