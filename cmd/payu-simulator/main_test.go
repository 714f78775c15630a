package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// process is the program while it runs.
type process struct {
	cmd    *exec.Cmd
	url    string
	admin  payutest.Admin
	stdout *bufio.Reader
	stderr *bytes.Buffer
}

// launch starts the program on free ports and waits for the line with its addresses.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	args = append([]string{"--bind-address=127.0.0.1:0", "--admin-bind-address=127.0.0.1:0"}, args...)
	p := &process{cmd: exec.CommandContext(t.Context(), lab.Must(lab.Program("payu-simulator"))(t), args...), stderr: new(bytes.Buffer)}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout, p.cmd.Stderr = bufio.NewReader(stdout), p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("no address: %v, %v", err, p.cmd.Wait())
	}
	if _, err := fmt.Sscanf(line, "payu-simulator: listening on %s (admin %s", &p.url, &p.admin.BaseURL); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	p.admin.BaseURL = strings.TrimSuffix(p.admin.BaseURL, ")")
	return p
}

// stop sends SIGTERM and waits for a good end; it returns the log.
func (p *process) stop(t *testing.T) string {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(p.stdout)
	if err := p.cmd.Wait(); err != nil || len(rest) > 0 {
		t.Errorf("stopped with %v, %q, %s", err, rest, p.stderr)
	}
	return p.stderr.String()
}

func trusting(t *testing.T, caFile string) *http.Client {
	t.Helper()
	caPEM, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "payu.example"}}}
}

func ask(client *http.Client, baseURL, id, secret, scope string) (int, string, error) {
	answer, err := client.PostForm(baseURL+"/oauth/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {scope},
	})
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

func TestTheProgram(t *testing.T) {
	dir := t.TempDir()
	caFile, clientsFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "clients.json")
	clients := `[{"client_id": "from-file", "client_secret": "with:colon", "scopes": ["send_sign_in_otp"]}]`
	if err := os.WriteFile(clientsFile, []byte(clients), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "--tls", "--ca-file-out="+caFile, "--tls-dns-names=payu.example", "--mode=reuse", "--token-ttl=10m",
		"--client=shop:s3cret:read_payment_links create_payment_links", "--clients-file="+clientsFile)
	client := trusting(t, caFile)

	tests := []struct {
		id, secret, scope string
		status            int
	}{
		{"shop", "s3cret", "read_payment_links", 200},
		{"shop", "s3cret", "read_payment_links", 200},
		{"shop", "s3cret", "send_sign_in_otp", 400},
		{"from-file", "with:colon", "send_sign_in_otp", 200},
		{"shop", "wrong", "", 401},
	}
	for _, test := range tests {
		status, text, err := ask(client, p.url, test.id, test.secret, test.scope)
		if err != nil || status != test.status {
			t.Errorf("%+v: %v %d %s", test, err, status, text)
		}
	}

	ctx := t.Context()
	settings, err := p.admin.Settings(ctx)
	if want := (payutest.Settings{Mode: payutest.Reuse, TokenTTL: 10 * time.Minute, ReuseLimitPercent: 100}); err != nil || settings != want {
		t.Errorf("settings %+v, %v", settings, err)
	}
	issued, err := p.admin.Issued(ctx)
	if err != nil || len(issued) != 2 {
		t.Fatalf("issued %+v, %v", issued, err)
	}
	log := p.stop(t)
	for _, secret := range []string{"s3cret", "with:colon", "wrong", issued[0].Token, issued[1].Token} {
		if strings.Contains(log, secret) {
			t.Errorf("the log gives away %s: %s", secret, log)
		}
	}
	if !strings.Contains(log, `"client_id":"shop","scope":"read_payment_links","outcome":"reused","status":200`) {
		t.Errorf("log %s", log)
	}
}

func TestTheProgramAnswersHangingRequestsWhenItStops(t *testing.T) {
	p := launch(t, "--client=shop:s3cret")
	ctx := t.Context()
	if err := p.admin.Inject(ctx, payutest.Fault{Hang: true}); err != nil {
		t.Fatal(err)
	}
	status := make(chan int)
	go func() {
		s, _, _ := ask(http.DefaultClient, p.url, "shop", "s3cret", "")
		status <- s
	}()
	p.awaitInFlight(ctx, t)
	p.stop(t)
	if got := <-status; got != http.StatusOK {
		t.Errorf("got %d", got)
	}
}

