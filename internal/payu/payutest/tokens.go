package payutest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"time"
)

// Issued is an access token that the server issued.
type Issued struct {
	Token     string    `json:"access_token"`
	ClientID  string    `json:"client_id"`
	Scopes    []string  `json:"scopes"` // as granted, in the order of the first request
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

// LiveAt reports whether a resource accepts the token at that instant. Doorkeeper still does at the very instant of
// expiry.
func (i Issued) LiveAt(now time.Time) bool {
	return !i.revoked() && !i.expiredAt(now)
}

func (i Issued) revoked() bool { return !i.RevokedAt.IsZero() }

func (i Issued) expiredAt(now time.Time) bool { return now.After(i.ExpiresAt) }

// expiresIn rounds to the nearest second and stops at 0, as Doorkeeper's expires_in_seconds does.
func (i Issued) expiresIn(now time.Time) int64 {
	return max(0, int64(math.Round(i.ExpiresAt.Sub(now).Seconds())))
}

// reusableAt is Doorkeeper's reusable?: the limit is how much of its lifetime a token is reused, in percent.
func (i Issued) reusableAt(now time.Time, limitPercent int) bool {
	life := int64(i.ExpiresAt.Sub(i.IssuedAt) / time.Second)
	return i.LiveAt(now) && i.expiresIn(now) >= int64(100-limitPercent)*life/100
}

func (i Issued) clone() Issued {
	i.Scopes = slices.Clone(i.Scopes)
	return i
}

// tokens holds what was issued. It has no lock of its own: Server.mu guards it.
type tokens struct {
	keep    int // dead tokens to remember; 0 is all
	sweepAt int // the number of tokens at which to remove dead ones
	issued  []*Issued
	byValue map[string]*Issued
	latest  map[grant]*Issued
}

func newTokens(keep int) tokens {
	return tokens{keep: keep, sweepAt: 2 * keep, byValue: map[string]*Issued{}, latest: map[grant]*Issued{}}
}

// unrevoked returns the client's latest token with that scope set, or nil. It may have expired: Doorkeeper checks
// revocation only.
func (t *tokens) unrevoked(g grant) *Issued {
	if i := t.latest[g]; i != nil && !i.revoked() {
		return i
	}
	return nil
}

func (t *tokens) add(token, clientID string, scopes []string, now time.Time, ttl time.Duration) *Issued {
	i := &Issued{
		Token: token, ClientID: clientID, Scopes: slices.Clone(scopes),
		IssuedAt: now, ExpiresAt: now.Add(ttl),
	}
	t.issued = append(t.issued, i)
	t.byValue[i.Token] = i
	t.latest[grantFor(clientID, scopes)] = i
	t.sweep(now)
	return i
}

// newToken looks like PayU's and Doorkeeper's tokens: 32 random bytes in hex.
func newToken() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}

// newJWT looks like PayU's tokens for partner_payments: three parts in base64url, about 600 characters. Nobody can verify it.
func newJWT() string {
	signature := make([]byte, 256)
	rand.Read(signature)
	parts := [][]byte{[]byte(`{"alg":"RS256","typ":"JWT"}`), []byte(`{"iss":"payutest","jti":"` + newToken() + `"}`), signature}
	encoded := make([]string, len(parts))
	for i, part := range parts {
		encoded[i] = base64.RawURLEncoding.EncodeToString(part)
	}
	return strings.Join(encoded, ".")
}

// revokeAll revokes the tokens of one client, or of every client if the ID is empty.
func (t *tokens) revokeAll(clientID string, now time.Time) {
	for _, i := range t.issued {
		if (clientID == "" || i.ClientID == clientID) && !i.revoked() {
			i.RevokedAt = now
		}
	}
}

// sweep forgets the oldest dead tokens. It waits until the list has doubled, so that a request costs the same however
// many tokens there are.
func (t *tokens) sweep(now time.Time) {
	if t.keep == 0 || len(t.issued) < t.sweepAt {
		return
	}
	surplus := len(t.issued) - t.keep
	t.issued = slices.DeleteFunc(t.issued, func(i *Issued) bool {
		if surplus <= 0 || i.LiveAt(now) {
			return false
		}
		surplus--
		t.forget(i)
		return true
	})
	t.sweepAt = 2 * max(t.keep, len(t.issued))
}

func (t *tokens) forget(i *Issued) {
	delete(t.byValue, i.Token)
	if g := grantFor(i.ClientID, i.Scopes); t.latest[g] == i {
		delete(t.latest, g)
	}
}

// Issued returns every token the server issued, oldest first (with Config.Keep, those it remembers). A test may check
// against it that a token is the server's own, for that client and those scopes.
func (s *Server) Issued() []Issued {
	s.mu.Lock()
	defer s.mu.Unlock()
	issued := make([]Issued, len(s.tokens.issued))
	for n, i := range s.tokens.issued {
		issued[n] = i.clone()
	}
	return issued
}

// TokenInfo returns what is known about a token value, and whether the server issued it.
func (s *Server) TokenInfo(token string) (Issued, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.tokens.byValue[token]
	if !ok {
		return Issued{}, false
	}
	return i.clone(), true
}

// RevokeAll revokes the tokens of one client, or of every client if the ID is empty.
func (s *Server) RevokeAll(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.revokeAll(clientID, s.now())
}
