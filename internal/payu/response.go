package payu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody        = 64 << 10
	maxAccessToken = 16 << 10
)

// LongestLife is the longest life of a token: a longer one is taken for this.
const LongestLife = 30 * 24 * time.Hour

// answer is what came back for a token request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// message is the JSON of RFC 6749 sections 5.1 and 5.2. Fields whose type varies in the wild stay raw.
// created_at is left out: in reuse mode it belongs to the token's first request.
type message struct {
	AccessToken string          `json:"access_token"`
	TokenType   string          `json:"token_type"`
	ExpiresIn   json.RawMessage `json:"expires_in"`
	Scope       string          `json:"scope"`
	Error       json.RawMessage `json:"error"`
	RetryAfter  json.RawMessage `json:"retry_after"`
}

// decode returns the token in an answer to a request for scopes that was sent at the given moment, or an
// *Error. The code in "error" decides, the HTTP status only without one: Doorkeeper's do not always agree.
func decode(a answer, scopes []string, sentAt time.Time) (Token, error) {
	var m message
	// Where a member is of another type, Unmarshal still fills in the others.
	notJSON := json.Unmarshal(a.body, &m) != nil || !bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("{"))
	if code := errorCode(m.Error); code != "" {
		return Token{}, codeError(code, retryAfter(a.header, m.RetryAfter, sentAt))
	}
	if err := statusError(a, m, sentAt); err != nil {
		return Token{}, err
	}
	switch {
	case len(a.body) > maxBody:
		return Token{}, invalid("PayU's response is larger than 64 KiB")
	case notJSON:
		return Token{}, invalid("PayU's response is not a JSON object of the expected form")
	case isSet(m.Error):
		return Token{}, invalid("PayU's response holds an error without a code")
	}
	return decodeToken(m, scopes, sentAt)
}

// decodeToken returns the token. Where PayU leaves expires_in out, its life is unstated. With an expires_in below 1 it returns the
// token and an error: at the end of a token's life a server that reuses tokens says 0, which is no failure for a source that knows that token.
func decodeToken(m message, scopes []string, sentAt time.Time) (Token, error) {
	if err := checkAccessToken(m.AccessToken); err != nil {
		return Token{}, err
	}
	if !strings.EqualFold(m.TokenType, "Bearer") {
		return Token{}, invalid("token_type is not Bearer")
	}
	granted, err := grantedScope(m.Scope, scopes)
	if err != nil {
		return Token{}, err
	}
	token := Token{AccessToken: m.AccessToken, Type: "Bearer", Scope: granted, FetchedAt: sentAt.UTC().Truncate(time.Second)}
	if token.LifeUnstated = !isSet(m.ExpiresIn); token.LifeUnstated {
		return token, nil
	}
	noLife := invalid("expires_in is not a positive number of seconds")
	life, isNumber := parseLife(m.ExpiresIn)
	if !isNumber {
		return Token{}, noLife
	}
	token.ExpiresAt, token.EndsAfter = token.FetchedAt.Add(life), sentAt.Add(life)
	if life == 0 {
		return token, noLife
	}
	return token, nil
}

func invalid(detail string) *Error { return &Error{Reason: InvalidResponse, Detail: detail} }

