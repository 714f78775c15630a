package payu

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	b64token = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
	// knownDetails is all that an error of decode may say: nothing else of an answer can be in it.
	knownDetails = regexp.MustCompile(`^(PayU answered ([a-z_]{1,40}|\(of unknown form\)` +
		`|HTTP -?\d+ without an error code|with a redirect \(HTTP 3\d\d\), which is not followed)` +
		`|PayU did not grant the scope "(create|read)_payment_links"` +
		`|PayU's response (is larger than 64 KiB|is not a JSON object of the expected form|holds an error without a code)` +
		`|access_token (is missing|is longer than 16 KiB|holds characters that no bearer token has)` +
		`|token_type is not Bearer|expires_in is not a positive number of seconds` +
		`|scope holds characters that no scope has)$`)
)

// FuzzDecode: whatever a server answers, there is a token that may be used or an error that says nothing of the answer.
func FuzzDecode(f *testing.F) {
	f.Add(200, "", body())
	f.Add(201, "", body("scope", "", "expires_in", `"3600.5"`, "token_type", `"bearer"`))
	f.Add(200, "", body("access_token", `"a\r\nb"`))
	f.Add(200, "", body("expires_in", "1e999", "created_at", "{}"))
	f.Add(200, "", body("expires_in", ""))
	f.Add(200, "5", body("error", `"slow_down"`))
	f.Add(401, "", []byte(`{"error":"invalid_request","error_description":"s3cret","retry_after":60}`))
	f.Add(429, "Fri, 31 Dec 9999 23:59:59 GMT", []byte(`{"retry_after":"1e3"}`))
	f.Add(502, "-1", []byte("<html>Bad Gateway</html>"))
	f.Add(307, "", []byte{})
	f.Add(200, "", []byte(`{"access_token":"a","ACCESS_TOKEN":"b\u0000","expires_in":1,"token_type":"Bearer","scope":"x\u2028y"}`))
	f.Fuzz(func(t *testing.T, status int, header string, body []byte) {
		body = body[:min(len(body), maxBody+1)]
		token, err := decode(answer{status: status, header: http.Header{"Retry-After": {header}}, body: body}, asked, sentAt)
		again, errAgain := decode(answer{status: status, header: http.Header{"Retry-After": {header}}, body: body}, asked, sentAt)
		if token != again || (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Fatal("not the same each time")
		}
		if err == nil {
			checkToken(t, token)
			if status < 200 || status > 299 || len(body) > maxBody || !json.Valid(body) {
				t.Errorf("a token from HTTP %d with %d bytes", status, len(body))
			}
			return
		}
		var e *Error
		if !errors.As(err, &e) || token != (Token{}) && (e.Detail != noLife || token.Life() != 0) {
			t.Fatalf("got %v, with the token %v", err, plain(token))
		}
		if !knownDetails.MatchString(e.Detail) || e.RetryAfter != 0 && (e.RetryAfter < Floor || e.RetryAfter > time.Hour) {
			t.Errorf("the error says %q, retry after %s", e.Error(), e.RetryAfter)
		}
		if e.BackOff(1, 1) < e.RetryAfter {
			t.Error("the back-off is shorter than retry_after")
		}
	})
}

func checkToken(t *testing.T, token Token) {
	t.Helper()
	if len(token.AccessToken) > 16<<10 || !b64token.MatchString(token.AccessToken) {
		t.Errorf("access token %q", token.AccessToken)
	}
	life := token.Life()
	if stated := life >= time.Second && life <= month && life%time.Second == 0; !token.FetchedAt.Equal(fetchedAt) ||
		stated == token.LifeUnstated || token.LifeUnstated && !token.ExpiresAt.IsZero() {
		t.Errorf("fetched at %s for %s, unstated %t", token.FetchedAt, life, token.LifeUnstated)
	}
	granted := strings.Split(token.Scope, " ")
	for _, s := range asked {
		if !slices.Contains(granted, s) {
			t.Errorf("scope %q lacks %s", token.Scope, s)
		}
	}
	if strings.Trim(token.Scope, printableASCII) != "" || slices.Contains(granted, "") || token.Type != "Bearer" {
		t.Errorf("scope %q, type %q", token.Scope, token.Type)
	}
}

