// Command workload does what a user's program does with a token: it reads the mounted file for each call, and calls a
// resource with it, twice a second, and as soon as the file holds another token. It tells of its calls at /calls, as JSON; ?from=7 leaves out the first 7.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/e2e/calls"
)

const (
	pace = 500 * time.Millisecond
	// glance is how often to look whether the file holds another token.
	glance = 50 * time.Millisecond
	// patience is how long the resource may take to answer.
	patience = 10 * time.Second
)

// workload calls a resource.
type workload struct {
	tokenFile, url string
	client         *http.Client

	mu    sync.Mutex
	calls []calls.Call
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var w workload
	flag.StringVar(&w.tokenFile, "token-file", "/var/run/payu/access_token", "the mounted `file` with the token")
	flag.StringVar(&w.url, "url", "", "the `URL` to call")
	caFile := flag.String("ca-file", "", "PEM `file` of the authority that the URL's certificate is of")
	listen := flag.String("bind-address", ":8080", "`address` to tell at")
	flag.Parse()
	ca, err := os.ReadFile(*caFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return fmt.Errorf("%s holds no certificate", *caFile)
	}
	w.client = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}

	ctx, fail := context.WithCancelCause(ctx)
	server := &http.Server{Addr: *listen, Handler: http.HandlerFunc(w.tell), ReadHeaderTimeout: patience}
	go func() { fail(server.ListenAndServe()) }()
	w.work(ctx)
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return server.Close()
}

// work calls until ctx ends.
func (w *workload) work(ctx context.Context) {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	var last time.Time
	var version string
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// The kubelet exchanges the directory that this link is for.
			now, _ := os.Readlink(filepath.Join(filepath.Dir(w.tokenFile), "..data"))
			if now == version && time.Since(last) < pace {
				continue
			}
			last, version = time.Now(), now
			call := w.call(ctx)
			w.mu.Lock()
			w.calls = append(w.calls, call)
			w.mu.Unlock()
		}
	}
}

func (w *workload) call(ctx context.Context) calls.Call {
	c := calls.Call{At: time.Now()}
	token, err := os.ReadFile(w.tokenFile)
	if err != nil {
		c.Problem = err.Error()
		return c
	}
	c.Token = calls.Digest(string(token))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		c.Problem = err.Error()
		return c
	}
	r.Header.Set("Authorization", "Bearer "+string(token))
	answer, err := w.client.Do(r)
	if err != nil {
		c.Problem = err.Error()
		return c
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body) // so that the connection can be used again
	c.Status = answer.StatusCode
	if !c.Worked() {
		c.Problem = answer.Header.Get("WWW-Authenticate")
	}
	return c
}

// tell answers with the calls so far.
func (w *workload) tell(rw http.ResponseWriter, r *http.Request) {
	from, _ := strconv.Atoi(r.URL.Query().Get("from"))
	w.mu.Lock()
	list := w.calls[min(max(from, 0), len(w.calls)):]
	w.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(list)
}
