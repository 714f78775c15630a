package monitoring_test

import (
	"bytes"
	"context"
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

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// scene is a cluster with two replicas of the operator, installed from config/default, a PayU, and a Prometheus that is
// configured as docs/monitoring.md says.
type scene struct {
	*testing.T
	cluster  *lab.Cluster
	payu     *payutest.Running
	replicas map[string]*lab.RunningOperator // by the names of their pods
	url      string                          // Prometheus
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
	s := &scene{T: t, began: time.Now(), cluster: lab.RunCluster(t), replicas: map[string]*lab.RunningOperator{}}
	s.payu = payutest.Run(t, payutest.Config{TokenTTL: timing.tokenLife, Latency: 20 * time.Millisecond})
	s.startOperator(timing.margin)
	s.startPrometheus(timing.scrape)
	return s
}

func (s *scene) kubectl(args ...string) string {
	s.Helper()
	return lab.Must(s.cluster.Kubectl(s.Context(), args...))(s.T)
}

// startOperator starts two replicas as the ServiceAccount of config/default. There is no node, and thus no controller that
// would make EndpointSlices of their pods.
func (s *scene) startOperator(margin time.Duration) {
	s.Helper()
	account := lab.Must(s.cluster.Install(s.Context()))(s)
	host := hostAddress(s.T)
	for i := range 2 {
		metrics, name := lab.Must(lab.FreeAddressOf(host))(s), fmt.Sprintf("%s-%c", operator, 'a'+i)
		s.replicas[name] = lab.LaunchOperator(s.T, nil, account.Kubeconfig, append(lab.Asking(s.payu), "--production-base-url="+s.payu.URL,
			"--leader-elect", "--leader-election-namespace="+operator, "--metrics-bind-address="+metrics, "--metrics-secure=true",
			"--propagation-margin="+margin.String())...)
		s.addEndpoint(name, metrics)
	}
}

func (s *scene) addEndpoint(name, address string) {
	s.Helper()
	host, port, _ := net.SplitHostPort(address)
	number := lab.Must(strconv.Atoi(port))(s.T)
	lab.Check(s.T, s.cluster.Client.Create(s.Context(), &discoveryv1.EndpointSlice{
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
	lab.Check(s.T, os.WriteFile(ca, s.cluster.Config.CAData, 0o600))
	lab.Check(s.T, os.WriteFile(token, []byte(s.prometheusToken()), 0o600))

	var config map[string]any
	s.documented("scrape_configs:", &config)
	job := config["scrape_configs"].([]any)[0].(map[string]any)
	discovery := job["kubernetes_sd_configs"].([]any)[0].(map[string]any)
	discovery["api_server"], discovery["tls_config"] = s.cluster.Config.Host, map[string]any{"ca_file": ca}
	discovery["authorization"], job["authorization"] = map[string]any{"credentials_file": token}, map[string]any{"credentials_file": token}
	config["global"] = map[string]any{"scrape_interval": interval.String(), "evaluation_interval": interval.String()}
	config["rule_files"] = []string{filepath.Join(lab.Must(filepath.Abs(root))(s.T), "charts", operator, "files", "alerts.yaml")}
	file := filepath.Join(folder, "prometheus.yml")
	write(s.T, file, config)

	address := lab.Must(lab.FreeAddress())(s)
	s.url = "http://" + address
	s.launch(exec.Command(tool(s.T, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address))
	s.await("Prometheus is ready", func() error {
		_, err := s.get("/-/ready", nil)
		return err
	})
}

// prometheusToken creates the ServiceAccount that the docs speak of, with its roles, and returns a token for it.
func (s *scene) prometheusToken() string {
	s.Helper()
	file := filepath.Join(s.TempDir(), "rbac.yaml")
	lab.Check(s.T, os.WriteFile(file, []byte(block(s.T, "kind: ClusterRoleBinding")), 0o600))
	s.kubectl("create", "namespace", "monitoring")
	s.kubectl("create", "serviceaccount", "prometheus", "--namespace=monitoring")
	s.kubectl("apply", "--filename", file)
	return strings.TrimSpace(s.kubectl("create", "token", "prometheus", "--namespace=monitoring"))
}

// documented decodes the example of docs/monitoring.md that holds a text.
func (s *scene) documented(text string, into any) {
	s.Helper()
	lab.Check(s.T, yaml.Unmarshal([]byte(block(s.T, text)), into))
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
	lab.Check(s.T, s.cluster.Client.Create(s.Context(), lab.NewCredentials(namespace, name, name, name+"-secret")))
}

// ask creates a PayUToken of a merchant of its own.
func (s *scene) ask(environment v1alpha1.Environment, namespace, name string) *v1alpha1.PayUToken {
	s.Helper()
	merchant := name + "-merchant"
	s.merchant(namespace, merchant)
	token := lab.NewToken(namespace, name, lab.Of(environment), lab.With(merchant), lab.For("create_payment_links"))
	lab.Check(s.T, s.cluster.Client.Create(s.Context(), token))
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
	lab.Check(s, lab.AwaitEvery(s.Context(), 100*time.Millisecond, lab.Patience, promise, func(context.Context) error { return try() }))
}

// launch runs a program until the test ends.
func (s *scene) launch(program *exec.Cmd) {
	s.Helper()
	var said bytes.Buffer
	program.Stdout, program.Stderr = &said, &said
	p := lab.Must(lab.Launch(program))(s)
	s.Cleanup(func() {
		lab.Check(s, p.Stop(lab.Patience))
		if s.Failed() {
			s.Logf("%s said:\n%s", program, &said)
		}
	})
}

// hostAddress is an address of this machine that may stand in an EndpointSlice: not a loopback address.
func hostAddress(t *testing.T) string {
	t.Helper()
	for _, address := range lab.Must(net.InterfaceAddrs())(t) {
		if network, ok := address.(*net.IPNet); ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil {
			return network.IP.String()
		}
	}
	t.Skip("this machine has no IPv4 address but its loopback address, which Kubernetes does not let into EndpointSlices")
	return ""
}
