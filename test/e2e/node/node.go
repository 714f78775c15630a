// Package node starts a Kubernetes cluster of one node from its programs: etcd, kube-apiserver with RBAC and the Node
// authorizer, kube-controller-manager, kube-scheduler, kube-proxy, containerd and a kubelet. Pods have addresses of their
// own and reach Services; there is no DNS. It is to be started in a sandbox, which also ends it: it takes the ports,
// addresses and folders that such programs take by default.
package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// Name is the node's name.
	Name = "node1"

	address        = "10.211.0.1" // on the loopback device, which to a kubelet is as good as any
	podNetwork     = "10.210.0.0/16"
	serviceNetwork = "10.96.0.0/16"

	// patience is how long a program may take to be ready. A few seconds do, unless much else runs.
	patience = 2 * time.Minute
)

// Config is what a node is started with. All fields are needed.
type Config struct {
	Dir           string // for all files, on a file system that takes overlays; logs are in its folder "logs"
	Programs      string // the folder of etcd, kube-apiserver and so on
	Cgroup        string // a control group, where all pods go
	PauseImage    string // the name of the image that holds a pod's namespaces
	SyncFrequency string // the kubelet's
}

// Node is a running cluster.
type Node struct {
	// Kubeconfig is the administrator's file.
	Kubeconfig string

	config   Config
	fail     context.CancelCauseFunc
	programs map[string]*process // by name
	client   *kubernetes.Clientset
}

// Start starts everything. When a program ends later on, it calls fail.
func Start(ctx context.Context, config Config, fail context.CancelCauseFunc) (*Node, error) {
	n := &Node{config: config, fail: fail, programs: map[string]*process{}}
	n.Kubeconfig = n.path("admin.kubeconfig")
	for _, step := range []func(context.Context) error{n.prepare, n.startControlPlane, n.startRuntime, n.startKubelet} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Check tries what the kernel has to let be done.
func Check() error {
	return run("ip link add payu-e2e type veth", "ip link delete payu-e2e", "iptables --table=nat --list-rules")
}

func run(commands ...string) error {
	for _, command := range commands {
		args := strings.Fields(command)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
	}
	return nil
}

func (n *Node) prepare(context.Context) error {
	return errors.Join(run("ip link set lo up", "ip address add "+address+"/32 dev lo"), n.writeFiles())
}

func (n *Node) startControlPlane(ctx context.Context) error {
	err := errors.Join(
		n.launch(n.program("etcd"), "--name="+Name, "--data-dir="+n.path("etcd"), "--unsafe-no-fsync"),
		n.launch(n.program("kube-apiserver"),
			"--etcd-servers=http://127.0.0.1:2379", "--advertise-address="+address, "--service-cluster-ip-range="+serviceNetwork,
			"--cert-dir="+n.path("api-server"), // where it makes itself a certificate
			"--token-auth-file="+n.path("tokens.csv"), "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+n.path("service-accounts.key"),
			"--service-account-signing-key-file="+n.path("service-accounts.key"),
			"--kubelet-preferred-address-types=InternalIP",
			"--shutdown-watch-termination-grace-period=3s"), // it would not end while a watch is open
	)
	if err != nil {
		return err
	}
	if err := n.awaitAPIServer(ctx); err != nil {
		return err
	}
	return errors.Join(
		n.launch(n.program("kube-controller-manager"), n.kubeconfig("kube-controller-manager"), "--leader-elect=false",
			"--use-service-account-credentials", "--service-account-private-key-file="+n.path("service-accounts.key"),
			"--root-ca-file="+n.path("api-server/apiserver.crt")),
		n.launch(n.program("kube-scheduler"), n.kubeconfig("kube-scheduler"), "--leader-elect=false"),
		n.launch(n.program("kube-proxy"), n.kubeconfig("kube-proxy"), "--hostname-override="+Name, "--proxy-mode=iptables",
			"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"), // the host's
	)
}

func (n *Node) startRuntime(ctx context.Context) error {
	if err := n.launch("/usr/bin/containerd", "--config="+n.path("containerd.toml")); err != nil {
		return err
	}
	return n.await(ctx, "containerd answers", func(ctx context.Context) error {
		return exec.CommandContext(ctx, "ctr", "version").Run()
	})
}

func (n *Node) startKubelet(ctx context.Context) error {
	err := n.launch(n.program("kubelet"), n.kubeconfig("kubelet"), "--config="+n.path("kubelet.yaml"), "--hostname-override="+Name,
		"--node-ip="+address, "--root-dir="+n.path("kubelet"), "--cert-dir="+n.path("kubelet/pki"))
	if err != nil {
		return err
	}
	return n.await(ctx, "the node is Ready", n.ready)
}

func (n *Node) program(name string) string { return filepath.Join(n.config.Programs, name) }

func (n *Node) kubeconfig(user string) string { return "--kubeconfig=" + n.path(user+".kubeconfig") }

// Load gives the node the image of an archive.
func (n *Node) Load(ctx context.Context, archive string) error {
	out, err := exec.CommandContext(ctx, "ctr", "--namespace=k8s.io", "images", "import", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("importing %s: %w: %s", archive, err, out)
	}
	return nil
}

// RestartAPIServer ends kube-apiserver, starts it again, and returns when it is ready.
func (n *Node) RestartAPIServer(ctx context.Context) error {
	if err := n.restart("kube-apiserver"); err != nil {
		return err
	}
	return n.awaitAPIServer(ctx)
}

// RestartKubelet ends the kubelet, starts it again, and returns when it answers.
func (n *Node) RestartKubelet(ctx context.Context) error {
	if err := n.restart("kubelet"); err != nil {
		return err
	}
	return n.await(ctx, "the kubelet answers", func(ctx context.Context) error {
		return get(ctx, "http://127.0.0.1:10248/healthz")
	})
}

// SetSyncFrequency has the kubelet look at each pod so often: it is restarted with another configuration.
func (n *Node) SetSyncFrequency(ctx context.Context, every time.Duration) error {
	n.config.SyncFrequency = every.String()
	if err := n.render("kubelet.yaml", "kubelet.yaml", settings{Config: n.config}); err != nil {
		return err
	}
	return n.RestartKubelet(ctx)
}

func get(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

func (n *Node) awaitAPIServer(ctx context.Context) error {
	return n.await(ctx, "kube-apiserver is ready", func(ctx context.Context) error {
		config, err := clientcmd.BuildConfigFromFlags("", n.Kubeconfig) // its certificate is a file that it makes first
		if err != nil {
			return err
		}
		if n.client, err = kubernetes.NewForConfig(config); err != nil {
			return err
		}
		return n.client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

func (n *Node) ready(ctx context.Context) error {
	node, err := n.client.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return errors.New("it is not")
}

// await waits until what it is asked for comes without an error.
func (n *Node) await(ctx context.Context, what string, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("not seen within %s: %s (%w); the logs are in %s", patience, what, last, n.logs())
	}
	return nil
}

// Kill ends, without warning, the process that runs in a pod whose containers have one process.
func (n *Node) Kill(pod string) error {
	processes, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, file := range processes {
		environment, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		if strings.Contains(string(environment), "HOSTNAME="+pod+"\x00") {
			var pid int
			if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err != nil {
				return err
			}
			process, err := os.FindProcess(pid)
			if err != nil {
				return err
			}
			return process.Kill()
		}
	}
	return fmt.Errorf("no process runs in pod %q", pod)
}
