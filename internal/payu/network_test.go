package payu_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

var authority = sync.OnceValue(func() *payutest.Authority {
	a, err := payutest.NewAuthority()
	if err != nil {
		panic(err)
	}
	return a
})

// serve serves the handler over TLS, with a certificate of authority() for the loopback addresses and the names.
func serve(t *testing.T, handler http.Handler, change func(*tls.Config), names ...string) (url string) {
	t.Helper()
	certificate, err := authority().Certificate(names...)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	if change != nil {
		change(config)
	}
	return listen(t, handler, config)
}

func listen(t *testing.T, handler http.Handler, config *tls.Config) (url string) {
	t.Helper()
	endpoint, err := payutest.Listen("127.0.0.1:0", handler, config, log.New(io.Discard, "", 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endpoint.Close() })
	return endpoint.URL
}

// The codes of RFC 1035 section 4.1.1.
const (
	dnsFound    = 0
	dnsServFail = 2
	dnsNotFound = 3
)

// serveDNS answers every question with 127.0.0.1, or with an error code.
func serveDNS(t *testing.T, code byte) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for {
			packet := make([]byte, 1500)
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			conn.WriteTo(dnsAnswer(packet[:n], code), from)
		}
	}()
	return conn.LocalAddr().String()
}

func dnsAnswer(query []byte, code byte) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5
	answer := append([]byte{query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:end]...)
	if isA := query[end-3] == 1; isA && code == dnsFound {
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
	}
	return answer
}

// resolveWith makes the DNS server the only one, for this test.
func resolveWith(t *testing.T, address string) {
	former := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = former })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", address)
	}}
}

func named(url, host string) string { return strings.Replace(url, "127.0.0.1", host, 1) }

// expired returns a certificate that has been of no use for an hour, and itself as PEM.
func expired(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

var unreached = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Write([]byte(`{"access_token":"unsafe","token_type":"Bearer","expires_in":7200}`))
})

// silent accepts connections and says nothing.
func silent(t *testing.T) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return "https://" + listener.Addr().String()
}

// closed returns the address of a listener that is gone.
func closed(t *testing.T) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	return "https://" + listener.Addr().String()
}

// TestUnreachable is about every way not to get an answer: the reason is Unreachable, and the text the same each time.
func TestUnreachable(t *testing.T) {
	staleCertificate, stalePEM := expired(t)
	short := 150 * time.Millisecond
	tests := map[string]struct {
		reason  string
		base    func(*testing.T) string
		ca      []byte
		timeout time.Duration
		want    string
	}{
		"nobody listens": {
			reason: "a port that is closed refuses", base: closed, want: "connection refused",
		},
		"nobody speaks": {
			reason: "the timeout covers the TLS handshake", base: silent, timeout: short, want: "timeout",
		},
		"nobody answers": {
			reason: "the timeout covers the wait for an answer",
			base: func(t *testing.T) string {
				return serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-t.Context().Done() }), nil)
			},
			timeout: short, want: "timeout",
		},
		"the answer's body stops": {
			reason: "the timeout covers the body too",
			base: func(t *testing.T) string {
				return serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Write([]byte(`{"access_token":"` + sentinel))
					http.NewResponseController(w).Flush()
					<-t.Context().Done() // to end when the client goes would be to finish the answer
				}), nil)
			},
			timeout: short, want: "timeout",
		},
		"the server speaks TLS 1.1 only": {
			reason: "trap 14: TLS 1.2 or newer",
			base: func(t *testing.T) string {
				return serve(t, unreached, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
			},
			want: "the TLS handshake failed",
		},
		"the server wants a client certificate": {
			reason: "a TLS alert is told apart from a broken connection",
			base: func(t *testing.T) string {
				return serve(t, unreached, func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 })
			},
			want: "the TLS handshake failed",
		},
		"the server does not speak TLS": {
			reason: "https only",
			base: func(t *testing.T) string {
				return strings.Replace(listen(t, unreached, nil), "http:", "https:", 1)
			},
			want: "the TLS handshake failed",
		},
		"the certificate's authority is not trusted": {
			reason: "without --ca-file only the system's roots count",
			base:   func(t *testing.T) string { return serve(t, unreached, nil) },
			ca:     []byte{}, want: "its certificate is signed by an unknown authority (TLS)",
		},
		"the certificate is for another name": {
			reason: "a certificate proves one name",
			base: func(t *testing.T) string {
				resolveWith(t, serveDNS(t, dnsFound))
				return named(serve(t, unreached, nil, "accounts.example"), "payu.example")
			},
			want: "its certificate is for another host name (TLS)",
		},
		"the certificate has expired": {
			reason: "an expired certificate proves nothing",
			base: func(t *testing.T) string {
				return serve(t, unreached, func(c *tls.Config) { c.Certificates = []tls.Certificate{staleCertificate} })
			},
			ca: stalePEM, want: "its certificate is not valid (TLS)",
		},
		"the name does not exist": {
			reason: "NXDOMAIN",
			base: func(t *testing.T) string {
				resolveWith(t, serveDNS(t, dnsNotFound))
				return "https://payu.example"
			},
			want: "no such host (DNS)",
		},
		"the name cannot be looked up": {
			reason: "SERVFAIL says nothing about the name",
			base: func(t *testing.T) string {
				resolveWith(t, serveDNS(t, dnsServFail))
				return "https://payu.example"
			},
			want: "the host name cannot be looked up (DNS)",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			base, ca, timeout := test.base(t), test.ca, test.timeout
			if ca == nil {
				ca = authority().PEM()
			}
			if timeout == 0 {
				timeout = long
			}
			want := "no answer from " + strings.TrimPrefix(base, "https://") + ": " + test.want
			client := newClient(t, base, ca, timeout, time.Now)
			for range 2 {
				if e := refusal(t, client, shopSource()); e.Reason != payu.Unreachable || e.Detail != want {
					t.Errorf("got %s: %s\nwant %s: %s\nsince %s", e.Reason, e.Detail, payu.Unreachable, want, test.reason)
				}
			}
		})
	}
}

