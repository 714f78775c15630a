package main_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// The tests run the programs themselves: kubectl with this plugin in PATH, and the operator, on a real API server.
var cluster *lab.Cluster

func TestMain(m *testing.M) { lab.RunTests(m, &cluster, lab.StartCluster) }

// shop is a namespace of one test, with an operator that asks a PayU of its own.
type shop struct {
	*lab.Shop
	payu *payutest.Running
}

func newShop(t *testing.T) *shop {
	t.Helper()
	return &shop{Shop: cluster.NewShop(t), payu: lab.RunPayU(t, payutest.Config{})}
}

// result is how a command line ended.
type result struct {
	stdout, stderr string
	code           int
}

// command is kubectl with the plugin in PATH.
func (s *shop) command(ctx context.Context, args ...string) *exec.Cmd {
	s.Helper()
	plugin, home := lab.Must(lab.Program("kubectl-payutoken"))(s), s.TempDir()
	script := lab.Must(exec.Command(plugin, "completion", "kubectl").Output())(s)
	lab.Check(s, os.WriteFile(filepath.Join(home, "kubectl_complete-payutoken"), script, 0o700))
	command := exec.CommandContext(ctx, cluster.KubectlPath, args...)
	command.Env = []string{"PATH=" + filepath.Dir(plugin) + ":" + home + ":/usr/bin:/bin", "HOME=" + home, "KUBECONFIG=" + cluster.Kubeconfig, "TERM=xterm-256color"}
	return command
}

// kubectl runs kubectl in the namespace.
func (s *shop) kubectl(stdin string, args ...string) result {
	s.Helper()
	return s.exactly(stdin, append(args, "--namespace="+s.Namespace)...)
}

func (s *shop) exactly(stdin string, args ...string) result {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), lab.Patience)
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
