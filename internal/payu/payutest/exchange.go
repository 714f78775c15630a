package payutest

import (
	"context"
	"slices"
	"time"
)

// exchange is a token request that is being handled.
type exchange struct {
	request    tokenRequest
	receivedAt time.Time
	latency    time.Duration
	fault      *fault
	// previous is the token that the client had with that scope set when the request arrived. Doorkeeper looks it up
	// before it takes the lock under which it revokes it; the second request then finds it revoked.
	previous *Issued
}

func (e exchange) grant() grant { return grantFor(e.request.clientID, e.request.scopes) }

// arrive records the request as in flight and looks up the previous token.
func (s *Server) arrive(r tokenRequest) exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := exchange{request: r, receivedAt: s.now(), latency: s.settings.Latency, fault: s.faults.take(r.clientID)}
	e.previous = s.tokens.unrevoked(e.grant())
	s.ledger.arrived(e.grant())
	s.changed()
	return e
}

// answer waits as long as the fault says, and then decides. An error means that the client disconnected.
func (s *Server) answer(ctx context.Context, e exchange) (answer, error) {
	waitErr := e.fault.wait(ctx, e.latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := answer{outcome: OutcomeAbandoned}
	if waitErr == nil {
		a = e.fault.alter(s.decide(e))
	}
	g := e.grant()
	s.faults.release(e.fault)
	s.ledger.handled(Request{
		ClientID: g.clientID, Scope: g.scopes, ReceivedAt: e.receivedAt, Outcome: a.outcome, Status: a.status,
	})
	s.changed()
	return a, waitErr
}

// decide returns the response of the server, or of the fault.
func (s *Server) decide(e exchange) answer {
	if e.fault.standsIn() && !e.fault.AfterIssue {
		return e.fault.standIn()
	}
	a := s.handle(e)
	if e.fault.standsIn() {
		return e.fault.standIn()
	}
	return a
}

// handle is the token endpoint without faults: it refuses, or issues a token.
func (s *Server) handle(e exchange) answer {
	if code, description := s.refusal(e.request); code != "" {
		return errorAnswer(code, description)
	}
	scopes := e.request.scopes
	if e.fault.Grant != nil {
		scopes = e.fault.Grant
	}
	return s.issue(e, scopes)
}

// refusal checks a request in Doorkeeper's order and returns the error code of the first check that fails, or "". A bad
// scope among good ones is not dropped, it fails the request.
func (s *Server) refusal(r tokenRequest) (code, description string) {
	client, known := s.clients[r.clientID]
	authentic := client.authenticates(r.clientSecret)
	switch {
	case r.grantType == "":
		return "invalid_request", "Missing required parameter: grant_type."
	case r.grantType != "client_credentials":
		return "unsupported_grant_type", ""
	case !known || !authentic || client.Disabled:
		return "invalid_client", ""
	case client.Unauthorized:
		return "unauthorized_client", ""
	case !client.mayHave(r.scopes):
		return "invalid_scope", ""
	}
	return "", ""
}

// issue issues a token as the mode says (Doorkeeper: ClientCredentials::Creator).
func (s *Server) issue(e exchange, scopes []string) answer {
	clientID, now := e.request.clientID, s.now()
	current := s.tokens.unrevoked(grantFor(clientID, scopes))
	switch {
	case s.settings.Mode == Reuse && current != nil && current.reusableAt(now, s.settings.reuseLimit()):
		return s.shaped(tokenAnswer(*current, OutcomeReused, now))
	case s.settings.Mode == RevokePrevious && e.previous != nil && e.previous.revoked():
		return errorAnswer("invalid_token_reuse", "")
	case s.settings.Mode == RevokePrevious && current != nil:
		current.RevokedAt = now
	}
	issuedAt := now
	if s.wholeSeconds {
		issuedAt = now.Truncate(time.Second)
	}
	token := newToken()
	if s.settings.JWT {
		token = newJWT()
	}
	made := s.tokens.add(token, clientID, slices.Clone(scopes), issuedAt, s.settings.TokenTTL)
	return s.shaped(tokenAnswer(*made, OutcomeSuccess, now))
}

// shaped leaves out of a token response what the settings say.
func (s *Server) shaped(a answer) answer {
	for _, name := range s.settings.omitted() {
		a.omit(name)
	}
	return a
}