func TestNoBaseURLForTheEnvironment(t *testing.T) {
	client := newClient(t, payu.TestBaseURL, nil, long, time.Now)
	source := shopSource()
	source.Environment = "Production"
	e := refusal(t, client, source)
	if e.Reason != payu.Unreachable || e.Detail != "no base URL is known for the environment" {
		t.Errorf("got %v", e)
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	server := payutest.Run(t, payutest.Config{Clients: []payutest.Client{shop}})
	server.Inject(payutest.Fault{Hang: true})
	client := newClient(t, server.URL, server.CA.PEM(), long, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := client.Token(ctx, shopSource())
		result <- err
	}()
	await(t, server, func(c payutest.Counters) bool { return c.InFlight == 1 })
	cancel()
	want := "Unreachable: no answer from " + strings.TrimPrefix(server.URL, "https://") + ": the operator is stopping"
	if err := <-result; err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func await(t *testing.T, server *payutest.Running, done func(payutest.Counters) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	if err := server.Await(ctx, done); err != nil {
		t.Fatal(err)
	}
}

// proxy is an HTTP proxy that leads every CONNECT to one address and writes down what it sees.
type proxy struct {
	target string
	status int // instead of a connection, if set
	mu     sync.Mutex
	seen   []string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.Host+" "+string(body))
	p.mu.Unlock()
	if p.status != 0 {
		http.Error(w, sentinel, p.status)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		panic(err)
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	client.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	go func() {
		io.Copy(server, buffered)
		server.Close()
	}()
	io.Copy(client, server)
	client.Close()
}

func TestProxyVariablesAreHonoured(t *testing.T) {
	tests := map[string]struct {
		reason  string
		status  int
		env     string // added; ADDRESS stands for the proxy's
		want    string // "TOKEN" is the token that the server gave
		proxied int
	}{
		"HTTPS_PROXY names a proxy": {
			reason: "the request goes through it, encrypted to PayU",
			env:    "HTTPS_PROXY=http://ADDRESS", want: "TOKEN<nil>", proxied: 1,
		},
		"NO_PROXY excludes PayU": {
			reason: "the request goes straight to PayU",
			env:    "HTTPS_PROXY=http://ADDRESS NO_PROXY=payu.example", want: "TOKEN<nil>",
		},
		"HTTP_PROXY is for http": {
			reason: "PayU is https",
			env:    "HTTP_PROXY=http://ADDRESS", want: "TOKEN<nil>",
		},
		"the proxy refuses": {
			reason: "neither the proxy's password nor its answer is repeated",
			status: http.StatusProxyAuthRequired, env: "HTTPS_PROXY=http://user:hunter2@ADDRESS",
			want: "Unreachable: no answer from HOST: the connection failed", proxied: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := payutest.New(payutest.Config{Clients: []payutest.Client{shop}})
			address := strings.TrimPrefix(serve(t, server, nil, "payu.example"), "https://")
			host := named(address, "payu.example")
			p := &proxy{target: address, status: test.status}
			proxyAddress := strings.TrimPrefix(listen(t, p, nil), "http://")

			env := strings.Fields(strings.ReplaceAll(test.env, "ADDRESS", proxyAddress))

			got := runChild(t, "https://"+host, env...)
			token := ""
			if issued := server.Issued(); len(issued) == 1 {
				token = issued[0].Token
			}
			want := strings.NewReplacer("TOKEN", token, "HOST", host).Replace(test.want)
			if got != want {
				t.Errorf("got %s\nwant %s, since %s", got, want, test.reason)
			}
			if len(p.seen) != test.proxied || test.proxied == 1 && p.seen[0] != "CONNECT "+host+" " {
				t.Errorf("the proxy saw %q, want %d connections: %s", p.seen, test.proxied, test.reason)
			}
		})
	}
}

// runChild runs this test binary once more, as a program that asks for one token, and returns what it prints.
func runChild(t *testing.T, base string, env ...string) string {
	t.Helper()
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, authority().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), os.Args[0], base, caFile)
	command.Env = append(append(os.Environ(), childJob+"="+serveDNS(t, dnsFound), "GORACE=atexit_sleep_ms=0"), env...)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
