package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// The tests run command lines against a real API server, where the tests write what the operator would. The operator itself
// is in the tests of cmd/kubectl-payutoken.
var cluster *lab.Cluster

// patience bounds every wait for something that will come: a busy machine may take its time.
const patience = time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if cluster, err = lab.StartCluster(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	os.Unsetenv("KUBECONFIG") // each command line names its own
	return m.Run(), nil
}

// shop is a namespace of one test, with a user.
type shop struct {
	*testing.T
	namespace  string
	kubeconfig string
	clock      *clocktesting.FakeClock
	terminal   *plugin.Terminal
	in         string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	namespace := must(cluster.Namespace(t.Context()))(t)
	return &shop{T: t, namespace: namespace, kubeconfig: cluster.Kubeconfig, clock: clocktesting.NewFakeClock(time.Now().Truncate(time.Second))}
}

// result is how a command line ended.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a command line in the namespace, unless it names another one.
func (s *shop) run(args ...string) result {
	s.Helper()
	return s.runWith(s.Context(), args...)
}

func (s *shop) runWith(ctx context.Context, args ...string) result {
	s.Helper()
	p := s.start(ctx, args...)
	return p.await()
}

// process is a command line that may still run.
type process struct {
	*testing.T
	args           []string
	stdout, stderr journal
	ended          chan int
}

// exactly runs a command line as it is.
func (s *shop) exactly(args ...string) result {
	s.Helper()
	return s.startExactly(s.Context(), args...).await()
}

func (s *shop) start(ctx context.Context, args ...string) *process {
	s.Helper()
	args = append([]string{"--kubeconfig=" + s.kubeconfig}, args...)
	if !slices.Contains(args, "-n") {
		args = append(args, "--namespace="+s.namespace)
	}
	return s.startExactly(ctx, args...)
}

func (s *shop) startExactly(ctx context.Context, args ...string) *process {
	s.Helper()
	p := &process{T: s.T, args: args, ended: make(chan int, 1)}
	env := plugin.Env{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(s.in), Out: &p.stdout, ErrOut: &p.stderr},
		Clock:     s.clock, Terminal: s.terminal, Version: "v1.2.3-test", VersionText: "kubectl-payutoken v1.2.3-test",
	}
	go func() { p.ended <- plugin.Run(ctx, env, args) }()
	return p
}

func (p *process) await() result {
	p.Helper()
	select {
	case code := <-p.ended:
		return result{p.stdout.String(), p.stderr.String(), code}
	case <-time.After(patience):
		p.Fatalf("%s did not end within %s\n%s%s", p.args, patience, p.stdout.String(), p.stderr.String())
		return result{}
	}
}

// journal is what a command line prints, which tests can wait for.
type journal struct {
	mu      sync.Mutex
	written bytes.Buffer
	changed chan struct{} // closed when something is written; nil if nothing waits
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
	return j.written.Write(p)
}

func (j *journal) String() string {
	text, _ := j.look()
	return text
}

func (j *journal) look() (string, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return j.written.String(), j.changed
}

// awaitOutput waits until stdout fulfils a condition.
func (p *process) awaitOutput(what string, is func(string) bool) string {
	p.Helper()
	deadline := time.After(patience)
	for {
		text, changed := p.stdout.look()
		if is(text) {
			return text
		}
		select {
		case <-changed:
		case code := <-p.ended:
			p.Fatalf("%s ended with %d before %s:\n%s%s", p.args, code, what, text, p.stderr.String())
		case <-deadline:
			p.Fatalf("not seen within %s: %s:\n%s%s", patience, what, text, p.stderr.String())
		}
	}
}

// want checks how a command line ended: the exit code, and words on stdout or stderr.
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

// wantError checks that a command line failed with one clear line, and nothing on stdout.
func (r result) wantError(t *testing.T, words ...string) {
	t.Helper()
	r.want(t, 1, words...)
	if strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "error: ") {
		t.Errorf("stderr is not one line of an error:\n%s", r.stderr)
	}
	if r.stdout != "" {
		t.Errorf("stdout: %s", r.stdout)
	}
}

type change func(*v1alpha1.PayUToken)

// create makes a PayUToken and gives it the status that the operator would.
func (s *shop) create(name string, changes ...change) *v1alpha1.PayUToken {
	s.Helper()
	token := &v1alpha1.PayUToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.EnvironmentTest,
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "payu-credentials"},
			Scopes:               []v1alpha1.Scope{"create_payment_links", "read_payment_links"},
		},
	}
	for _, c := range changes {
		c(token)
	}
	status := token.Status
	check(s.T, cluster.Client.Create(s.Context(), token))
	token.Status = status
	s.writeStatus(token)
	return token
}

func (s *shop) writeStatus(token *v1alpha1.PayUToken) {
	s.Helper()
	if token.Status.ObservedGeneration == 0 {
		token.Status.ObservedGeneration = token.Generation
	}
	check(s.T, cluster.Client.Status().Update(s.Context(), token))
}

func (s *shop) token(name string) *v1alpha1.PayUToken {
	s.Helper()
	token := &v1alpha1.PayUToken{}
	check(s.T, cluster.Client.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, token))
	return token
}

// ready is the status of a token that was fetched so long ago, and lives two hours in all.
func (s *shop) ready(age time.Duration) change {
	return func(t *v1alpha1.PayUToken) {
		at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: s.clock.Now().Add(d - age)} }
		t.Status.FetchedAt, t.Status.RenewAt, t.Status.ExpiresAt = at(0), at(80*time.Minute), at(120*time.Minute)
		s.set(t, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid, "")
		s.set(t, v1alpha1.ConditionRefreshed, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "PayU issued a new token")
	}
}

func (s *shop) refused(reason, message string) change {
	return func(t *v1alpha1.PayUToken) {
		s.set(t, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
		s.set(t, v1alpha1.ConditionRefreshed, metav1.ConditionFalse, reason, message)
		s.set(t, v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, message)
	}
}

func (s *shop) set(t *v1alpha1.PayUToken, kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&t.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(s.clock.Now())})
}

func labelled(key, value string) change {
	return func(t *v1alpha1.PayUToken) { t.Labels = map[string]string{key: value} }
}

func suspended(t *v1alpha1.PayUToken) { t.Spec.Suspend = true }

func (s *shop) secret(name string, values map[string]string) {
	s.Helper()
	check(s.T, cluster.Client.Create(s.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, StringData: values}))
}

// file writes a file and returns its path.
func (s *shop) file(name, content string) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), name)
	check(s.T, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// somebody switches to a user whose only rights are those of a role in the namespace.
func (s *shop) somebody(rules string) {
	s.Helper()
	name := "user-of-" + s.namespace
	user := must(cluster.AddUser(name))(s.T)
	s.kubeconfig = user.Kubeconfig
	if rules == "" {
		return
	}
	role := s.file("role.yaml", fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: user, namespace: %[1]s}
rules: %[2]s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: user, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: user}
subjects: [{kind: User, name: %[3]s}]
`, s.namespace, rules, name))
	must(cluster.Kubectl(s.Context(), "apply", "-f", role))(s.T)
	await(s.T, "that the API server knows the role", func() bool {
		_, err := user.Kubectl(s.Context(), "auth", "can-i", "get", "payutokens.auth.payu.in", "-n", s.namespace)
		return err == nil
	})
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

// must ends the test unless err is nil.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return value
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// terminal80 is a terminal without colours.
var terminal80 = plugin.Terminal{Size: func() (int, int) { return 80, 24 }}
