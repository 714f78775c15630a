package payutest

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Config is how a Server starts. The zero value is PayU as its documentation shows it: Default mode, tokens that are valid
// for two hours, no clients.
type Config struct {
	Clients []Client
	Mode    Mode
	// TokenTTL is the lifetime of a new token; 0 means two hours.
	TokenTTL time.Duration
	// ReuseLimitPercent is how much of its lifetime Reuse mode reuses a token; 0 and 100 mean all of it. After that it
	// issues a new one, while the old one stays valid (Doorkeeper: token_reuse_limit).
	ReuseLimitPercent int
	// WholeSeconds drops the fraction of a token's time of issue, as a database column without fractions does: a fresh
	// token may then state one second less than its lifetime.
	WholeSeconds bool
	// Latency delays every response of the token endpoint, by real time. In RevokePrevious mode it is also the time during
	// which requests interfere with each other.
	Latency time.Duration
	// Omit and JWT are those of the Settings.
	Omit string
	JWT  bool
	// Clock is the clock by which tokens expire; nil means time.Now.
	Clock func() time.Time
	// Keep limits memory: the server remembers about that many dead tokens and handled requests, and all live tokens. 0
	// means everything, as tests need it.
	Keep int
	// Logger gets one record per token request, without secrets and tokens; nil means none.
	Logger *slog.Logger
}

// Server simulates PayU. It may be used by many goroutines, and changed while requests run.
type Server struct {
	mux          *http.ServeMux
	clock        func() time.Time
	wholeSeconds bool
	logger       *slog.Logger

	mu       sync.Mutex // guards what follows
	settings Settings
	clients  map[string]Client
	tokens   tokens
	faults   faults
	ledger   ledger
	wake     chan struct{} // closed when the counters change; nil if nothing waits
}

// New returns a server, to be served by the caller; Run and Listen do that, too.
func New(c Config) *Server {
	s := &Server{
		clock: c.Clock, wholeSeconds: c.WholeSeconds, logger: c.Logger,
		settings: Settings{Mode: Default, TokenTTL: c.TokenTTL, ReuseLimitPercent: c.ReuseLimitPercent, Latency: c.Latency, Omit: c.Omit, JWT: c.JWT},
		clients:  map[string]Client{}, tokens: newTokens(c.Keep), ledger: newLedger(c.Keep),
	}
	if c.Mode != "" {
		s.settings.Mode = c.Mode
	}
	if s.settings.TokenTTL == 0 {
		s.settings.TokenTTL = 2 * time.Hour
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	for _, client := range c.Clients {
		s.PutClient(client)
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("POST /oauth/token", s.token)
	s.mux.HandleFunc("GET /resource", s.resource)
	s.mux.HandleFunc("GET /healthz", healthz)
	return s
}

// ServeHTTP serves the token endpoint, the resource and /healthz.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mux.ServeHTTP(w, r)
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Write([]byte("ok\n"))
}

// Reset forgets tokens, faults, requests and counters. Clients and settings stay.
func (s *Server) Reset() {
	s.ClearFaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = newTokens(s.tokens.keep)
	s.ledger.reset()
}

// now is the time in UTC, to the microsecond like a database column and without a monotonic reading, which would hide a
// step of the clock.
func (s *Server) now() time.Time {
	return s.clock().UTC().Truncate(time.Microsecond)
}

// token serves the token endpoint.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	e := s.arrive(readTokenRequest(w, r))
	a, err := s.answer(r.Context(), e)
	s.log(r.Context(), e, a, time.Since(start))
	if err != nil {
		panic(http.ErrAbortHandler) // the client has disconnected
	}
	a.send(w, r)
}

func (s *Server) log(ctx context.Context, e exchange, a answer, took time.Duration) {
	s.logger.InfoContext(ctx, "token request", "client_id", e.request.clientID, "scope", e.grant().scopes,
		"outcome", a.outcome, "status", a.status, "duration", took.Round(time.Microsecond).String())
}
