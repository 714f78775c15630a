// Package testcluster runs a real Kubernetes API server, with etcd and the CRD of the PayUToken. It is the cluster of the
// tests and of the demo:
//
//	cluster, err := testcluster.Start()
//	defer cluster.Stop()
//	namespace, err := cluster.Namespace(ctx)
//	err = cluster.Client.Create(ctx, ...)
//
// The programs are those of the folder KUBEBUILDER_ASSETS or, where it is not set, of the folder that
// hack/controlplane/assets prints. No controller manager and no node run: nothing collects garbage, completes the
// deletion of a namespace or starts pods.
//
// A program that dies before it calls [Cluster.Stop] leaves kube-apiserver and etcd behind.
package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// patience is how long kube-apiserver and etcd may take to start, or to stop. On an idle machine, a few seconds suffice.
const patience = 2 * time.Minute

// Cluster is a running control plane, with the rights of its administrator.
type Cluster struct {
	*User

	env *envtest.Environment
	dir string // certificates, etcd's data, kubeconfig files: what must survive a restart of a process

	adding sync.Mutex
}

// Start starts a control plane on free ports and installs the CRDs of config/crd/bases. The flags, if any, are
// kube-apiserver's, for example "audit-log-path=/tmp/audit.log". The caller must call Stop.
func Start(apiServerFlags ...string) (*Cluster, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	assets, err := assetsFolder(root)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "testcluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, env: environment(root, assets, dir)}
	c.configure(apiServerFlags)
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// environment names folders and programs. Folders that it names itself, envtest keeps when a process stops.
func environment(root, assets, dir string) *envtest.Environment {
	existing := false
	return &envtest.Environment{
		UseExistingCluster:       &existing,
		CRDDirectoryPaths:        []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: patience,
		ControlPlaneStopTimeout:  patience,
		ControlPlane: envtest.ControlPlane{
			APIServer:   &envtest.APIServer{Path: filepath.Join(assets, "kube-apiserver"), CertDir: dir},
			Etcd:        &envtest.Etcd{Path: filepath.Join(assets, "etcd"), DataDir: filepath.Join(dir, "etcd")},
			KubectlPath: filepath.Join(assets, "kubectl"),
		},
	}
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
