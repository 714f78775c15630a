package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Cluster is a real Kubernetes API server with etcd and the CRD of the PayUToken, and the rights of its administrator.
//
// The programs are those of the folder KUBEBUILDER_ASSETS or, where it is not set, of the folder that
// hack/controlplane/assets prints. No controller manager and no node run: nothing collects garbage, completes the
// deletion of a namespace or starts pods.
//
// A program that dies before it calls Stop leaves kube-apiserver and etcd behind.
type Cluster struct {
	*User

	// AuditLog is the file that the API server of StartAuditedCluster writes.
	AuditLog string

	env *envtest.Environment
	dir string // certificates, etcd's data, kubeconfig files: what must survive a restart of a process

	adding sync.Mutex
}

// StartCluster starts a control plane on free ports and installs the CRDs of config/crd/bases. The flags, if any, are
// kube-apiserver's, for example "audit-log-path=/tmp/audit.log". The caller must call Stop.
func StartCluster(apiServerFlags ...string) (*Cluster, error) {
	return startCluster("", apiServerFlags)
}

// StartAuditedCluster is StartCluster with an audit log of the requests of some users. That costs the API server time, and so the
// log holds nothing of others. whom is a line of a rule, for example `userGroups: ["system:serviceaccounts"]`.
func StartAuditedCluster(whom string, apiServerFlags ...string) (*Cluster, error) {
	return startCluster(whom, apiServerFlags)
}

func startCluster(audited string, flags []string) (*Cluster, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	assets, err := assetsFolder(root)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, env: environment(root, assets, dir), AuditLog: filepath.Join(dir, "audit.log")}
	if audited != "" {
		err = c.audit(audited)
	}
	c.configure(flags)
	if err = errors.Join(err, c.start()); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// RunCluster starts a control plane for the duration of a test.
func RunCluster(t testing.TB) *Cluster {
	t.Helper()
	c := Must(StartCluster())(t)
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Install applies config/default, and returns the operator's ServiceAccount.
func (c *Cluster) Install(ctx context.Context) (*User, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	ctx, cancel := Within(ctx, Patience, "kubectl applies config/default")
	defer cancel()
	if _, err := c.Kubectl(ctx, "apply", "-k", filepath.Join(root, "config", "default")); err != nil {
		return nil, err
	}
	return c.AddServiceAccount(OperatorName, OperatorName)
}

// environment names folders and programs. Folders that it names itself, envtest keeps when a process stops.
func environment(root, assets, dir string) *envtest.Environment {
	existing := false
	return &envtest.Environment{
		UseExistingCluster:       &existing,
		CRDDirectoryPaths:        []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: Patience,
		ControlPlaneStopTimeout:  Patience,
		ControlPlane: envtest.ControlPlane{
			APIServer:   &envtest.APIServer{Path: filepath.Join(assets, "kube-apiserver"), CertDir: dir},
			Etcd:        &envtest.Etcd{Path: filepath.Join(assets, "etcd"), DataDir: filepath.Join(dir, "etcd")},
			KubectlPath: filepath.Join(assets, "kubectl"),
		},
	}
}

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  %s
- level: None
`

// audit has the API server write what some users request.
func (c *Cluster) audit(whom string) error {
	policy := filepath.Join(c.dir, "audit-policy.yaml")
	c.configure([]string{"audit-policy-file=" + policy, "audit-log-path=" + c.AuditLog})
	return os.WriteFile(policy, fmt.Appendf(nil, auditPolicy, whom), 0o600)
}

// configure sets the flags of kube-apiserver. Without a time limit, it would not stop while a watch is open.
func (c *Cluster) configure(flags []string) {
	for _, flag := range append([]string{"shutdown-watch-termination-grace-period=10s"}, flags...) {
		name, value, _ := strings.Cut(flag, "=")
		c.env.ControlPlane.APIServer.Configure().Append(name, value)
	}
}

func (c *Cluster) start() error {
	if _, err := c.env.Start(); err != nil {
		return fmt.Errorf("starting etcd and kube-apiserver (KUBEBUILDER_ATTACH_CONTROL_PLANE_OUTPUT=true shows their output): %w", err)
	}
	var err error
	c.User, err = c.AddUser("admin", "system:masters")
	return err
}

// Stop stops the processes and removes their data.
func (c *Cluster) Stop() error {
	return errors.Join(c.env.Stop(), os.RemoveAll(c.dir))
}

// RestartAPIServer stops kube-apiserver and starts it again, on the same port. Users stay valid.
func (c *Cluster) RestartAPIServer() error {
	return errors.Join(c.StopAPIServer(), c.StartAPIServer())
}

// StopAPIServer stops kube-apiserver.
func (c *Cluster) StopAPIServer() error { return c.env.ControlPlane.APIServer.Stop() }

// StartAPIServer starts kube-apiserver again after StopAPIServer.
func (c *Cluster) StartAPIServer() error { return c.env.ControlPlane.APIServer.Start() }

// StopEtcd stops etcd under the running API server, whose responses are then errors, or late. etcd takes 7 seconds to
// drop its clients. Start it again before you stop the API server, which otherwise fails to stop for 20 seconds.
func (c *Cluster) StopEtcd() error { return c.env.ControlPlane.Etcd.Stop() }

// StartEtcd starts etcd again after StopEtcd, with the same data.
func (c *Cluster) StartEtcd() error { return c.env.ControlPlane.Etcd.Start() }

// Namespace creates a namespace for one test and returns its name.
func (c *Cluster) Namespace(ctx context.Context) (string, error) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Client.Create(ctx, namespace); err != nil {
		return "", fmt.Errorf("creating a namespace: %w", err)
	}
	return namespace.Name, nil
}
