package payu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	asked  = []string{"create_payment_links", "read_payment_links"}
	sentAt = time.Date(2026, 3, 1, 12, 0, 0, 789_000_000, time.FixedZone("IST", 5*3600+1800))
	// fetchedAt is sentAt as a Token has it.
	fetchedAt = time.Date(2026, 3, 1, 6, 30, 0, 0, time.UTC)
)

// body is PayU's sample answer with some members changed; an empty value removes one.
func body(changes ...string) []byte {
	members := []string{"access_token", `"abc"`, "token_type", `"Bearer"`, "expires_in", "7011",
		"scope", `"create_payment_links read_payment_links"`, "created_at", "1763036368"}
	members = append(members, changes...)
	value := map[string]string{}
	for n := 0; n < len(members); n += 2 {
		value[members[n]] = members[n+1]
	}
	var b bytes.Buffer
	for n := 0; n < len(members); n += 2 {
		if v := value[members[n]]; v != "" {
			fmt.Fprintf(&b, ",%q:%s", members[n], v)
			delete(value, members[n])
		}
	}
	return append(append([]byte{'{'}, b.Bytes()[min(1, b.Len()):]...), '}')
}

func good(scope string, life time.Duration) Token {
	return Token{
		AccessToken: "abc", Type: "Bearer", Scope: scope,
		FetchedAt: fetchedAt, ExpiresAt: fetchedAt.Add(life), EndsAfter: sentAt.Add(life),
	}
}

const (
	bothScopes = "create_payment_links read_payment_links"
	sampleLife = 7011 * time.Second
)

func TestDecodeTakesTokens(t *testing.T) {
	ab := good(bothScopes, sampleLife)
	lasting := func(life time.Duration) Token { return good(bothScopes, life) }
	long := strings.Repeat("t", 16<<10)
	longest := ab
	longest.AccessToken = long
	unstated := ab
	unstated.ExpiresAt, unstated.EndsAfter, unstated.LifeUnstated = time.Time{}, time.Time{}, true
	odd := ab
	odd.AccessToken = "azAZ09-._~+/=="
	tests := map[string]struct {
		reason string
		body   []byte
		want   Token
	}{
		"PayU's sample":                      {"1: created_at is of no use", body(), ab},
		"no created_at":                      {"1", body("created_at", ""), ab},
		"created_at ahead":                   {"1", body("created_at", "9999999999"), ab},
		"created_at of another type":         {"1", body("created_at", `"yesterday"`), ab},
		"expires_in as a string":             {"12", body("expires_in", `"3600"`), lasting(time.Hour)},
		"expires_in as a float":              {"12", body("expires_in", "3600.9"), lasting(time.Hour)},
		"expires_in as a string of a":        {"12: float", body("expires_in", `"3600.0"`), lasting(time.Hour)},
		"expires_in with an exponent":        {"12", body("expires_in", "1e4"), lasting(10000 * time.Second)},
		"expires_in of one second":           {"12: positive", body("expires_in", "1"), lasting(time.Second)},
		"expires_in of 30 days":              {"12", body("expires_in", "2592000"), lasting(30 * 24 * time.Hour)},
		"expires_in of 30 days and a second": {"12: treated as 30 days", body("expires_in", "2592001"), lasting(30 * 24 * time.Hour)},
		"expires_in of 3000 years":           {"12: treated as 30 days", body("expires_in", "99999999999"), lasting(30 * 24 * time.Hour)},
		"expires_in beyond any integer":      {"12: treated as 30 days", body("expires_in", "1e300"), lasting(30 * 24 * time.Hour)},
		"expires_in beyond any float":        {"12: treated as 30 days", body("expires_in", "1e999"), lasting(30 * 24 * time.Hour)},
		"every character of a b64token":      {"17", body("access_token", `"azAZ09-._~+/=="`), odd},
		"a token of 16 KiB":                  {"17", body("access_token", `"`+long+`"`), longest},
		"token_type in lower case":           {"18", body("token_type", `"bearer"`), ab},
		"no expires_in":                      {"RFC 6749 section 5.1: recommended, and never valid for ever (12)", body("expires_in", ""), unstated},
		"expires_in null":                    {"likewise", body("expires_in", "null"), unstated},
		"token_type in upper case":           {"18", body("token_type", `"BEARER"`), ab},
		"no scope":                           {"18: then it is as asked", body("scope", ""), ab},
		"scope null":                         {"18: likewise", body("scope", "null"), ab},
		"scope empty":                        {"18: likewise", body("scope", `""`), ab},
		"scope in another order":             {"18: scopes compare as sets", body("scope", `"read_payment_links create_payment_links"`), good("read_payment_links create_payment_links", sampleLife)},
		"more scopes than asked":             {"18: none is missing", body("scope", `"x create_payment_links read_payment_links"`), good("x create_payment_links read_payment_links", sampleLife)},
		"scope with wide gaps":               {"18", body("scope", `" create_payment_links   read_payment_links "`), ab},
		"error null":                         {"18: that is no error", body("error", "null"), ab},
		"members that nobody knows":          {"the future", body("refresh_token", `{"a":[1]}`), ab},
		"blanks around":                      {"JSON allows them", append(append([]byte(" \r\n\t"), body()...), '\n'), ab},
		"retry_after beside a token":         {"it is of no use there", body("retry_after", "60"), ab},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, status := range []int{200, 201} {
				got, err := decode(answer{status: status, body: test.body}, asked, sentAt)
				if err != nil || got != test.want {
					t.Errorf("%s: HTTP %d: got %+v, %v\nwant %+v", test.reason, status, plain(got), err, plain(test.want))
				}
			}
		})
	}
}

