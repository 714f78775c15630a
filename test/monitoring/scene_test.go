package monitoring_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
)

// patience is how long to wait for something promised.
const patience = 2 * time.Minute

// scene is a cluster with two replicas of the operator, installed from config/default, a PayU, and a Prometheus that is
// configured as docs/monitoring.md says.
type scene struct {
	*testing.T
	cluster  *testcluster.Cluster
	payu     *payutest.Running
	replicas map[string]*process // by the names of their pods
	url      string              // Prometheus
	began    time.Time
}

// timing is how fast things go in a scene.
type timing struct {
	tokenLife time.Duration
	margin    time.Duration // --propagation-margin
	scrape    time.Duration
}

func play(t *testing.T, timing timing) *scene {
	t.Helper()
	s := &scene{T: t, began: time.Now(), replicas: map[string]*process{}}
	s.cluster = must(testcluster.Start())(t)
	t.Cleanup(func() { check(t, s.cluster.Stop()) })
	s.payu = payutest.Run(t, payutest.Config{TokenTTL: timing.tokenLife, Latency: 20 * time.Millisecond})
	s.kubectl("apply", "--kustomize", filepath.Join(root, "config", "default"))
	s.startOperator(timing.margin)
	s.startPrometheus(timing.scrape)
	return s
}

func (s *scene) kubectl(args ...string) string {
	s.Helper()
	return must(s.cluster.Kubectl(s.Context(), args...))(s.T)
}

// startOperator starts two replicas as the ServiceAccount of config/default. There is no node, and thus no controller that
// would make EndpointSlices of their pods.
func (s *scene) startOperator(margin time.Duration) {
	s.Helper()
	binary := filepath.Join(s.TempDir(), "manager")
	run(s.T, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", binary, "./cmd/manager") // of what make build has compiled
	account := must(s.cluster.AddServiceAccount(operator, operator))(s.T)
	host := hostAddress(s.T)
	for i := range 2 {
		metrics, name := freeAddress(s.T, host), fmt.Sprintf("%s-%c", operator, 'a'+i)
		s.replicas[name] = start(s.T, name, binary, "--kubeconfig="+account.Kubeconfig,
			"--leader-elect", "--leader-election-namespace="+operator, "--metrics-bind-address="+metrics, "--health-probe-bind-address=0",
			"--test-base-url="+s.payu.URL, "--production-base-url="+s.payu.URL, "--ca-file="+s.payu.CAFile, "--propagation-margin="+margin.String())
		s.addEndpoint(name, metrics)
	}
}

func (s *scene) addEndpoint(name, address string) {
	s.Helper()
	host, port, _ := net.SplitHostPort(address)
	number := must(strconv.Atoi(port))(s.T)
	check(s.T, s.cluster.Client.Create(s.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: operator, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: operator + "-metrics"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: operator, Name: name}}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("metrics"), Port: ptr.To(int32(number))}},
	}))
}

// startPrometheus starts a Prometheus outside of the cluster that is, in all else, what docs/monitoring.md makes it.
func (s *scene) startPrometheus(interval time.Duration) {
	s.Helper()
	folder := s.TempDir()
	ca, token := filepath.Join(folder, "ca.crt"), filepath.Join(folder, "token")
	check(s.T, os.WriteFile(ca, s.cluster.Config.CAData, 0o600))
	check(s.T, os.WriteFile(token, []byte(s.prometheusToken()), 0o600))

	var config map[string]any
	s.documented("scrape_configs:", &config)
	job := config["scrape_configs"].([]any)[0].(map[string]any)
	discovery := job["kubernetes_sd_configs"].([]any)[0].(map[string]any)
	discovery["api_server"], discovery["tls_config"] = s.cluster.Config.Host, map[string]any{"ca_file": ca}
	discovery["authorization"], job["authorization"] = map[string]any{"credentials_file": token}, map[string]any{"credentials_file": token}
	config["global"] = map[string]any{"scrape_interval": interval.String(), "evaluation_interval": interval.String()}
	config["rule_files"] = []string{filepath.Join(must(filepath.Abs(root))(s.T), "charts", operator, "files", "alerts.yaml")}
	file := filepath.Join(folder, "prometheus.yml")
	write(s.T, file, config)

	address := freeAddress(s.T, "127.0.0.1")
	s.url = "http://" + address
	start(s.T, "prometheus", tool(s.T, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address)
	s.await("Prometheus is ready", func() error {
		_, err := s.get("/-/ready", nil)
		return err
	})
}

// prometheusToken creates the ServiceAccount that the docs speak of, with its roles, and returns a token for it.
func (s *scene) prometheusToken() string {
	s.Helper()
	file := filepath.Join(s.TempDir(), "rbac.yaml")
	check(s.T, os.WriteFile(file, []byte(block(s.T, "kind: ClusterRoleBinding")), 0o600))
	s.kubectl("create", "namespace", "monitoring")
	s.kubectl("create", "serviceaccount", "prometheus", "--namespace=monitoring")
	s.kubectl("apply", "--filename", file)
	return strings.TrimSpace(s.kubectl("create", "token", "prometheus", "--namespace=monitoring"))
}

// documented decodes the example of docs/monitoring.md that holds a text.
func (s *scene) documented(text string, into any) {
	s.Helper()
	check(s.T, yaml.Unmarshal([]byte(block(s.T, text)), into))
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// block returns the YAML of docs/monitoring.md that holds a text.
func block(t *testing.T, text string) string {
	t.Helper()
	for _, match := range yamlBlock.FindAllStringSubmatch(read(t, root, "docs", "monitoring.md"), -1) {
		if strings.Contains(match[1], text) {
			return match[1]
		}
	}
	t.Fatalf("docs/monitoring.md has no example with %q", text)
	return ""
}

// merchant registers a client at PayU, and writes its credentials into a namespace, which is created if need be.
func (s *scene) merchant(namespace, name string) {
	s.Helper()
	s.payu.PutClient(payutest.Client{ID: name, Secret: name + "-secret"})
	err := s.cluster.Client.Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	if client.IgnoreAlreadyExists(err) != nil {
		s.Fatal(err)
	}
	check(s.T, s.cluster.Client.Create(s.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		StringData: map[string]string{"client_id": name, "client_secret": name + "-secret"},
	}))
}

// ask creates a PayUToken of a merchant of its own.
func (s *scene) ask(environment v1alpha1.Environment, namespace, name string) *v1alpha1.PayUToken {
	s.Helper()
	merchant := name + "-merchant"
	s.merchant(namespace, merchant)
	token := &v1alpha1.PayUToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.PayUTokenSpec{Environment: environment, Scopes: []v1alpha1.Scope{"create_payment_links"},
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: v1alpha1.SecretName(merchant)}},
	}
	check(s.T, s.cluster.Client.Create(s.Context(), token))
	return token
}

