package payutest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Settings is the part of a Config that can change while the server runs. The admin API shows durations as strings ("1m30s").
type Settings struct {
	Mode              Mode
	TokenTTL          time.Duration
	ReuseLimitPercent int
	Latency           time.Duration
	// Omit names the members that token responses leave out, separated by commas: expires_in, scope, created_at.
	Omit string
	// JWT makes tokens JSON Web Tokens, as PayU's are for partner_payments.
	JWT bool
}

// omittable are the members of a token response that PayU's samples leave out, or that a server may (RFC 6749 section 5.1).
var omittable = []string{"expires_in", "scope", "created_at"}

// omitted returns the members to leave out.
func (s Settings) omitted() []string {
	return strings.FieldsFunc(s.Omit, func(r rune) bool { return r == ',' })
}

func (s Settings) reuseLimit() int {
	if s.ReuseLimitPercent == 0 {
		return 100
	}
	return s.ReuseLimitPercent
}

// Validate reports settings under which the server could not work.
func (s Settings) Validate() error {
	if _, err := ParseMode(string(s.Mode)); err != nil {
		return err
	}
	if s.TokenTTL <= 0 {
		return fmt.Errorf("token TTL %s: want more than 0", s.TokenTTL)
	}
	if s.ReuseLimitPercent < 0 || s.ReuseLimitPercent > 100 {
		return fmt.Errorf("reuse limit %d: want 0 to 100 percent", s.ReuseLimitPercent)
	}
	for _, name := range s.omitted() {
		if !slices.Contains(omittable, name) {
			return fmt.Errorf("omit %q: want some of %s", name, strings.Join(omittable, ","))
		}
	}
	if s.Latency < 0 {
		return fmt.Errorf("latency %s: want 0 or more", s.Latency)
	}
	return nil
}

// Settings returns the current settings.
func (s *Server) Settings() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// SetMode changes the mode. It applies to existing tokens, too: Reuse returns them, RevokePrevious revokes them.
func (s *Server) SetMode(m Mode) {
	s.set(func(s *Settings) { s.Mode = m })
}

// SetTokenTTL changes the lifetime of future tokens.
func (s *Server) SetTokenTTL(ttl time.Duration) {
	s.set(func(s *Settings) { s.TokenTTL = ttl })
}

// SetReuseLimit changes Config.ReuseLimitPercent, also for tokens that exist.
func (s *Server) SetReuseLimit(percent int) {
	s.set(func(s *Settings) { s.ReuseLimitPercent = percent })
}

// SetLatency changes the delay of future requests.
func (s *Server) SetLatency(d time.Duration) {
	s.set(func(s *Settings) { s.Latency = d })
}

// SetOmit changes Settings.Omit.
func (s *Server) SetOmit(members string) {
	s.set(func(s *Settings) { s.Omit = members })
}

func (s *Server) set(change func(*Settings)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.settings)
}

// settingsPatch is Settings on the wire; what is absent stays as it is.
type settingsPatch struct {
	Mode              *Mode     `json:"mode,omitempty"`
	TokenTTL          *duration `json:"token_ttl,omitempty"`
	ReuseLimitPercent *int      `json:"reuse_limit_percent,omitempty"`
	Latency           *duration `json:"latency,omitempty"`
	Omit              *string   `json:"omit,omitempty"`
	JWT               *bool     `json:"jwt,omitempty"`
}

func patchOf(s Settings) settingsPatch {
	ttl, latency := duration(s.TokenTTL), duration(s.Latency)
	return settingsPatch{Mode: &s.Mode, TokenTTL: &ttl, ReuseLimitPercent: &s.ReuseLimitPercent, Latency: &latency, Omit: &s.Omit, JWT: &s.JWT}
}

func (p settingsPatch) applied(s Settings) Settings {
	if p.Mode != nil {
		s.Mode = *p.Mode
	}
	if p.TokenTTL != nil {
		s.TokenTTL = time.Duration(*p.TokenTTL)
	}
	if p.ReuseLimitPercent != nil {
		s.ReuseLimitPercent = *p.ReuseLimitPercent
	}
	if p.Latency != nil {
		s.Latency = time.Duration(*p.Latency)
	}
	if p.Omit != nil {
		s.Omit = *p.Omit
	}
	if p.JWT != nil {
		s.JWT = *p.JWT
	}
	return s
}

// patch changes several settings at once, or none if the result is not valid.
func (s *Server) patch(p settingsPatch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	settings := p.applied(s.settings)
	if err := settings.Validate(); err != nil {
		return err
	}
	s.settings = settings
	return nil
}