func isSet(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// errorCode returns the code in "error", empty if there is none. A code of another form than RFC 6749's own
// (words and underscores) is not repeated: nobody knows what a server puts there.
func errorCode(raw json.RawMessage) string {
	var code string
	if json.Unmarshal(raw, &code) != nil || code == "" {
		return ""
	}
	ofKnownForm := len(code) <= 40 && strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") == ""
	if !ofKnownForm {
		return "(of unknown form)"
	}
	return code
}

func codeError(code string, after time.Duration) *Error {
	e := &Error{Reason: OAuthError, Detail: "PayU answered " + code, RetryAfter: after}
	switch code {
	case "invalid_client":
		e.Reason = InvalidClient
	case "invalid_scope":
		e.Reason = InvalidScope
	case "unauthorized_client":
		e.Reason = UnauthorizedClient
	case "invalid_request":
		e.Reason = InvalidRequest
	case "unsupported_grant_type":
		e.Reason = UnsupportedGrantType
	case "rate_limit_exceeded", "slow_down":
		e.Reason = RateLimited
	case "server_error", "temporarily_unavailable", "invalid_token_reuse":
		e.Reason = ServerError
	}
	return e
}

// statusError judges an answer without an error code by its HTTP status; nil for a 2xx.
func statusError(a answer, m message, sentAt time.Time) error {
	e := &Error{Detail: fmt.Sprintf("PayU answered HTTP %d without an error code", a.status)}
	switch {
	case a.status >= 200 && a.status < 300:
		return nil
	case a.status >= 300 && a.status < 400:
		return invalid(fmt.Sprintf("PayU answered with a redirect (HTTP %d), which is not followed", a.status))
	case a.status == http.StatusTooManyRequests:
		e.Reason = RateLimited
	case a.status >= 500, a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly:
		e.Reason = ServerError
	default:
		return invalid(e.Detail)
	}
	e.RetryAfter = retryAfter(a.header, m.RetryAfter, sentAt)
	return e
}

// checkAccessToken accepts the b64token of RFC 6750 section 2.1, up to 16 KiB.
func checkAccessToken(s string) error {
	bare := strings.TrimRight(s, "=")
	switch {
	case s == "":
		return invalid("access_token is missing")
	case len(s) > maxAccessToken:
		return invalid("access_token is longer than 16 KiB")
	case bare == "" || strings.ContainsFunc(bare, func(r rune) bool { return !isB64Token(r) }):
		return invalid("access_token holds characters that no bearer token has")
	}
	return nil
}

func isB64Token(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r < 0x80 && strings.ContainsRune("-._~+/", r)
}

// parseLife reads expires_in, which occurs as an integer, a float and a string, in whole seconds: from 0 to 30 days. ok is false if it
// is not a number.
func parseLife(raw json.RawMessage) (life time.Duration, ok bool) {
	seconds, ok := parseSeconds(raw)
	return time.Duration(max(0, min(seconds, LongestLife.Seconds()))) * time.Second, ok
}

// parseSeconds reads a decimal number that may stand in quotes. One too large for a float64 is infinite.
func parseSeconds(raw json.RawMessage) (float64, bool) {
	s := strings.Trim(string(raw), `"`)
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

// grantedScope returns the granted scope. A missing one is as asked (RFC 6749 section 5.1); one that lacks a
// scope which was asked for is ScopeReduced. Order and repetition do not matter.
func grantedScope(scope string, asked []string) (string, error) {
	granted := strings.Fields(scope)
	if len(granted) == 0 {
		return strings.Join(asked, " "), nil
	}
	if strings.ContainsFunc(scope, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
		return "", invalid("scope holds characters that no scope has")
	}
	for _, s := range asked {
		if !slices.Contains(granted, s) {
			return "", &Error{Reason: ScopeReduced, Detail: fmt.Sprintf("PayU did not grant the scope %q", s)}
		}
	}
	return strings.Join(granted, " "), nil
}

// retryAfter returns the larger of the Retry-After header (seconds or date, RFC 9110 section 10.2.3) and the
// body's retry_after (seconds), held to the floor of 5 s to 1 h; 0 if neither says anything usable.
func retryAfter(header http.Header, body json.RawMessage, now time.Time) time.Duration {
	var wait float64
	if s, ok := parseSeconds(body); ok {
		wait = s
	}
	value := header.Get("Retry-After")
	if s, ok := parseSeconds(json.RawMessage(value)); ok {
		wait = max(wait, s)
	} else if date, err := http.ParseTime(value); err == nil {
		wait = max(wait, date.Sub(now).Seconds())
	}
	if wait <= 0 {
		return 0
	}
	return time.Duration(min(max(wait, Floor.Seconds()), LongestBackOff.Seconds()) * float64(time.Second))
}
