package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// operator is the program while it runs.
type operator struct {
	*testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer
	log    journal // stderr
	ended  chan struct{}
	probes string // the address of /healthz and /readyz
	http   *http.Client
}

// launch starts the program with debug logs, probes on a free port and no metrics, unless the arguments say otherwise.
// It waits until the program is ready. At the end of the test the program must stop well.
func launch(t *testing.T, kubeconfig string, args ...string) *operator {
	t.Helper()
	return launchWith(t, nil, kubeconfig, args...)
}

// launchWith adds to the program's environment, which is empty otherwise.
func launchWith(t *testing.T, env []string, kubeconfig string, args ...string) *operator {
	t.Helper()
	o := startProcess(t, env, kubeconfig, args...)
	await(t, "the operator is ready", func() bool { return o.isReady() || o.hasEnded() })
	if o.hasEnded() {
		t.Fatal("the operator ended instead of becoming ready")
	}
	return o
}

func startProcess(t *testing.T, env []string, kubeconfig string, args ...string) *operator {
	t.Helper()
	o := &operator{T: t, ended: make(chan struct{}), probes: must(process.FreeAddress())(t), http: plainClient(t)}
	o.log.changed = make(chan struct{})
	args = append([]string{"--kubeconfig=" + kubeconfig, "--health-probe-bind-address=" + o.probes, "--metrics-bind-address=0", "--log-level=debug"}, args...)
	o.cmd = exec.Command(binary, args...)
	o.cmd.Env = append([]string{"HOME=" + t.TempDir()}, env...)
	o.cmd.Stdout, o.cmd.Stderr = &o.stdout, &o.log
	check(t, o.cmd.Start())
	go func() {
		o.cmd.Wait()
		close(o.ended)
	}()
	t.Cleanup(o.end)
	return o
}

// end stops the program if it still runs, and looks at what it leaves.
func (o *operator) end() {
	if !o.hasEnded() {
		o.stop()
	}
	if o.Failed() {
		o.Logf("the operator's log ends with:\n%s", o.log.tail(40))
	}
}

// stop ends the program as Kubernetes does. It must end well, and have said nothing but JSON.
func (o *operator) stop() {
	o.Helper()
	o.signal(syscall.SIGTERM)
	o.expectGoodEnd()
}

// expectGoodEnd waits for the program to end by itself, and looks at what it leaves.
func (o *operator) expectGoodEnd() {
	o.Helper()
	o.awaitEnd()
	if code := o.cmd.ProcessState.ExitCode(); code != 0 {
		o.Errorf("the operator ended with %s, want exit code 0", o.cmd.ProcessState)
	}
	if o.stdout.Len() > 0 {
		o.Errorf("stdout: %s", &o.stdout)
	}
	for line := range strings.Lines(o.log.text()) {
		if !json.Valid([]byte(line)) {
			o.Errorf("a line of the log is no JSON: %s", line)
		}
	}
}

func (o *operator) signal(s syscall.Signal) {
	o.Helper()
	if err := o.cmd.Process.Signal(s); err != nil {
		o.Fatalf("%v: %v", s, err)
	}
}

func (o *operator) awaitEnd() {
	o.Helper()
	select {
	case <-o.ended:
	case <-time.After(patience):
		o.cmd.Process.Kill()
		<-o.ended
		o.Errorf("the operator did not end within %s and was killed", patience)
	}
}

func (o *operator) hasEnded() bool {
	select {
	case <-o.ended:
		return true
	default:
		return false
	}
}

func (o *operator) isReady() bool {
	status, _ := o.probe("/readyz")
	return status == http.StatusOK
}

// probe returns the status and the body of a probe; 0 if there is no answer.
func (o *operator) probe(path string) (int, string) {
	return get(o.http, "http://"+o.probes+path, "")
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
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, binary, args...)
	command.Env = append([]string{"HOME=" + t.TempDir()}, env...)
	command.Stdout, command.Stderr = &stdout, &stderr
	began := time.Now()
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("the manager did not end within %s\n%s", patience, &stderr)
	}
	return outcome{stdout: stdout.String(), stderr: stderr.String(), code: command.ProcessState.ExitCode(), took: time.Since(began)}
}

// journal is the log of a process, which tests can wait for.
type journal struct {
	mu      sync.Mutex
	written bytes.Buffer
	changed chan struct{} // closed when something is written
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.changed)
	j.changed = make(chan struct{})
	return j.written.Write(p)
}

func (j *journal) text() string {
	text, _ := j.look()
	return text
}

func (j *journal) look() (string, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.written.String(), j.changed
}

func (j *journal) tail(lines int) string {
	all := strings.Split(strings.TrimSpace(j.text()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// awaitLog waits until the log holds a text.
func (o *operator) awaitLog(text string) {
	o.Helper()
	deadline := time.After(patience)
	for {
		have, changed := o.log.look()
		if strings.Contains(have, text) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			o.Fatalf("not in the log within %s: %s", patience, text)
		}
	}
}
