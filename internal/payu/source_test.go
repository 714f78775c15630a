package payu_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// base64Wrapped is what base64 makes of an ID of 64 digits: two lines.
var base64Wrapped = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4\nOWFiY2RlZg=="

func TestParseCredential(t *testing.T) {
	tests := map[string]struct {
		reason, value string
		want, wantErr string
	}{
		"a plain value stays as it is":  {value: "s3cret", want: "s3cret", reason: "nothing to do"},
		"every printable byte may be":   {value: printable(), want: printable(), reason: "%x20-7E"},
		"spaces around belong to it":    {value: " s ", want: " s ", reason: "only a line end is known to be no part of it"},
		"one LF is left out":            {value: "s\n", want: "s", reason: "echo adds one"},
		"one CRLF is left out":          {value: "s\r\n", want: "s", reason: "an editor adds one"},
		"only one LF is left out":       {value: "s3cret\n\n", wantErr: "holds a line break, which no PayU credential has", reason: "two were put there by somebody"},
		"only one CRLF is left out":     {value: "s3cret\r\n\r\n", wantErr: "holds a line break, which no PayU credential has", reason: "likewise"},
		"CR CR LF is not a line end":    {value: "s3cret\r\r\n", wantErr: "holds a line break, which no PayU credential has", reason: "likewise"},
		"a CR alone is not a line end":  {value: "s3cret\r", wantErr: "holds a line break, which no PayU credential has", reason: "nothing writes it"},
		"LF CR is not a line end":       {value: "s3cret\n\r", wantErr: "holds a line break, which no PayU credential has", reason: "nothing writes it"},
		"a line break within":           {value: "s3c\nret", wantErr: "holds a line break, which no PayU credential has", reason: "two values, perhaps"},
		"base64, wrapped":               {value: base64Wrapped, wantErr: "holds a line break, which no PayU credential has, and looks encoded in base64 once too often", reason: "base64 wraps after 76"},
		"hexadecimal digits, wrapped":   {value: strings.Repeat("0123456789abcdef", 2) + "\n" + strings.Repeat("0123456789abcdef", 2), wantErr: "holds a line break, which no PayU credential has", reason: "these are base64, too, but of no credential"},
		"a line break in front":         {value: "\ns3cret", wantErr: "holds a line break, which no PayU credential has", reason: "only the end is trimmed"},
		"a tab":                         {value: "s3cret\t", wantErr: "holds a tab, which no PayU credential has", reason: "outside %x20-7E"},
		"a NUL byte":                    {value: "s3cret\x00", wantErr: "holds a NUL byte, which no PayU credential has", reason: "UTF-16, perhaps"},
		"an escape":                     {value: "\x1bs3cret", wantErr: "holds a control character, which no PayU credential has", reason: "outside %x20-7E"},
		"DEL":                           {value: "s3cret\x7f", wantErr: "holds a control character, which no PayU credential has", reason: "outside %x20-7E"},
		"a letter outside ASCII":        {value: "s3crét", wantErr: "holds a byte outside ASCII, which no PayU credential has", reason: "outside %x20-7E"},
		"a byte order mark":             {value: "\ufeffs3cret", wantErr: "holds a byte outside ASCII, which no PayU credential has", reason: "Windows editors add one"},
		"a byte that is no UTF-8":       {value: "s3cret\xff", wantErr: "holds a byte outside ASCII, which no PayU credential has", reason: "outside %x20-7E"},
		"nothing":                       {value: "", wantErr: "is empty", reason: "it must be said"},
		"a line end and nothing else":   {value: "\r\n", wantErr: "is empty", reason: "echo of an unset variable"},
		"the kind of the first odd one": {value: "s3cret\t\x00\n", wantErr: "holds a tab, which no PayU credential has", reason: "the same each time"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := payu.ParseCredential([]byte(test.value))
			if got != test.want || errText(err) != test.wantErr {
				t.Errorf("got %q, %v\nwant %q, %q, since %s", got, err, test.want, test.wantErr, test.reason)
			}
			if strings.Contains(errText(err), "s3c") {
				t.Errorf("the error holds the value: %v", err)
			}
		})
	}
}

