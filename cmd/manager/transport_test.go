package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestRequestsEndButWatchesGoOn has servers that stop before the header and within the body, with and without HTTP/2.
func TestRequestsEndButWatchesGoOn(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"before the header": "", "within the body": "some"} {
		for _, http2 := range []bool{false, true} {
			client, url := slow(t, begin, http2)
			if _, err := read(t.Context(), client, url+"/api/v1/secrets"); !errors.Is(err, context.DeadlineExceeded) || !isTimeout(err) {
				t.Errorf("%s, HTTP/2 %t: ended with %v", name, http2, err)
			}
			for _, watch := range []string{"/api/v1/secrets?watch=true&sendInitialEvents=true", "/api/v1/secrets?limit=1&watch=1"} {
				if text, err := read(t.Context(), client, url+watch); err != nil || text != begin+" more" {
					t.Errorf("%s, HTTP/2 %t: a watch ended with %q, %v", name, http2, text, err)
				}
			}
		}
	}
}

// slow starts a server that goes on, after it has begun, long after the client's limit for a watch, and never for others.
func slow(t *testing.T, begin string, http2 bool) (client *http.Client, url string) {
	t.Helper()
	const limit = 50 * time.Millisecond
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if begin != "" {
			io.WriteString(w, begin)
			w.(http.Flusher).Flush()
		}
		var late <-chan time.Time
		if r.URL.Query().Has("watch") {
			late = time.After(3 * limit)
		}
		select {
		case <-late:
			io.WriteString(w, " more")
		case <-r.Context().Done():
		}
	}))
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	client = server.Client()
	client.Transport = bounded{next: client.Transport, limit: limit}
	return client, server.URL
}

func read(ctx context.Context, client *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func isTimeout(err error) bool {
	var e interface{ Timeout() bool }
	return errors.As(err, &e) && e.Timeout()
}

// TestACancelledRequestSaysSo does not blame the API server.
func TestACancelledRequestSaysSo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	if _, err := read(ctx, &http.Client{Transport: bounded{next: http.DefaultTransport, limit: time.Minute}}, server.URL); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