const printableASCII = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

// FuzzRetryAfter: a wait is 0 or within 5 s and 1 h, and not shorter than a whole number of seconds that was asked for.
func FuzzRetryAfter(f *testing.F) {
	f.Add("120", []byte("60"), int64(1763036368))
	f.Add("", []byte(`"5"`), int64(0))
	f.Add("Thu, 13 Nov 2025 12:20:00 GMT", []byte("1e999"), int64(1763036368))
	f.Add("Thursday, 13-Nov-25 12:20:00 GMT", []byte("-0.5"), int64(1763036368))
	f.Add("-1e999", []byte("null"), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, header string, body []byte, now int64) {
		got := retryAfter(http.Header{"Retry-After": {header}}, body, time.Unix(now, 0))
		if got != 0 && (got < Floor || got > time.Hour) {
			t.Errorf("got %s", got)
		}
		for _, s := range []string{header, string(body)} {
			if n, err := strconv.ParseUint(s, 10, 32); err == nil && got < min(time.Duration(n)*time.Second, time.Hour) {
				t.Errorf("got %s although %s s were asked for", got, s)
			}
		}
		if alone := retryAfter(http.Header{}, body, time.Unix(now, 0)); alone > got {
			t.Errorf("got %s, the body alone says %s", got, alone)
		}
	})
}

// FuzzParseCredential: a credential is printable ASCII, and at most one line end shorter than what was given.
func FuzzParseCredential(f *testing.F) {
	for _, seed := range []string{"s3cret", "s\n", "s\r\n", "s\n\n", "a\nb", "s\r", "", "\n", "s\x00", "sé", " s ", "MDEyMzQ1Njc4OWFiY2Rl\nZg=="} {
		f.Add([]byte(seed))
	}
	texts := regexp.MustCompile(`^(is empty|holds (a line break|a tab|a NUL byte|a byte outside ASCII|a control character), which no PayU credential has(, and looks encoded in base64 once too often)?)$`)
	f.Fuzz(func(t *testing.T, value []byte) {
		before := bytes.Clone(value)
		got, err := ParseCredential(value)
		if !bytes.Equal(before, value) {
			t.Error("the value was changed")
		}
		trimmed := strings.TrimSuffix(string(value), "\n")
		if trimmed != string(value) {
			trimmed = strings.TrimSuffix(trimmed, "\r")
		}
		usable := trimmed != "" && strings.Trim(trimmed, printableASCII) == ""
		switch {
		case (err == nil) != usable:
			t.Errorf("%q: got %v", value, err)
		case err == nil && got != trimmed:
			t.Errorf("%q: got %q", value, got)
		case err != nil && (got != "" || !texts.MatchString(err.Error())):
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// FuzzRenewAt: trap 5's promises hold for every token.
func FuzzRenewAt(f *testing.F) {
	f.Add(uint32(7200), uint8(67), int64(120), 0.5)
	f.Add(uint32(1), uint8(10), int64(0), 1.0)
	f.Add(uint32(2592000), uint8(90), int64(3600), 0.0)
	f.Add(uint32(10), uint8(90), int64(math.MaxInt32), 0.999)
	f.Fuzz(func(t *testing.T, life uint32, percent uint8, margin int64, spread float64) {
		seconds := time.Duration(life%2592000 + 1)
		if math.IsNaN(spread) || math.IsInf(spread, 0) {
			spread = 0
		}
		_, spread = math.Modf(math.Abs(spread))
		margin = max(margin, -margin, 0) % (1 << 31)
		checkRenewAt(t, seconds*time.Second, 10+int(percent)%81, time.Duration(margin)*time.Second, spread)
	})
}
