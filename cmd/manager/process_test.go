package main_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// operator is the program while it runs.
type operator struct{ *lab.RunningOperator }

// launch starts the program with debug logs and no metrics, unless the arguments say otherwise. It waits until the program is ready.
func launch(t *testing.T, kubeconfig string, args ...string) *operator {
	t.Helper()
	return launchWith(t, nil, kubeconfig, args...)
}

// launchWith adds to the program's environment, which is empty otherwise.
func launchWith(t *testing.T, env []string, kubeconfig string, args ...string) *operator {
	t.Helper()
	args = append([]string{"--metrics-bind-address=0", "--metrics-secure=true", "--log-level=debug"}, args...)
	return &operator{lab.RunOperator(t, env, kubeconfig, args...)}
}

// probe returns the status and the body of a probe; 0 if there is no answer.
func (o *operator) probe(path string) (int, string) {
	o.Helper()
	return get(plainClient(o.T), "http://"+o.Probes+path, "")
}

// get returns the status and the body of an answer; 0 and the error if there is none.
func get(client *http.Client, url, token string) (int, string) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, body.String()
}

func plainClient(t *testing.T) *http.Client {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// outcome is how a run of the program ended.
type outcome struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

// runToEnd runs the program, which must end by itself.
func runToEnd(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Grace)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, lab.Must(lab.Program("manager"))(t), args...)
	command.Env = append([]string{"HOME=" + t.TempDir()}, env...)
	command.Stdout, command.Stderr = &stdout, &stderr
	began := time.Now()
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("the manager did not end within %s\n%s", lab.Grace, &stderr)
	}
	return outcome{stdout: stdout.String(), stderr: stderr.String(), code: command.ProcessState.ExitCode(), took: time.Since(began)}
}