// plain prints.
func plain(t Token) any {
	type shown Token
	return shown(t)
}

const (
	noObject = "PayU's response is not a JSON object of the expected form"
	noToken  = "access_token is missing"
	oddToken = "access_token holds characters that no bearer token has"
	noBearer = "token_type is not Bearer"
	noLife   = "expires_in is not a positive number of seconds"
	oddScope = "scope holds characters that no scope has"
	noCode   = "PayU's response holds an error without a code"
)

func TestDecodeRefusesTokens(t *testing.T) {
	tests := map[string]struct {
		reason string
		body   []byte
		want   string
	}{
		"nothing":                      {"15", nil, noObject},
		"HTML":                         {"15", []byte("<html></html>"), noObject},
		"null":                         {"15: valid JSON, but no object", []byte("null"), noObject},
		"a string":                     {"15", []byte(`"abc"`), noObject},
		"a list":                       {"15", []byte(`[` + string(body()) + `]`), noObject},
		"a form":                       {"RFC 6749 wants JSON", []byte("access_token=abc&token_type=Bearer&expires_in=7200"), noObject},
		"an object and more":           {"15", append(body(), '}'), noObject},
		"half an object":               {"15", body()[:20], noObject},
		"an empty object":              {"18", []byte("{}"), noToken},
		"no access_token":              {"18", body("access_token", ""), noToken},
		"access_token null":            {"18", body("access_token", "null"), noToken},
		"access_token empty":           {"18", body("access_token", `""`), noToken},
		"access_token of another type": {"18", body("access_token", "12"), noObject},
		"a token with LF":              {"17", body("access_token", `"a\nb"`), oddToken},
		"a token with CR":              {"17", body("access_token", `"a\rb"`), oddToken},
		"a token with a line end":      {"17: it is not ours to trim", body("access_token", `"ab\r\n"`), oddToken},
		"a token with a space":         {"17", body("access_token", `"a b"`), oddToken},
		"a token with NUL":             {"17", body("access_token", `"a\u0000"`), oddToken},
		"a token with a quote":         {"17", body("access_token", `"a\"b"`), oddToken},
		"a token with a comma":         {"17", body("access_token", `"a,b"`), oddToken},
		"a token outside ASCII":        {"17", body("access_token", `"aé"`), oddToken},
		"a token that is no UTF-8":     {"17", body("access_token", "\"a\xff\""), oddToken},
		"a token with = within":        {"17: b64token has it at the end only", body("access_token", `"a=b"`), oddToken},
		"a token of = alone":           {"17", body("access_token", `"=="`), oddToken},
		"a token of 16 KiB and a byte": {"17", body("access_token", `"`+strings.Repeat("t", 16<<10+1)+`"`), "access_token is longer than 16 KiB"},
		"no token_type":                {"RFC 6749 requires it", body("token_type", ""), noBearer},
		"token_type mac":               {"18", body("token_type", `"mac"`), noBearer},
		"token_type Bearer and more":   {"18", body("token_type", `"Bearer "`), noBearer},
		"token_type of another type":   {"18", body("token_type", "1"), noObject},
		"expires_in no number":         {"12: never valid for ever", body("expires_in", `"never"`), noLife},
		"expires_in empty":             {"12", body("expires_in", `""`), noLife},
		"expires_in in words":          {"12", body("expires_in", `"2h"`), noLife},
		"expires_in NaN":               {"12: strconv would take it", body("expires_in", `"NaN"`), noLife},
		"expires_in Inf":               {"12: strconv would take it", body("expires_in", `"Inf"`), noLife},
		"expires_in in hexadecimal":    {"12: strconv would take it", body("expires_in", `"0x10p4"`), noLife},
		"expires_in with underscores":  {"12", body("expires_in", `"7_200"`), noLife},
		"expires_in with a blank":      {"12", body("expires_in", `" 7200"`), noLife},
		"expires_in true":              {"12", body("expires_in", "true"), noLife},
		"expires_in as a list":         {"12", body("expires_in", "[7200]"), noLife},
		"expires_in of signs":          {"12", body("expires_in", `"-"`), noLife},
		"scope with a tab":             {"a label or a log may show it", body("scope", `"`+asked[0]+`\t`+asked[1]+`"`), oddScope},
		"scope with a no-break space":  {"likewise", body("scope", `"`+asked[0]+`\u00a0`+asked[1]+`"`), oddScope},
		"scope with a quote":           {"likewise", body("scope", `"`+bothScopes+` a\"b"`), oddScope},
		"scope with a backslash":       {"likewise", body("scope", `"`+bothScopes+` a\\b"`), oddScope},
		"scope as a list":              {"18", body("scope", `["a"]`), noObject},
		"error empty":                  {"18: half an error", body("error", `""`), noCode},
		"error as an object":           {"18: no code", body("error", `{"code":"invalid_client"}`), noCode},
		"error as a number":            {"18: no code", body("error", "500"), noCode},
		"error true":                   {"18: no code", body("error", "true"), noCode},
		"too large":                    {"15", append(body(), bytes.Repeat([]byte(" "), maxBody)...), "PayU's response is larger than 64 KiB"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := decode(answer{status: 200, body: test.body}, asked, sentAt)
			want := &Error{Reason: InvalidResponse, Detail: test.want}
			if !reflect.DeepEqual(err, error(want)) || got != (Token{}) {
				t.Errorf("%s: got %+v, %v\nwant %v", test.reason, plain(got), err, want)
			}
		})
	}
}

