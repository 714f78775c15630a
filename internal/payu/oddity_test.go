package payu_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

func TestOddities(t *testing.T) {
	id, secret := strings.Repeat("0123456789abcdef", 4), strings.Repeat("fedcba9876543210", 4)
	encoded := func(value string) string { return base64.StdEncoding.EncodeToString([]byte(value)) }
	for name, test := range map[string]struct{ id, secret, want string }{
		"as issued":                 {id, secret, ""},
		"of a simulator":            {"merchant", "s3cr3t+%26=/one", ""},
		"capital digits":            {strings.ToUpper(id), secret, ""},
		"quotes":                    {id, `"` + secret + `"`, "client_secret is in quotes"},
		"single quotes, both":       {"'" + id + "'", "'" + secret + "'", "client_id is in quotes, and client_secret is in quotes"},
		"a blank at the end":        {id + " ", secret, "client_id begins or ends with a blank"},
		"a blank at the beginning":  {id, " " + secret, "client_secret begins or ends with a blank"},
		"base64":                    {encoded(id), encoded(secret), "client_id is encoded in base64 once too often, and client_secret is encoded in base64 once too often"},
		"base64 with a line end":    {id, encoded(secret + "\n"), "client_secret is encoded in base64 once too often"},
		"the same":                  {id, id, "client_id and client_secret are the same value"},
		"cut short":                 {id, secret[:40], "client_secret is not 64 hexadecimal digits, as the other one is"},
		"the ID of something else":  {"merchant", secret, "client_id is not 64 hexadecimal digits, as the other one is"},
		"quote at one end only":     {`"` + id, "x", ""},
		"a single quotation mark":   {`"`, "x", ""},
		"base64 of something short": {encoded("abc"), "x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := payu.Oddities(payu.Credentials{ClientID: test.id, ClientSecret: test.secret}, "client_id", "client_secret")
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			for _, value := range []string{test.id, test.secret} {
				if len(value) > 8 && strings.Contains(got, value[:8]) {
					t.Errorf("%q gives away a part of a credential", got)
				}
			}
		})
	}
}

func TestSimilarScope(t *testing.T) {
	for scope, want := range map[string]string{
		"create_payment_link": "create_payment_links", "read-payment-links": "read_payment_links", "create_payment_links": "",
		"my_own_scope": "", "a,b": "", "refer_child_merchants": "refer_child_merchant",
	} {
		if got := payu.SimilarScope(scope); got != want {
			t.Errorf("for %q: got %q, want %q", scope, got, want)
		}
	}
}

func TestMayBeCredential(t *testing.T) {
	digits := strings.Repeat("0123456789abcdef", 2)
	for text, want := range map[string]bool{
		"":                                     false,
		"client_id":                            false,
		"payu-payment-links.client-id":         false,
		digits[:31]:                            false,
		strings.Repeat("x", 40):                false,
		strings.Repeat("x", 41):                true,
		digits:                                 true,
		strings.ToUpper(digits):                true,
		"id_" + digits:                         true,
		"01234567-89ab-cdef-0123-456789abcdef": true, // a UUID
	} {
		if got := payu.MayBeCredential(text); got != want {
			t.Errorf("%q may be a credential: %t, want %t", text, got, want)
		}
	}
}
