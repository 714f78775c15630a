package payutest

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"
)

// Client is an OAuth client registered with the server.
type Client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret,omitempty"`
	// Scopes are the scopes that the client may request; none means KnownScopes.
	Scopes []string `json:"scopes,omitempty"`
	// Disabled makes the server refuse the client with invalid_client, as if it were unknown.
	Disabled bool `json:"disabled,omitempty"`
	// Unauthorized makes the server refuse the client with unauthorized_client: it is not allowed to use the
	// client_credentials grant.
	Unauthorized bool `json:"unauthorized,omitempty"`
}

// authenticates compares in constant time; hashing first hides the length too.
func (c Client) authenticates(secret string) bool {
	want, got := sha256.Sum256([]byte(c.Secret)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

func (c Client) mayHave(scopes []string) bool {
	allowed := c.Scopes
	if len(allowed) == 0 {
		allowed = KnownScopes
	}
	return !slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(allowed, s) })
}

// PutClient registers a client, or replaces the one with the same ID: another secret, other scopes. Its earlier
// tokens stay as they are.
func (s *Server) PutClient(c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Scopes = slices.Clone(c.Scopes)
	s.clients[c.ID] = c
}

// RemoveClient forgets a client and revokes its tokens, as deleting a Doorkeeper application does.
func (s *Server) RemoveClient(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, id)
	s.tokens.revokeAll(id, s.now())
}

// Clients returns the registered clients, sorted by ID, without their secrets.
func (s *Server) Clients() []Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	clients := make([]Client, 0, len(s.clients))
	for _, c := range s.clients {
		c.Secret, c.Scopes = "", slices.Clone(c.Scopes)
		clients = append(clients, c)
	}
	slices.SortFunc(clients, func(a, b Client) int { return strings.Compare(a.ID, b.ID) })
	return clients
}
