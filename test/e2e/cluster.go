package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/test/e2e/node"
	"github.com/payu-token-operator/payu-token-operator/test/e2e/sandbox"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// ownSync is how often the kubelet of the own node looks at each pod: as often as it can on two cores.
const ownSync = 2 * time.Second

// cluster is what the scenarios run on. What a cluster does not let itself be done to is nil.
type cluster struct {
	client     client.WithWatch
	clientset  *kubernetes.Clientset
	config     *rest.Config
	http       *http.Client // speaks to the API server as the administrator
	kubeconfig string

	load             func(context.Context, image) error
	restartAPIServer func(context.Context) error
	restartKubelet   func(context.Context) error
	kill             func(pod string) error
	setSync          func(context.Context, time.Duration) error // how often the kubelets look at each pod
}

// runOnOwnNode has this program run once more, in a sandbox with a control group.
func runOnOwnNode(ctx context.Context, o options) error {
	say := newTeller()
	if err := prepareHost(ctx, say); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "payu-e2e-")
	if err != nil {
		return err
	}
	err = inSandbox(ctx, o, dir, say)
	return errors.Join(err, tidy(dir, o.keepLogs || err != nil && !errors.Is(err, lab.ErrInterrupted)))
}

func inSandbox(ctx context.Context, o options, dir string, say func(string, ...any)) (err error) {
	cgroup, err := sandbox.NewCgroup(filepath.Base(dir))
	if err != nil {
		return fmt.Errorf("%w: no control group is to be had: %w: %s", errUnable, err, otherwise)
	}
	defer func() { err = errors.Join(err, cgroup.Remove()) }()
	if err := tryOut(ctx, dir); err != nil {
		return err
	}
	say("building the programs, the images and Helm, unless they are cached")
	k, err := gather(ctx, dir, "localhost/")
	if err != nil {
		return err
	}
	if k.Programs, err = output(ctx, k, filepath.Join(k.Root, "hack/controlplane/assets"), "node"); err != nil {
		return err
	}
	content, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "kit.json"), content, 0o600); err != nil {
		return err
	}
	args := []string{"--inside=" + dir, "--only=" + o.only}
	if o.keep {
		args = append(args, "--keep")
	}
	if o.long {
		args = append(args, "--long")
	}
	if err := sandbox.Run(ctx, dir, os.Stderr, args...); err != nil {
		return fmt.Errorf("the run in the sandbox: %w", err)
	}
	return nil
}

// tryOut sees whether the kernel lets a node run, before minutes go into building one.
func tryOut(ctx context.Context, dir string) error {
	var why bytes.Buffer
	err := sandbox.Run(ctx, dir, &why, "--inside="+dir, "--check")
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case why.Len() > 0:
		return fmt.Errorf("%w: %s: %s", errUnable, strings.TrimPrefix(lastLine(why.Bytes()), "e2e: "), otherwise)
	case err != nil:
		return fmt.Errorf("%w: it lets no sandbox be made: %w: %s", errUnable, err, otherwise)
	}
	return nil
}

// tidy removes the folder of a run, but for the logs if they are wanted and there are any.
func tidy(dir string, keepLogs bool) error {
	logs := filepath.Join(dir, "logs")
	if _, err := os.Stat(logs); err != nil || !keepLogs {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if path := filepath.Join(dir, entry.Name()); path != logs {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	fmt.Println("Logs:", logs)
	return err
}

// runInside is the part of runOnOwnNode that runs in the sandbox.
func runInside(ctx context.Context, end context.CancelCauseFunc, o options) error {
	content, err := os.ReadFile(filepath.Join(o.inside, "kit.json"))
	if err != nil {
		return err
	}
	var k kit
	if err := json.Unmarshal(content, &k); err != nil {
		return err
	}
	say := newTeller()
	n, err := node.Start(ctx, node.Config{
		Dir: o.inside, Programs: k.Programs, Cgroup: filepath.Base(o.inside), PauseImage: k.Images.Pausing.Name, SyncFrequency: ownSync.String(),
	}, end)
	if err != nil {
		return err
	}
	say("a node of its own is Ready")
	c, err := newCluster(n.Kubeconfig)
	if err != nil {
		return err
	}
	c.load = func(ctx context.Context, i image) error { return n.Load(ctx, i.Archive) }
	c.restartAPIServer, c.restartKubelet, c.kill, c.setSync = n.RestartAPIServer, n.RestartKubelet, n.Kill, n.SetSyncFrequency
	return prove(ctx, o, k, c, o.inside, say)
}

// runOnGivenCluster runs on the cluster of E2E_KUBECONFIG.
func runOnGivenCluster(ctx context.Context, o options) error {
	load := os.Getenv("E2E_LOAD")
	if load == "" {
		return errors.New(`E2E_KUBECONFIG without E2E_LOAD: say how images get there, for example E2E_LOAD='kind load image-archive "$ARCHIVE"' (docs/e2e.md)`)
	}
	c, err := newCluster(os.Getenv("E2E_KUBECONFIG"))
	if err != nil {
		return fmt.Errorf("E2E_KUBECONFIG: %w", err)
	}
	c.load = func(ctx context.Context, i image) error {
		return shell(ctx, load, "ARCHIVE="+i.Archive, "IMAGE="+i.Name)
	}
	c.restartAPIServer, c.restartKubelet = hook("E2E_RESTART_API_SERVER"), hook("E2E_RESTART_KUBELET")
	dir, err := os.MkdirTemp("", "payu-e2e-")
	if err != nil {
		return err
	}
	say := newTeller()
	say("building the images and Helm, unless they are cached")
	prefix := os.Getenv("E2E_IMAGE_PREFIX")
	if prefix == "" {
		prefix = "localhost/"
	}
	k, err := gather(ctx, dir, prefix)
	if err == nil {
		err = prove(ctx, o, k, c, dir, say)
	}
	return errors.Join(err, tidy(dir, o.keepLogs || err != nil && !errors.Is(err, lab.ErrInterrupted)))
}

// hook is a command of the user's that does something to the cluster, nil if there is none.
func hook(variable string) func(context.Context) error {
	command := os.Getenv(variable)
	if command == "" {
		return nil
	}
	return func(ctx context.Context) error { return shell(ctx, command) }
}

func shell(ctx context.Context, command string, environment ...string) error {
	sh := commandGroup(ctx, "sh", "-c", command)
	sh.Env = append(os.Environ(), environment...)
	if out, err := sh.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, lastLine(out))
	}
	return nil
}

func newCluster(kubeconfig string) (*cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	c := &cluster{config: config, kubeconfig: kubeconfig}
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, err
	}
	if c.client, err = lab.NewClient(config); err != nil {
		return nil, err
	}
	c.clientset, err = kubernetes.NewForConfig(config)
	return c, err
}

// podURL is where a port of a pod is reached, through the API server.
func (c *cluster) podURL(namespace, pod string, port int) string {
	return fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s:%d/proxy", strings.TrimSuffix(c.config.Host, "/"), namespace, pod, port)
}

// await waits until what it asks comes true. That the API server does not answer is no answer. When the time is up, the
// error says what was not seen, and the last thing that stood in its way.
func await(ctx context.Context, limit time.Duration, what string, check func(context.Context) (bool, error)) error {
	return lab.AwaitEvery(ctx, 500*time.Millisecond, limit, what, func(ctx context.Context) error {
		done, err := check(ctx)
		if err != nil {
			return err
		}
		return lab.So(done)
	})
}

// newTeller returns a function that tells how the run goes on.
func newTeller() func(string, ...any) { return (&lab.Run{Start: time.Now()}).Say }
