package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// tokenLife is short, so that a tour of a minute sees renewals.
const tokenLife = 20 * time.Second

// simulator is PayU's token server and a resource behind it, played by a process of its own.
type simulator struct {
	*process
	url    string
	caFile string
	admin  payutest.Admin
	http   *http.Client
}

func startSimulator(ctx context.Context, t *tour, clientsFile string) (*simulator, error) {
	s := &simulator{caFile: filepath.Join(t.private, "ca.pem")}
	greeting, stdout := io.Pipe()
	var err error
	s.process, err = launch("simulator", t.logs, t.end, stdout, t.simulatorPath,
		"--bind-address=127.0.0.1:0", "--admin-bind-address=127.0.0.1:0", "--tls", "--ca-file-out="+s.caFile,
		"--clients-file="+clientsFile, "--token-ttl="+tokenLife.String())
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { greeting.CloseWithError(context.Cause(ctx)) })
	if err := s.readAddresses(greeting); err != nil {
		return s, err
	}
	s.http, err = clientTrusting(s.caFile)
	return s, err
}

// readAddresses reads the line that the simulator prints when it listens.
func (s *simulator) readAddresses(greeting *io.PipeReader) error {
	line, err := bufio.NewReader(greeting).ReadString('\n')
	if err != nil {
		return fmt.Errorf("waiting for the simulator's addresses: %w", err)
	}
	go io.Copy(io.Discard, greeting) // it prints nothing more; if it did, it would not have to wait
	_, err = fmt.Sscanf(line, "payu-simulator: listening on %s (admin %s", &s.url, &s.admin.BaseURL)
	if err != nil {
		return fmt.Errorf("the simulator printed %q, not its addresses: %w", line, err)
	}
	s.admin.BaseURL = s.admin.BaseURL[:len(s.admin.BaseURL)-1] // the closing parenthesis
	return nil
}

func clientTrusting(caFile string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &http.Client{Transport: transport, Timeout: patience}, nil
}

// use calls the resource with a token, as a program of the merchant would call PayU, and returns the HTTP status.
func (s *simulator) use(ctx context.Context, token string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/resource", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := s.http.Do(r)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// requests counts the token requests of one client so far.
func (s *simulator) requests(ctx context.Context, clientID string) (int, error) {
	counters, err := s.admin.Counters(ctx)
	total := 0
	for _, n := range counters.Requests[clientID] {
		total += n
	}
	return total, err
}