// suspend has nobody renew a token.
func (s *scene) suspend(token *v1alpha1.PayUToken) {
	s.Helper()
	s.kubectl("patch", "payutoken", token.Name, "--namespace="+token.Namespace, "--type=merge", "--patch", `{"spec":{"suspend":true}}`)
}

// get returns what Prometheus answers with.
func (s *scene) get(path string, parameters url.Values) (json.RawMessage, error) {
	request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+path+"?"+parameters.Encode(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(answer.Body); err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", path, answer.Status, &body)
	}
	var content struct {
		Data json.RawMessage `json:"data"`
	}
	if strings.HasPrefix(path, "/api/") {
		err = json.Unmarshal(body.Bytes(), &content)
	}
	return content.Data, err
}

// ask Prometheus, and decode the answer.
func (s *scene) decode(path string, parameters url.Values, into any) error {
	data, err := s.get(path, parameters)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// series is one line of the answer to a query: the value of an instant, or those of a range.
type series struct {
	Labels map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
	Values [][2]any          `json:"values"`
}

// number returns the last value.
func (s series) number() float64 {
	value := s.Value
	if len(s.Values) > 0 {
		value = s.Values[len(s.Values)-1]
	}
	text, _ := value[1].(string)
	number, _ := strconv.ParseFloat(text, 64)
	return number
}

// query asks Prometheus for the present moment.
func (s *scene) query(expr string) ([]series, error) {
	var answer struct {
		Result []series `json:"result"`
	}
	err := s.decode("/api/v1/query", url.Values{"query": {expr}}, &answer)
	return answer.Result, err
}

// leader returns the pod that leads.
func (s *scene) leader() (string, error) {
	leading, err := s.query(`leader_election_master_status == 1`)
	if err == nil && len(leading) != 1 {
		err = fmt.Errorf("%d lead", len(leading))
	}
	if err != nil {
		return "", err
	}
	return leading[0].Labels["pod"], nil
}

// await tries until there is no error.
func (s *scene) await(promise string, try func() error) {
	s.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("not seen within %s: %s: %v", patience, promise, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// process is a program that runs until the test ends.
type process struct {
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan struct{}
}

func start(t *testing.T, name, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	check(t, p.cmd.Start())
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(patience):
			p.kill()
		}
		if t.Failed() {
			lines := strings.Split(strings.TrimSpace(p.log.String()), "\n")
			t.Logf("the log of %s ends with:\n%s", name, strings.Join(lines[max(0, len(lines)-8):], "\n"))
		}
	})
	return p
}

// kill ends the program as a node that fails does.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// hostAddress is an address of this machine that may stand in an EndpointSlice: not a loopback address.
func hostAddress(t *testing.T) string {
	t.Helper()
	for _, address := range must(net.InterfaceAddrs())(t) {
		if network, ok := address.(*net.IPNet); ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil {
			return network.IP.String()
		}
	}
	t.Skip("this machine has no IPv4 address but its loopback address, which Kubernetes does not let into EndpointSlices")
	return ""
}

func freeAddress(t *testing.T, host string) string {
	t.Helper()
	l := must(net.Listen("tcp", net.JoinHostPort(host, "0")))(t)
	defer l.Close()
	return l.Addr().String()
}
