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
	const limit = 50 * time.Millisecond
	for name, begin := range map[string]string{"before the header": "", "within the body": "some"} {
		for _, http2 := range []bool{false, true} {
			release := make(chan struct{})
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if begin != "" {
					io.WriteString(w, begin)
					w.(http.Flusher).Flush()
				}
				select {
				case <-release:
					io.WriteString(w, " more")
				case <-r.Context().Done():
				}
			}))
			server.EnableHTTP2 = http2
			server.StartTLS()
			t.Cleanup(server.Close)
			client := server.Client()
			client.Transport = bounded{next: client.Transport, limit: limit}

			if _, err := read(t.Context(), client, server.URL+"/api/v1/secrets"); !errors.Is(err, context.DeadlineExceeded) || !isTimeout(err) {
				t.Errorf("%s, HTTP/2 %t: ended with %v", name, http2, err)
			}
			time.AfterFunc(3*limit, func() { close(release) })
			for _, watch := range []string{"/api/v1/secrets?watch=true&sendInitialEvents=true", "/api/v1/secrets?limit=1&watch=1"} {
				if text, err := read(t.Context(), client, server.URL+watch); err != nil || text != begin+" more" {
					t.Errorf("%s, HTTP/2 %t: a watch ended with %q, %v", name, http2, text, err)
				}
			}
		}
	}
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
