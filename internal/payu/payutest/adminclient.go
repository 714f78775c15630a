package payutest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Admin drives the admin API of a server in another process. Its methods are those of Server.
type Admin struct {
	// BaseURL is where the admin API is, for instance http://127.0.0.1:8090.
	BaseURL string
	// HTTPClient sends the requests; nil means http.DefaultClient.
	HTTPClient *http.Client
}

// errNotFound is a 404.
var errNotFound = errors.New("not found")

// Settings returns the current settings.
func (a Admin) Settings(ctx context.Context) (Settings, error) {
	var p settingsPatch
	err := a.call(ctx, http.MethodGet, "/admin/settings", nil, &p)
	return p.applied(Settings{}), err
}

// SetMode changes the mode.
func (a Admin) SetMode(ctx context.Context, m Mode) error {
	return a.patch(ctx, settingsPatch{Mode: &m})
}

// SetTokenTTL changes the lifetime of future tokens.
func (a Admin) SetTokenTTL(ctx context.Context, ttl time.Duration) error {
	return a.patch(ctx, settingsPatch{TokenTTL: (*duration)(&ttl)})
}

// SetReuseLimit changes how much of its lifetime a token is reused.
func (a Admin) SetReuseLimit(ctx context.Context, percent int) error {
	return a.patch(ctx, settingsPatch{ReuseLimitPercent: &percent})
}

// SetLatency changes the delay of future requests.
func (a Admin) SetLatency(ctx context.Context, d time.Duration) error {
	return a.patch(ctx, settingsPatch{Latency: (*duration)(&d)})
}

func (a Admin) patch(ctx context.Context, p settingsPatch) error {
	return a.call(ctx, http.MethodPatch, "/admin/settings", p, nil)
}

// Clients returns the registered clients, without their secrets.
func (a Admin) Clients(ctx context.Context) ([]Client, error) {
	return get[[]Client](ctx, a, "/admin/clients")
}

// PutClient registers or replaces a client.
func (a Admin) PutClient(ctx context.Context, c Client) error {
	return a.call(ctx, http.MethodPut, "/admin/clients", c, nil)
}

// RemoveClient forgets a client and revokes its tokens.
func (a Admin) RemoveClient(ctx context.Context, id string) error {
	return a.call(ctx, http.MethodDelete, "/admin/clients"+forID(id), nil, nil)
}

// Inject adds a fault after the active ones.
func (a Admin) Inject(ctx context.Context, f Fault) error {
	return a.call(ctx, http.MethodPost, "/admin/faults", f, nil)
}

// Faults returns the active faults.
func (a Admin) Faults(ctx context.Context) ([]Fault, error) {
	return get[[]Fault](ctx, a, "/admin/faults")
}

// ClearFaults removes every fault.
func (a Admin) ClearFaults(ctx context.Context) error {
	return a.call(ctx, http.MethodDelete, "/admin/faults", nil, nil)
}

// ClearFault removes the faults of one client; with an empty ID, those of every client.
func (a Admin) ClearFault(ctx context.Context, clientID string) error {
	return a.call(ctx, http.MethodDelete, "/admin/faults"+forID(clientID), nil, nil)
}

// RevokeAll revokes the tokens of one client, or of every client if the ID is empty.
func (a Admin) RevokeAll(ctx context.Context, clientID string) error {
	return a.call(ctx, http.MethodPost, "/admin/revoke"+forID(clientID), nil, nil)
}

// Issued returns every token that the server remembers, oldest first.
func (a Admin) Issued(ctx context.Context) ([]Issued, error) {
	return get[[]Issued](ctx, a, "/admin/issued")
}

// TokenInfo returns what is known about a token value, and whether the server issued it.
func (a Admin) TokenInfo(ctx context.Context, token string) (Issued, bool, error) {
	issued, err := get[Issued](ctx, a, "/admin/issued?"+url.Values{"token": {token}}.Encode())
	if errors.Is(err, errNotFound) {
		return Issued{}, false, nil
	}
	return issued, err == nil, err
}

// Requests returns the handled token requests.
func (a Admin) Requests(ctx context.Context) ([]Request, error) {
	return get[[]Request](ctx, a, "/admin/requests")
}

// Counters returns the counters.
func (a Admin) Counters(ctx context.Context) (Counters, error) {
	return get[Counters](ctx, a, "/admin/counters")
}

// Reset forgets tokens, faults, requests and counters.
func (a Admin) Reset(ctx context.Context) error {
	return a.call(ctx, http.MethodPost, "/admin/reset", nil, nil)
}

func forID(clientID string) string {
	return "?" + url.Values{"client_id": {clientID}}.Encode()
}

func get[T any](ctx context.Context, a Admin, path string) (T, error) {
	var out T
	err := a.call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// call sends in as JSON, if it is not nil, and decodes the response into out, if that is not nil.
func (a Admin) call(ctx context.Context, method, path string, in, out any) error {
	r, err := a.newRequest(ctx, method, path, in)
	if err != nil {
		return err
	}
	client := a.HTTPClient
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		return refused(answer, method+" "+r.URL.Path)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(out)
}

func (a Admin) newRequest(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	return http.NewRequestWithContext(ctx, method, a.BaseURL+path, body)
}

func refused(answer *http.Response, what string) error {
	if answer.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%s: %w", what, errNotFound)
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	return fmt.Errorf("%s: %s: %s", what, answer.Status, bytes.TrimSpace(text))
}