// TestDecodeReturnsATokenThatHasExpired beside the error: whoever knows it has a token that expires, and no failure (trap 2). An
// expires_in that is no number says nothing of the token's life, and gives none.
func TestDecodeReturnsATokenThatHasExpired(t *testing.T) {
	tests := map[string]struct{ reason, expiresIn string }{
		"expires_in 0":              {"12, 2: dead on arrival", "0"},
		"expires_in \"0\"":          {"12", `"0"`},
		"expires_in negative":       {"12", "-1"},
		"expires_in far below 0":    {"12", "-1e999"},
		"expires_in below a second": {"12: rounded down it is 0", "0.9"},
		"expires_in tiny":           {"12", "1e-999"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := decode(answer{status: 200, body: body("expires_in", test.expiresIn)}, asked, sentAt)
			want, token := &Error{Reason: InvalidResponse, Detail: noLife}, good(bothScopes, 0)
			if !reflect.DeepEqual(err, error(want)) || got != token {
				t.Errorf("%s: got %+v, %v\nwant %+v, %v", test.reason, plain(got), err, plain(token), want)
			}
		})
	}
}

// TestDecodeCodes is traps 18 and 19: the code decides, whatever the HTTP status and whatever else is there.
func TestDecodeCodes(t *testing.T) {
	tests := map[string]struct {
		want   Reason
		detail string
	}{
		"invalid_client":          {InvalidClient, ""},
		"invalid_scope":           {InvalidScope, ""},
		"unauthorized_client":     {UnauthorizedClient, ""},
		"invalid_request":         {InvalidRequest, ""},
		"unsupported_grant_type":  {UnsupportedGrantType, ""},
		"rate_limit_exceeded":     {RateLimited, ""},
		"slow_down":               {RateLimited, ""},
		"server_error":            {ServerError, ""},
		"temporarily_unavailable": {ServerError, ""},
		"invalid_token_reuse":     {ServerError, ""},
		"access_denied":           {OAuthError, ""},
		"invalid_grant":           {OAuthError, ""},
		strings.Repeat("x", 40):   {OAuthError, ""},

		strings.Repeat("x", 41):        {OAuthError, "(of unknown form)"},
		"INVALID_CLIENT":               {OAuthError, "(of unknown form)"},
		"invalid_client ":              {OAuthError, "(of unknown form)"},
		"invalid client":               {OAuthError, "(of unknown form)"},
		"invalid_client\n":             {OAuthError, "(of unknown form)"},
		"client s3cret":                {OAuthError, "(of unknown form)"},
		"invalid-client":               {OAuthError, "(of unknown form)"},
		"ungültig":                     {OAuthError, "(of unknown form)"},
		"<script>":                     {OAuthError, "(of unknown form)"},
		"https://payu.in/e?secret=abc": {OAuthError, "(of unknown form)"},
	}
	for code, test := range tests {
		t.Run(code, func(t *testing.T) {
			want := &Error{Reason: test.want, Detail: "PayU answered " + code}
			if test.detail != "" {
				want.Detail = "PayU answered " + test.detail
			}
			quoted, _ := json.Marshal(code)
			for where, body := range map[string][]byte{
				"alone":                          fmt.Appendf(nil, `{"error":%s,"error_description":"d"}`, quoted),
				"beside a good token":            body("error", string(quoted)),
				"beside members of other types":  fmt.Appendf(nil, `{"scope":["a"],"access_token":1,"token_type":{},"error":%s}`, quoted),
				"in an answer that is too large": append(body("error", string(quoted)), bytes.Repeat([]byte(" "), maxBody)...),
			} {
				for _, status := range []int{200, 302, 400, 401, 404, 429, 500} {
					_, err := decode(answer{status: status, body: body}, asked, sentAt)
					if !reflect.DeepEqual(err, error(want)) {
						t.Errorf("%s, HTTP %d: got %v, want %v", where, status, err, want)
					}
				}
			}
		})
	}
}

