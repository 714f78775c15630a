package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"time"
)

// tokenLife is short, so that a tour of a minute sees renewals.
const tokenLife = 20 * time.Second

// use calls PayU's resource with a token, as a workload would, and returns the HTTP status.
func (t *tour) use(ctx context.Context, token string) (int, error) {
	client, err := clientTrusting(t.simulator.CAFile)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.simulator.URL+"/resource", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

func clientTrusting(caFile string) (*http.Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: patience}, nil
}

// requests counts the token requests of the sample's client so far.
func (t *tour) requests(ctx context.Context) (int, error) {
	counters, err := t.simulator.Counters(ctx)
	total := 0
	for _, n := range counters.Requests[t.clients[credentialsName].ID] {
		total += n
	}
	return total, err
}