// awaitInFlight polls: another process has no channel to wait on.
func (p *process) awaitInFlight(ctx context.Context, t *testing.T) {
	t.Helper()
	for {
		c, err := p.admin.Counters(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if c.InFlight == 1 {
			return
		}
	}
}

func TestBadFlags(t *testing.T) {
	taken := launch(t, "--client=shop:s3cret")
	defer taken.stop(t)
	missing := filepath.Join(t.TempDir(), "missing")
	tests := map[string][]string{
		"unknown flag: --nonsense":                        {"--nonsense"},
		`unexpected argument "extra"`:                     {"extra"},
		`mode "sloth": want default, reuse or`:            {"--mode=sloth"},
		"token TTL 0s":                                    {"--token-ttl=0s"},
		`invalid argument "soon" for "--token-ttl"`:       {"--token-ttl=soon"},
		"--reuse-limit-percent 0":                         {"--reuse-limit-percent=0"},
		"reuse limit 101":                                 {"--reuse-limit-percent=101"},
		"latency -1s":                                     {"--latency=-1s"},
		"--client number 2: want id:secret":               {"--client=a:b", "--client=hush-hush"},
		"--clients-file: open ":                           {"--clients-file=" + missing},
		"--tls-cert-file and --tls-private-key-file need": {"--tls-cert-file=x"},
		"--tls creates a certificate":                     {"--tls", "--tls-cert-file=x", "--tls-private-key-file=y"},
		"--tls-cert-file: open ":                          {"--tls-cert-file=" + missing, "--tls-private-key-file=y"},
		"--ca-file-out and --tls-dns-names need --tls":    {"--ca-file-out=x"},
		"--ca-file-out: open ":                            {"--tls", "--ca-file-out=" + missing + "/x"},
		"--bind-address: listen tcp":                      {"--bind-address=nowhere:http:x"},
		"--admin-bind-address: listen tcp 127.0.0.1:":     {"--bind-address=127.0.0.1:0", "--admin-bind-address=" + strings.TrimPrefix(taken.admin.BaseURL, "http://")},
	}
	for want, args := range tests {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), lab.Must(lab.Program("payu-simulator"))(t), args...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		line := stderr.String()
		if err == nil || !strings.HasPrefix(line, "payu-simulator: "+want) || strings.Count(line, "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("%v: %v\n%q\n%q", args, err, line, stdout.String())
		}
		if strings.Contains(line, "hush") {
			t.Errorf("the error shows a flag that may hold a secret: %s", line)
		}
	}
}

func TestHelp(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--reuse-limit-percent", "POST /oauth/token", "PATCH  /admin/settings"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, stdout.String())
		}
	}
}

func TestGivenCertificateAndNoAdmin(t *testing.T) {
	ca, certFile, keyFile := writeCertificate(t)
	o, err := parseOptions([]string{"--bind-address=127.0.0.1:0", "--admin-bind-address=0",
		"--tls-cert-file=" + certFile, "--tls-private-key-file=" + keyFile}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	sim, err := start(o, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if s := sim.String(); s != sim.token.URL || !strings.HasPrefix(s, "https://127.0.0.1:") {
		t.Errorf("addresses %s", s)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}
	if status, _, err := ask(client, sim.String(), "nobody", "x", ""); err != nil || status != http.StatusUnauthorized {
		t.Errorf("got %d, %v", status, err)
	}
	if err := sim.stop(); err != nil {
		t.Error(err)
	}
}

// writeCertificate writes a certificate and its key to files.
func writeCertificate(t *testing.T) (ca *payutest.Authority, certFile, keyFile string) {
	t.Helper()
	ca, err := payutest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	writePEM(t, certFile, "CERTIFICATE", certificate.Certificate[0])
	writePEM(t, keyFile, "PRIVATE KEY", key)
	return ca, certFile, keyFile
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNoTestingInside: package testing would add its flags to the program.
func TestNoTestingInside(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dependency := range strings.Lines(string(out)) {
		switch dependency = strings.TrimSpace(dependency); dependency {
		case "testing", "net/http/httptest":
			t.Errorf("the program links %s", dependency)
		}
	}
}
