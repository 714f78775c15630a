package payu_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// childJob, where set, turns the test binary into a small program that asks for one token: net/http reads the proxy
// variables once per process.
const childJob = "PAYU_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childJob) != "" {
		child()
		return
	}
	for _, name := range proxyVariables() {
		os.Unsetenv(name) // the tests must not depend on the network they run in
	}
	os.Exit(m.Run())
}

func proxyVariables() []string {
	names := []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
	for _, name := range names[:3] {
		names = append(names, strings.ToLower(name))
	}
	return names
}

// sentinel is in every body that must not be repeated.
const sentinel = "BODY-SENTINEL"

// The client that most tests ask for. Its secret holds every character that form encoding changes.
var shop = payutest.Client{ID: "shop&id=1", Secret: `s3cret+&%=%20 ;#?"'<>\/~`}

var asked = []string{"create_payment_links", "read_payment_links"}

func shopSource() payu.Source {
	return payu.Source{
		Environment: "Test",
		Credentials: payu.Credentials{ClientID: shop.ID, ClientSecret: shop.Secret},
		Scopes:      asked,
	}
}

// clock is a time that a test moves. It starts within a second and outside UTC.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 789_000_000, time.FixedZone("IST", 5*3600+1800))}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// long is a timeout that no good test reaches.
const long = 20 * time.Second

func newClient(t *testing.T, base string, ca []byte, timeout time.Duration, now func() time.Time) *payu.Client {
	t.Helper()
	client, err := payu.NewClient(payu.Config{
		BaseURLs:  map[string]string{"Test": base},
		CAs:       ca,
		Timeout:   timeout,
		UserAgent: "payu-token-operator/test",
		Now:       now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// refusal asks for a token that must not come, or only without a life. Whatever the failure, its text is one line of
// bounded length and gives nothing away.
func refusal(t *testing.T, client *payu.Client, source payu.Source) *payu.Error {
	t.Helper()
	token, err := client.Token(t.Context(), source)
	var e *payu.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if token != (payu.Token{}) && (e.Reason != payu.InvalidResponse || token.Life() != 0) {
		t.Errorf("a token with a life came beside the error")
	}
	checkQuiet(t, e, sentinel, source.Credentials.ClientSecret)
	return e
}

func checkQuiet(t *testing.T, e *payu.Error, secrets ...string) {
	t.Helper()
	for _, text := range []string{e.Error(), e.Detail, fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
		for _, s := range secrets {
			if s != "" && strings.Contains(text, s) {
				t.Errorf("the error says %q: %s", s, text)
			}
		}
	}
	if e.Detail == "" || len(e.Detail) > 200 || strings.ContainsFunc(e.Detail, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("not one line of bounded length: %q", e.Detail)
	}
	if want := string(e.Reason) + ": " + e.Detail; e.Error() != want {
		t.Errorf("Error() is %q, want %q", e.Error(), want)
	}
}

// child asks for one token and prints what came.
func child() {
	dns := os.Getenv(childJob)
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", dns)
	}}
	ca, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	client, err := payu.NewClient(payu.Config{
		BaseURLs: map[string]string{"Test": os.Args[1]}, CAs: ca, Timeout: long, Now: time.Now,
	})
	if err != nil {
		panic(err)
	}
	token, err := client.Token(context.Background(), shopSource())
	fmt.Print(token.AccessToken, err)
}
