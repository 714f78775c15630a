package payutest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is something that goes wrong at the token endpoint, as data: the zero Fault changes nothing, and each field adds
// one thing. Some that have been seen:
//
//	{Error: "invalid_client"}                                        an OAuth error, with Doorkeeper's text and status
//	{Error: "invalid_request", Status: 401}                          one whose status disagrees
//	{Error: "rate_limit_exceeded", Set: {"retry_after": JSON(5)}}    the hint in the body,
//	{Status: 429, Header: {"Retry-After": "120"}}                    in the header, or both
//	{Status: 502, Body: "<html>Bad Gateway</html>"}                  a proxy's page; Status: 200 for a captive portal's
//	{Status: 307, Header: {"Location": "https://elsewhere/"}}        a redirect
//	{Latency: 3 * time.Second}, {Hang: true}                         a late answer, none until the fault is cleared
//	{Set: {"expires_in": json.RawMessage(`"3600"`)}}                 a success with an odd member: 1e4, null, -5,
//	{Set: {"token_type": JSON("mac")}}                               another token type,
//	{Set: {"access_token": JSON("a\r\nb")}}                          odd bytes, or too many,
//	{Omit: []string{"access_token"}}                                 or without a member
//	{Set: {"error": JSON("server_error")}}                           a success that is an error, too
//	{Grant: []string{"read_payment_links"}}                          less than was asked for
//	{Break: BreakReset}, {Break: BreakTruncate}                      a broken connection
//	{Break: BreakReset, AfterIssue: true}                            an answer that was lost on the way
type Fault struct {
	// ClientID is the client that the fault is for; empty is every client. A client's own fault comes before everyone's.
	ClientID string `json:"client_id,omitempty"`
	// Times is the number of requests that meet the fault; 0 is all of them until it is cleared.
	Times int `json:"times,omitempty"`

	// Latency delays the answer, whatever it is. In JSON it is a string such as "1.5s".
	Latency time.Duration `json:"-"`
	// Hang delays the answer until the fault is cleared or the client goes away.
	Hang bool `json:"hang,omitempty"`

	// Error answers with this OAuth error code and Description; empty is Doorkeeper's text.
	Error       string `json:"error,omitempty"`
	Description string `json:"error_description,omitempty"`
	// Status is the HTTP status. Without Error it answers with Body, even an empty one.
	Status int `json:"status,omitempty"`
	// Body answers with these bytes. They are text/html if they start with "<", else application/json.
	Body string `json:"body,omitempty"`
	// Header adds headers to the answer or replaces them; an empty value removes one.
	Header map[string]string `json:"header,omitempty"`
	// Break breaks the connection.
	Break Break `json:"break,omitempty"`
	// AfterIssue has the request handled first: the token is made (and its predecessor revoked), then the fault answers.
	// Otherwise Error, Status, Body and Break, except BreakTruncate, take the place of the server: nothing is checked and
	// nothing made.
	AfterIssue bool `json:"after_issue,omitempty"`

	// Set replaces members of the JSON answer, be it a success or an error, or adds them, as raw JSON.
	Set map[string]json.RawMessage `json:"set,omitempty"`
	// Omit removes members of the JSON answer.
	Omit []string `json:"omit,omitempty"`
	// Grant is the scopes that the token is made for, instead of those that were asked for and allowed. Empty but not nil
	// is none.
	Grant []string `json:"grant,omitzero"`
}

// Validate reports what makes no sense in a fault.
func (f Fault) Validate() error {
	if f.Times < 0 || f.Latency < 0 {
		return fmt.Errorf("fault: negative times or latency")
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("fault: status %d: want 200 to 599", f.Status)
	}
	if !slices.Contains([]Break{"", BreakReset, BreakClose, BreakTruncate, BreakEndless}, f.Break) {
		return fmt.Errorf("fault: break %q: want reset, close, truncate or endless", f.Break)
	}
	for name, value := range f.Set {
		if !json.Valid(value) {
			return fmt.Errorf("fault: set %q: not JSON (raw bytes go into body)", name)
		}
	}
	return nil
}

// faultJSON is a Fault with its latency as text. Its field hides the embedded one.
type faultJSON struct {
	plainFault
	Latency duration `json:"latency,omitzero"`
}

type plainFault Fault

// MarshalJSON writes the latency as a string such as "1.5s".
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultJSON{plainFault(f), duration(f.Latency)})
}

// UnmarshalJSON refuses members it does not know: a misspelt fault would do nothing.
func (f *Fault) UnmarshalJSON(data []byte) error {
	var in faultJSON
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return err
	}
	*f = Fault(in.plainFault)
	f.Latency = time.Duration(in.Latency)
	return nil
}

// standsIn reports whether the fault answers in the server's place.
func (f Fault) standsIn() bool {
	broken := f.Break != "" && f.Break != BreakTruncate
	return f.Error != "" || f.Status != 0 || f.Body != "" || broken
}

// standIn is the answer of a fault that stands in for the server.
func (f Fault) standIn() answer {
	if f.Error != "" && f.Body == "" {
		return f.withStatus(errorAnswer(f.Error, f.Description))
	}
	contentType := "application/json; charset=utf-8"
	if strings.HasPrefix(f.Body, "<") {
		contentType = "text/html; charset=utf-8"
	}
	return f.withStatus(answer{
		outcome: f.outcome(), status: http.StatusOK, raw: []byte(f.Body), header: http.Header{"Content-Type": {contentType}},
	})
}

func (f Fault) withStatus(a answer) answer {
	if f.Status != 0 {
		a.status = f.Status
	}
	return a
}

// outcome names a fault that stands in for the server in counters and logs: its error code, "reset" or "http_502".
func (f Fault) outcome() string {
	switch {
	case f.Error != "":
		return f.Error
	case f.Break != "":
		return string(f.Break)
	}
	return fmt.Sprintf("http_%d", max(f.Status, http.StatusOK))
}

// alter changes an answer, be it the server's or the fault's own.
func (f Fault) alter(a answer) answer {
	if a.members != nil {
		for _, name := range sortedKeys(f.Set) {
			a.set(name, f.Set[name])
		}
		for _, name := range f.Omit {
			a.omit(name)
		}
	}
	for name, value := range f.Header {
		name = http.CanonicalHeaderKey(name)
		a.header[name] = []string{value}
		if value == "" {
			a.header[name] = nil // a nil entry also keeps net/http from guessing a Content-Type
		}
	}
	if f.Break != "" {
		a.breaks, a.outcome = f.Break, f.outcome()
	}
	return a
}
