package payutest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// resource simulates a PayU API that takes the tokens: 200 if the request carries a live bearer token (RFC 6750 section 2.1)
// that has the scope the query names, if it names one.
func (s *Server) resource(w http.ResponseWriter, r *http.Request) {
	token, _ := bearer(r)
	s.visit(token, r.URL.Query().Get("scope")).send(w, r)
}

// bearer returns the token of an Authorization header.
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// visit checks a token, and counts by the client that it was issued to.
func (s *Server) visit(token, scope string) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var clientID string
	issued := s.tokens.byValue[token]
	if issued != nil {
		clientID = issued.ClientID
	}
	a := judge(issued, scope, s.now())
	s.ledger.visited(clientID, a.status)
	s.changed()
	return a
}

// judge responds as Doorkeeper's InvalidTokenResponse and ForbiddenTokenResponse do.
func judge(i *Issued, scope string, now time.Time) answer {
	switch {
	case i == nil:
		return invalidToken("The access token is invalid")
	case i.revoked():
		return invalidToken("The access token was revoked")
	case i.expiredAt(now):
		return invalidToken("The access token expired")
	case scope != "" && !slices.Contains(i.Scopes, scope):
		return insufficientScope(scope)
	}
	return answer{status: http.StatusOK, header: jsonHeader(), members: []member{
		{"client_id", JSON(i.ClientID)},
		{"scope", JSON(strings.Join(i.Scopes, " "))},
		{"expires_in", JSON(i.expiresIn(now))},
	}}
}

func invalidToken(description string) answer {
	a := errorAnswer("invalid_token", description)
	a.status = http.StatusUnauthorized
	return a
}

func insufficientScope(scope string) answer {
	a := errorAnswer("invalid_scope", fmt.Sprintf("Access to this resource requires scope %q.", scope))
	a.status = http.StatusForbidden
	a.header.Del("WWW-Authenticate")
	return a
}
