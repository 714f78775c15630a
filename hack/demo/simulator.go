package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// tokenLife is short, so that a tour of a minute sees renewals.
const tokenLife = 20 * time.Second

// simulator is PayU's token server and a resource that takes its tokens, in another process.
type simulator struct {
	*process.Simulator
	http *http.Client
}

func startSimulator(ctx context.Context, t *tour, clientsFile string) (*simulator, error) {
	log, err := t.logTo("simulator")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &simulator{}
	s.Simulator, err = process.StartSimulator(ctx, log, t.simulatorPath, filepath.Join(t.private, "ca.pem"), clientsFile, "--token-ttl="+tokenLife.String())
	if s.Simulator != nil {
		t.attend("simulator", s.Process)
	}
	if err != nil {
		return nil, err
	}
	s.http, err = clientTrusting(s.CAFile)
	return s, err
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

// use calls the resource with a token, as a workload would call PayU, and returns the HTTP status.
func (s *simulator) use(ctx context.Context, token string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/resource", nil)
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
	counters, err := s.Counters(ctx)
	total := 0
	for _, n := range counters.Requests[clientID] {
		total += n
	}
	return total, err
}
