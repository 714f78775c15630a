package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// User is a user that the API server knows, with a client and a kubeconfig.
type User struct {
	Config      *rest.Config
	Client      client.WithWatch // knows the PayUToken and the kinds of Kubernetes
	Kubeconfig  string           // the path of a file
	KubectlPath string

	cache string // a cache folder for kubectl: the one in HOME may be of another cluster that had the same port
}

// AddUser adds a user. Without RBAC rules, a user has no rights.
func (c *Cluster) AddUser(name string, groups ...string) (*User, error) {
	c.adding.Lock() // envtest assigns serial numbers without a lock
	defer c.adding.Unlock()
	added, err := c.env.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		return nil, fmt.Errorf("adding user %q: %w", name, err)
	}
	u := &User{Config: added.Config(), KubectlPath: c.env.ControlPlane.KubectlPath, cache: c.dir}
	if u.Client, err = NewClient(u.Config); err != nil {
		return nil, fmt.Errorf("creating a client for user %q: %w", name, err)
	}
	content, err := added.KubeConfig()
	if err != nil {
		return nil, fmt.Errorf("creating a kubeconfig for user %q: %w", name, err)
	}
	u.Kubeconfig, err = writeTemp(c.dir, content)
	return u, err
}

// AddServiceAccount adds a user that RBAC treats as that ServiceAccount. The object need not exist.
func (c *Cluster) AddServiceAccount(namespace, name string) (*User, error) {
	return c.AddUser("system:serviceaccount:"+namespace+":"+name,
		"system:serviceaccounts", "system:serviceaccounts:"+namespace, "system:authenticated")
}

// Kubectl runs kubectl as that user and returns what it prints on stdout. The error contains what it prints on stderr.
func (u *User) Kubectl(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	kubectl := exec.CommandContext(ctx, u.KubectlPath, args...)
	kubectl.Env = append(os.Environ(), "KUBECONFIG="+u.Kubeconfig, "KUBECACHEDIR="+u.cache)
	kubectl.Stdout, kubectl.Stderr = &stdout, &stderr
	if err := kubectl.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// NewClient returns a client that knows the PayUToken and the kinds of Kubernetes.
func NewClient(config *rest.Config) (client.WithWatch, error) {
	known := runtime.NewScheme()
	if err := scheme.AddToScheme(known); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(known); err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{Scheme: known})
}

func writeTemp(dir string, content []byte) (string, error) {
	file, err := os.CreateTemp(dir, "kubeconfig-")
	if err != nil {
		return "", err
	}
	defer file.Close()
	_, err = file.Write(content)
	return file.Name(), err
}
