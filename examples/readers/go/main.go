// Command go calls a URL again and again with the token of a mounted Secret:
//
//	go run ./examples/readers/go /var/run/payu/access_token https://api.example.com/orders 1s
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"time"
)

// bearer is a transport that sends the token which its file holds now.
type bearer struct{ file string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.token()
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as every transport must
		}
		return nil, err
	}
	answer, err := send(r, token)
	if err != nil || answer.StatusCode != http.StatusUnauthorized || r.Body != nil && r.GetBody == nil {
		return answer, err
	}
	if fresh := b.newer(r.Context(), token); fresh != "" {
		_ = answer.Body.Close()
		return send(r, fresh)
	}
	return answer, nil // there is no newer token: the 401 is final
}

// newer waits for a moment until the file holds another token, and returns that; empty if none comes.
func (b bearer) newer(ctx context.Context, token string) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if fresh, err := b.token(); err == nil && fresh != token {
			return fresh
		}
		select {
		case <-ctx.Done():
			return ""
		case <-tick.C:
		}
	}
}

// token opens the file once more if it does not exist: the kubelet was just replacing its directory.
func (b bearer) token() (string, error) {
	token, err := os.ReadFile(b.file)
	if errors.Is(err, fs.ErrNotExist) {
		token, err = os.ReadFile(b.file)
	}
	return string(token), err
}

func send(r *http.Request, token string) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	if r.GetBody != nil {
		r.Body, _ = r.GetBody() // from its beginning, also for the second request
	}
	return http.DefaultTransport.RoundTrip(r)
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: go <token file> <URL> <pause, such as 1s>")
	}
	pause, err := time.ParseDuration(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, os.Args[2], nil) //nolint:gosec // the user chooses the URL
	if err != nil {
		log.Fatal(err)
	}
	client := http.Client{Transport: bearer{file: os.Args[1]}}
	for range time.NewTicker(pause).C {
		answer, err := client.Do(request) //nolint:gosec // the same
		if err != nil {
			log.Fatal(err)
		}
		_ = answer.Body.Close()
		fmt.Println(answer.StatusCode)
	}
}
