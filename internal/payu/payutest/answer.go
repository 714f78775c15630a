package payutest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Outcomes of a token request that are neither an OAuth error code nor a fault's name.
const (
	OutcomeSuccess   = "success"   // a new token was issued
	OutcomeReused    = "reused"    // an existing token was returned
	OutcomeAbandoned = "abandoned" // the client disconnected while it was waiting
)

// answer is a response before it is sent: a JSON object, unless a raw body takes its place.
type answer struct {
	outcome string
	status  int
	header  http.Header
	members []member
	raw     []byte
	breaks  Break
}

// member is one member of a JSON object; a slice of them keeps the order of Doorkeeper's responses.
type member struct {
	name  string
	value json.RawMessage
}

// JSON returns v encoded as JSON, for the Set map of a Fault. It panics if v cannot be encoded.
func JSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// jsonHeader returns the headers that Doorkeeper sets on every response of the token endpoint.
func jsonHeader() http.Header {
	return http.Header{
		"Content-Type":  {"application/json; charset=utf-8"},
		"Cache-Control": {"no-store"},
		"Pragma":        {"no-cache"},
	}
}

// tokenAnswer is RFC 6749 section 5.1 as Doorkeeper's TokenResponse fills it in: no refresh token, and no scope where
// none applied.
func tokenAnswer(i Issued, outcome string, now time.Time) answer {
	a := answer{outcome: outcome, status: http.StatusOK, header: jsonHeader(), members: []member{
		{"access_token", JSON(i.Token)},
		{"token_type", JSON("Bearer")},
		{"expires_in", JSON(i.expiresIn(now))},
	}}
	if len(i.Scopes) > 0 {
		a.members = append(a.members, member{"scope", JSON(strings.Join(i.Scopes, " "))})
	}
	a.members = append(a.members, member{"created_at", JSON(i.IssuedAt.Unix())})
	return a
}

// set replaces the value of a member, or adds the member at the end.
func (a *answer) set(name string, value json.RawMessage) {
	n := slices.IndexFunc(a.members, func(m member) bool { return m.name == name })
	if n < 0 {
		a.members = append(a.members, member{name, value})
		return
	}
	a.members[n].value = value
}

func (a *answer) omit(name string) {
	a.members = slices.DeleteFunc(a.members, func(m member) bool { return m.name == name })
}

// body returns the bytes to send.
func (a answer) body() []byte {
	if a.members == nil {
		return a.raw
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for n, m := range a.members {
		if n > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%s", JSON(m.name), m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// send writes the response, whole or broken.
func (a answer) send(w http.ResponseWriter, r *http.Request) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	body := a.body()
	switch a.breaks {
	case BreakReset:
		reset(w)
	case BreakClose:
		panic(http.ErrAbortHandler)
	case BreakTruncate:
		truncate(w, a.status, body)
	case BreakEndless:
		endless(w, r, a.status, body)
	default:
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(a.status)
		w.Write(body)
	}
}
