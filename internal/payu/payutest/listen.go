package payutest

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Endpoint is a handler that is being served.
type Endpoint struct {
	// URL is the scheme and the actual address, also if port 0 was asked for.
	URL    string
	server *http.Server
}

// Listen serves the handler on the address until the Endpoint is closed, with TLS if a configuration is given. It speaks
// HTTP/1.1 only, so that a fault can break one request's connection. net/http logs to errorLog; nil means
// standard error.
func Listen(address string, handler http.Handler, config *tls.Config, errorLog *log.Logger) (*Endpoint, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	url := "http://" + listener.Addr().String()
	if config != nil {
		url = "https://" + listener.Addr().String()
		listener = tls.NewListener(listener, config)
	}
	server := &http.Server{Handler: handler, ErrorLog: errorLog, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) // returns when the server is closed, and never else
	return &Endpoint{URL: url, server: server}, nil
}

// Shutdown stops listening and waits for requests to end. If ctx ends first, it aborts the rest.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	if e.server.Shutdown(ctx) == nil {
		return nil
	}
	return e.server.Close()
}

// Close aborts all connections.
func (e *Endpoint) Close() error { return e.server.Close() }

// TB is the part of testing.TB that Run needs. It keeps package testing out of programs that import this one.
type TB interface {
	Helper()
	Fatal(args ...any)
	Cleanup(func())
	TempDir() string
}

// Running is a Server that serves TLS for the duration of a test.
type Running struct {
	*Server
	URL    string
	CAFile string // PEM, for --ca-file
	CA     *Authority
}

// Run starts a server with TLS on a loopback port, and stops it at the end of the test.
func Run(t TB, c Config) *Running {
	t.Helper()
	ca, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(c)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	endpoint, err := Listen("127.0.0.1:0", s, config, log.New(io.Discard, "", 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endpoint.Close() })
	return &Running{Server: s, URL: endpoint.URL, CAFile: caFile, CA: ca}
}

// HTTPClient returns a client that trusts the server's certificate, follows no redirects and keeps no connections.
func (r *Running) HTTPClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: r.CA.Pool()},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
