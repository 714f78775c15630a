package payutest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1763036368, 0)} }

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

// The client that most tests ask for.
var shop = payutest.Client{ID: "shop", Secret: "s3cret+&%= ü", Scopes: []string{"create_payment_links", "read_payment_links"}}

// story is a server over real TLS, a client that talks to it, and the time.
type story struct {
	*payutest.Running
	*clock
	t      *testing.T
	client *http.Client
}

func begin(t *testing.T, c payutest.Config) *story {
	t.Helper()
	s := &story{t: t, clock: newClock()}
	c.Clock = s.clock.Now
	c.Clients = append(c.Clients, shop, payutest.Client{ID: "other", Secret: "o"})
	s.Running = payutest.Run(t, c)
	s.client = s.HTTPClient()
	return s
}

// form is a good request of the shop for those scopes; pairs of name and value change it, "-" removes a parameter.
func form(scope string, pairs ...string) url.Values {
	f := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {shop.ID}, "client_secret": {shop.Secret}, "scope": {scope},
	}
	for n := 0; n < len(pairs); n += 2 {
		f.Set(pairs[n], pairs[n+1])
		if pairs[n+1] == "-" {
			f.Del(pairs[n])
		}
	}
	return f
}

// reply is a response, read to its end.
type reply struct {
	status int
	header http.Header
	text   string
	err    error // of reading the body
}

func (r reply) members(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.text), &m); err != nil {
		t.Fatalf("%q: %v", r.text, err)
	}
	return m
}

func (r reply) token(t *testing.T) string {
	t.Helper()
	token, ok := r.members(t)["access_token"].(string)
	if !ok {
		t.Fatalf("no access_token: %d %s", r.status, r.text)
	}
	return token
}

func (s *story) post(ctx context.Context, f url.Values) (reply, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/oauth/token", strings.NewReader(f.Encode()))
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(r)
}

func (s *story) do(r *http.Request) (reply, error) {
	answer, err := s.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return reply{answer.StatusCode, answer.Header, string(text), err}, nil
}

// ask posts and must get an answer.
func (s *story) ask(f url.Values) reply {
	s.t.Helper()
	r, err := s.post(s.t.Context(), f)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// use takes a token to the resource.
func (s *story) use(token, query string) reply {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+"/resource"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := s.do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// live tells which of the tokens the resource accepts.
func (s *story) live(tokens ...string) []bool {
	s.t.Helper()
	live := make([]bool, len(tokens))
	for n, token := range tokens {
		live[n] = s.use(token, "").status == http.StatusOK
	}
	return live
}

// await waits until the counters are as wanted.
func (s *story) await(done func(payutest.Counters) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Await(ctx, done); err != nil {
		s.t.Fatal(err)
	}
}

func inFlight(n int) func(payutest.Counters) bool {
	return func(c payutest.Counters) bool { return c.InFlight == n }
}