func TestDecodeStatuses(t *testing.T) {
	const none = "PayU answered HTTP %d without an error code"
	const redirect = "PayU answered with a redirect (HTTP %d), which is not followed"
	tests := map[int]struct {
		want   Reason
		detail string
		after  time.Duration
	}{
		300: {InvalidResponse, redirect, 0},
		304: {InvalidResponse, redirect, 0},
		399: {InvalidResponse, redirect, 0},
		400: {InvalidResponse, none, 0},
		401: {InvalidResponse, none, 0},
		403: {InvalidResponse, none, 0},
		404: {InvalidResponse, none, 0},
		407: {InvalidResponse, none, 0},
		408: {ServerError, none, 9 * time.Second},
		409: {InvalidResponse, none, 0},
		425: {ServerError, none, 9 * time.Second},
		429: {RateLimited, none, 9 * time.Second},
		499: {InvalidResponse, none, 0},
		500: {ServerError, none, 9 * time.Second},
		501: {ServerError, none, 9 * time.Second},
		503: {ServerError, none, 9 * time.Second},
		599: {ServerError, none, 9 * time.Second},
		999: {ServerError, none, 9 * time.Second},
	}
	for status, test := range tests {
		want := &Error{Reason: test.want, Detail: fmt.Sprintf(test.detail, status), RetryAfter: test.after}
		for where, body := range map[string][]byte{
			"nothing": nil, "HTML": []byte("<html>"), "a list": []byte("[]"), "a good token": body(),
			"an error without a code": []byte(`{"error":{}}`), "an endless one": bytes.Repeat([]byte("a"), maxBody+1),
		} {
			header := http.Header{"Retry-After": {"9"}}
			_, err := decode(answer{status: status, header: header, body: body}, asked, sentAt)
			if !reflect.DeepEqual(err, error(want)) {
				t.Errorf("HTTP %d with %s: got %v, want %v", status, where, err, want)
			}
		}
	}
}