func printable() string {
	var s []byte
	for b := byte(0x20); b <= 0x7e; b++ {
		s = append(s, b)
	}
	return string(s)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSecretsDoNotPrint(t *testing.T) {
	credentials := payu.Credentials{ClientID: "the-id", ClientSecret: "the-secret"}
	token := payu.Token{AccessToken: "the-token", Type: "Bearer", ExpiresAt: time.Unix(1763036368, 0)}
	values := map[string]any{
		"credentials":               credentials,
		"a pointer to credentials":  &credentials,
		"a source":                  payu.Source{Environment: "Test", Credentials: credentials},
		"a pointer to a source":     &payu.Source{Environment: "Test", Credentials: credentials},
		"a token":                   token,
		"a pointer to a token":      &token,
		"a map and a list of those": map[string][]any{"a": {token, credentials}},
		"a source's key":            payu.Source{Credentials: credentials}.Key(),
	}
	for name, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X"} {
			text := fmt.Sprintf(verb, value)
			for _, s := range []string{"the-id", "the-secret", "the-token"} {
				if strings.Contains(text, s) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", s)) {
					t.Errorf("%s prints as %s with %s", name, text, verb)
				}
			}
		}
	}
}

func TestKey(t *testing.T) {
	base := payu.Source{Environment: "Test", Credentials: payu.Credentials{ClientID: "id", ClientSecret: "secret"}, Scopes: []string{"a", "b"}}
	tests := map[string]struct {
		change                 func(*payu.Source)
		sameSource, sameClient bool
	}{
		"nothing":                             {func(*payu.Source) {}, true, true},
		"the order of the scopes":             {func(s *payu.Source) { s.Scopes = []string{"b", "a"} }, true, true},
		"a scope named twice":                 {func(s *payu.Source) { s.Scopes = []string{"b", "a", "b"} }, true, true},
		"fewer scopes":                        {func(s *payu.Source) { s.Scopes = []string{"a"} }, false, true},
		"more scopes":                         {func(s *payu.Source) { s.Scopes = []string{"a", "b", "c"} }, false, true},
		"scopes that read alike":              {func(s *payu.Source) { s.Scopes = []string{"a b"} }, false, true},
		"the client secret":                   {func(s *payu.Source) { s.Credentials.ClientSecret = "other" }, false, false},
		"the client ID":                       {func(s *payu.Source) { s.Credentials.ClientID = "other" }, false, false},
		"the environment":                     {func(s *payu.Source) { s.Environment = "Production" }, false, false},
		"where the ID ends and the secret is": {func(s *payu.Source) { s.Credentials = payu.Credentials{ClientID: "ids", ClientSecret: "ecret"} }, false, false},
		"scopes into the secret":              {func(s *payu.Source) { s.Credentials.ClientSecret, s.Scopes = "secreta", []string{"b"} }, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changed := base
			test.change(&changed)
			a, b := base.Key(), changed.Key()
			if (a.Source == b.Source) != test.sameSource || (a.Client == b.Client) != test.sameClient {
				t.Errorf("same source: %t, want %t; same client: %t, want %t",
					a.Source == b.Source, test.sameSource, a.Client == b.Client, test.sameClient)
			}
		})
	}
	client := payu.ClientKey(base.Environment, base.Credentials)
	if got := payu.KeyFor(client, []string{"b", "a", "b"}); got != base.Key() || got.Client != client {
		t.Errorf("ClientKey and KeyFor give %+v, Key gives %+v", got, base.Key())
	}
	if got := base.Scopes; got[0] != "a" || got[1] != "b" {
		t.Error("Key changed the source's scopes")
	}
	if key := base.Key(); key.Source == key.Client || key.Source == (payu.Digest{}) || key.Client == (payu.Digest{}) {
		t.Errorf("want two digests, got %+v", key)
	}
}

func TestDigestTellsListsApart(t *testing.T) {
	lists := [][]string{{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"b", "a"}, {"a", "b", ""}, {"", "ab"}, {"a\x00b"}}
	seen := map[payu.Digest][]string{}
	for _, list := range lists {
		digest := payu.DigestOf(list...)
		if other, ok := seen[digest]; ok {
			t.Errorf("%q and %q have one digest", list, other)
		}
		seen[digest] = list
	}
	if got := payu.DigestOf("a", "b"); got.String() != "3c9d591045bc8876f9d0399bbfb05c6a" {
		t.Errorf("the digest has changed to %s: every target Secret would be made anew after an upgrade", got)
	}
}
