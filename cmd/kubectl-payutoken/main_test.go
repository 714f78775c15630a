package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// The tests run the programs themselves: kubectl with this plugin in PATH, and the operator, on a real API server.
var (
	bin     string // a folder with kubectl-payutoken, its completion, and the manager
	cluster *testcluster.Cluster
)

const (
	merchant       = "merchant"
	merchantSecret = "s3cr3t+%26=/one"

	// patience bounds every wait for something that will come: a busy machine may take its time.
	patience = time.Minute
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // what the tests' own clients have to say
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if bin, err = os.MkdirTemp("", "kubectl-payutoken-test-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	if err := build(); err != nil {
		return 0, err
	}
	if cluster, err = testcluster.Start(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	return m.Run(), nil
}

func build() error {
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=v1.2.3-test", "-o", bin, ".", "../manager")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building the plugin and the manager: %w\n%s", err, out)
	}
	script, err := exec.Command(filepath.Join(bin, "kubectl-payutoken"), "completion", "kubectl").Output()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bin, "kubectl_complete-payutoken"), script, 0o700)
}

// shop is a namespace of one test, with an operator that asks a PayU of its own.
type shop struct {
	*testing.T
	namespace string
	payu      *payutest.Running
}

func newShop(t *testing.T) *shop {
	t.Helper()
	namespace, err := cluster.Namespace(t.Context())
	check(t, err)
	return &shop{T: t, namespace: namespace,
		payu: payutest.Run(t, payutest.Config{Clients: []payutest.Client{{ID: merchant, Secret: merchantSecret}}})}
}

// operate runs the operator until the end of the test, or until it is stopped.
func (s *shop) operate() (stop func()) {
	s.Helper()
	probes, err := process.FreeAddress()
	check(s.T, err)
	var said bytes.Buffer
	manager := exec.Command(filepath.Join(bin, "manager"), "--kubeconfig="+cluster.Kubeconfig, "--watch-namespaces="+s.namespace,
		"--test-base-url="+s.payu.URL, "--ca-file="+s.payu.CAFile, "--metrics-bind-address=0", "--health-probe-bind-address="+probes)
	manager.Stdout, manager.Stderr = &said, &said
	check(s.T, manager.Start())
	ended := make(chan struct{})
	go func() {
		manager.Wait()
		close(ended)
	}()
	stop = func() {
		manager.Process.Signal(syscall.SIGTERM)
		<-ended
	}
	s.Cleanup(func() {
		stop()
		if s.Failed() {
			s.Logf("the operator said:\n%s", &said)
		}
	})
	await(s.T, "the operator is ready", func() bool {
		answer, err := http.Get("http://" + probes + "/readyz")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return stop
}

// await looks again and again until it sees what is wanted: nothing tells the test of it.
func await(t *testing.T, what string, look func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(patience)
	for !look() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("not seen within %s: %s", patience, what)
		}
	}
}

// result is how a command line ended.
type result struct {
	stdout, stderr string
	code           int
}

// command is kubectl with the plugin in PATH.
func (s *shop) command(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, cluster.KubectlPath, args...)
	home := s.TempDir()
	command.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + home, "KUBECONFIG=" + cluster.Kubeconfig, "TERM=xterm-256color"}
	return command
}

// kubectl runs kubectl in the namespace.
func (s *shop) kubectl(stdin string, args ...string) result {
	s.Helper()
	return s.exactly(stdin, append(args, "--namespace="+s.namespace)...)
}

func (s *shop) exactly(stdin string, args ...string) result {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := s.command(ctx, args...)
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		s.Fatalf("%s: %v\n%s", args, err, &stderr)
	}
	return result{stdout.String(), stderr.String(), command.ProcessState.ExitCode()}
}

func (r result) want(t *testing.T, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.stdout, r.stderr)
	}
	for _, word := range words {
		if !strings.Contains(r.stdout+r.stderr, word) {
			t.Errorf("no %q in\n%s%s", word, r.stdout, r.stderr)
		}
	}
}

func (s *shop) file(name, content string) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), name)
	check(s.T, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