func TestDecodeReducedScope(t *testing.T) {
	tests := map[string]struct {
		scope, missing string
		asked          []string
	}{
		"one of two is missing":         {"read_payment_links", "create_payment_links", asked},
		"the other is missing":          {"create_payment_links", "read_payment_links", asked},
		"both are missing":              {"x", "create_payment_links", asked},
		"a prefix is not the scope":     {"create_payment_links read_payment", "read_payment_links", asked},
		"commas do not separate scopes": {"create_payment_links,read_payment_links", "create_payment_links", asked},
		"case matters":                  {"Create_payment_links read_payment_links", "create_payment_links", asked},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := decode(answer{status: 200, body: body("scope", `"`+test.scope+`"`)}, test.asked, sentAt)
			want := &Error{Reason: ScopeReduced, Detail: fmt.Sprintf("PayU did not grant the scope %q", test.missing)}
			if !reflect.DeepEqual(err, error(want)) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	date := func(d time.Duration) string { return sentAt.Add(d).UTC().Format(http.TimeFormat) }
	const s = time.Second
	tests := map[string]struct {
		reason       string
		header, body string
		want         time.Duration
	}{
		"nothing":                      {"nothing is asked for", "", "", 0},
		"seconds in the header":        {"RFC 9110", "120", "", 120 * s},
		"seconds in the body":          {"PayU", "", "60", 60 * s},
		"seconds in the body, quoted":  {"PayU's samples vary", "", `"60"`, 60 * s},
		"a fraction":                   {"kept", "", "5.5", 5500 * time.Millisecond},
		"the header is larger":         {"22: the larger of both", "90", "60", 90 * s},
		"the body is larger":           {"22: the larger of both", "60", "90", 90 * s},
		"the body is larger than date": {"22: the larger of both", date(5 * s), "90", 90 * s},
		"a date":                       {"RFC 9110; it has whole seconds", date(2 * time.Minute), "", 2*time.Minute - 789*time.Millisecond},
		"a date in an old format":      {"RFC 9110 wants it understood", sentAt.Add(2 * time.Minute).UTC().Format(time.ANSIC), "", 2*time.Minute - 789*time.Millisecond},
		"a date that has passed":       {"nothing is asked for", date(-time.Minute), "", 0},
		"a date in a moment":           {"22: 5 s at least", date(s), "", 5 * s},
		"a date in a year":             {"22: 1 h at most", date(365 * 24 * time.Hour), "", time.Hour},
		"a date past any duration":     {"22: 1 h at most", "Fri, 31 Dec 9999 23:59:59 GMT", "", time.Hour},
		"a date before any duration":   {"nothing is asked for", "Mon, 01 Jan 0001 00:00:00 GMT", "", 0},
		"0":                            {"nothing is asked for", "0", "0", 0},
		"less than a second":           {"22: 5 s at least", "", "0.001", 5 * s},
		"a second less than the floor": {"22: 5 s at least", "4", "4", 5 * s},
		"negative":                     {"nothing is asked for", "-5", "-5", 0},
		"negative beside a good one":   {"the good one counts", "-5", "5", 5 * s},
		"an hour":                      {"22: 1 h at most", "3600", "", time.Hour},
		"a second more than an hour":   {"22: 1 h at most", "3601", "", time.Hour},
		"huge":                         {"22: 1 h at most", "", "99999999999999999999", time.Hour},
		"beyond any float":             {"22: 1 h at most", "1e999", "", time.Hour},
		"below any float":              {"nothing is asked for", "-1e999", "", 0},
		"words":                        {"nobody understands them", "soon", `"later"`, 0},
		"words beside a good one":      {"the good one counts", "soon", "5", 5 * s},
		"NaN":                          {"strconv would take it", "NaN", `"NaN"`, 0},
		"null in the body":             {"nothing is asked for", "", "null", 0},
		"an object in the body":        {"nobody understands it", "", `{"seconds":5}`, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if test.header != "" {
				header.Set("Retry-After", test.header)
			}
			if got := retryAfter(header, json.RawMessage(test.body), sentAt); got != test.want {
				t.Errorf("got %s, want %s: %s", got, test.want, test.reason)
			}
			if test.body == "" {
				return
			}
			for _, text := range []string{`{"error":"slow_down","retry_after":` + test.body + `}`, `{"retry_after":` + test.body + `}`} {
				_, err := decode(answer{status: 429, header: header, body: []byte(text)}, asked, sentAt)
				if e := new(Error); !errors.As(err, &e) || e.Reason != RateLimited || e.RetryAfter != test.want {
					t.Errorf("%s: got %+v, want %s: %s", text, e, test.want, test.reason)
				}
			}
		})
	}
}

func TestParseLifeNeverOverflows(t *testing.T) {
	for _, seconds := range []float64{1, 1e9, math.MaxInt64, math.MaxUint64, 1e100, math.MaxFloat64} {
		life, ok := parseLife(json.RawMessage(fmt.Sprintf("%g", seconds)))
		if want := time.Duration(min(seconds, 2592000)) * time.Second; !ok || life != want {
			t.Errorf("%g s: got %s, %t, want %s", seconds, life, ok, want)
		}
	}
}
