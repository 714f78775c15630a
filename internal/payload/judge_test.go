package payload_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payload"
)

const b64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"

// tokens are access tokens of all sizes and of each character.
var tokens = []string{
	"a", "a==", fields.AccessToken, b64, strings.Repeat("0123456789abcdef", 4), strings.Repeat("+/", 100) + "==",
	strings.Repeat("t", 16<<10), "a" + strings.Repeat("=", 16<<10-1), strings.Repeat("+", 16<<10),
}

// holders are texts of a key that holds the token whole.
var holders = []string{
	"{{ .AccessToken }}",
	"{{- $.AccessToken }}",
	"PAYU_TOKEN={{ .AccessToken }}",
	"PAYU_TOKEN={{ .AccessToken }}\nEXPIRES={{ .ExpiresAt }}\n",
	"{{ .TokenType }}{{ .AccessToken }}{{ .Environment }}",
	"=={{ .AccessToken }}==",
	"aaaa{{ .AccessToken }}aaaa",
	"{{ .AccessToken }}{{ .AccessToken }}",
	"{{ .AccessToken }}a{{ .AccessToken }}aa{{ .AccessToken }}",
	"t={{ .AccessToken }}{{ urlquery .AccessToken }}{{ js .AccessToken | html }}",
	`{{ .AccessToken }}{{ printf "%.3s|%9s|% x|%q" .AccessToken .AccessToken .AccessToken .AccessToken }}`,
	`{{ if eq .Environment "Production" }}live{{ else }}test{{ end }} {{ .AccessToken }}{{ if .Scope }}{{ .AccessToken }}{{ end }}`,
	`{{ $s := .Scope }}{{ .AccessToken }} {{ $s }}{{ with $t := print .TokenType }}{{ $t }}{{ $.AccessToken }}{{ end }}`,
	"\xff{{ .AccessToken }}\x00é",
}

func with(token string) payload.Fields {
	f := fields
	f.AccessToken = token
	return f
}

// TestOutcomeIsTheSameForEachToken is an oracle: what a template makes of two tokens that have nothing in common is
// an error for both, the same one, or data for both.
func TestOutcomeIsTheSameForEachToken(t *testing.T) {
	pieces := []string{
		"{{ .AccessToken }}", "{{ $.AccessToken }}", "{{ (.AccessToken) }}", "text", "{{ .Scope }}",
	}
	for _, function := range []string{
		"print", "urlquery", "html", "js", "println", "len", "not", "index", "slice", "and", "or", "eq", "ne", "lt", "le", "gt", "ge", "call",
		`printf "%s"`, `printf "%d"`, `printf "%-40.3q"`, `printf "%[2]s%[1]*d"`, `printf "%*s"`, `printf "%.1000s"`, "printf", `index "abc"`, `slice "abc"`, `eq "a"`,
		`printf (print "%" 1)`, "1", ".Scope", `"a"`,
	} {
		for _, arg := range []string{".AccessToken", "(.AccessToken)", "(js .AccessToken)", ".", "$"} {
			pieces = append(pieces, fmt.Sprintf("{{ %s %s }}", function, arg), fmt.Sprintf("{{ %s | %s }}", arg, function),
				fmt.Sprintf("{{ %s %s 1 }}", function, arg), fmt.Sprintf("{{ slice .Scope (%s %s) }}", function, arg),
				fmt.Sprintf(`{{ if eq .Environment "Production" }}{{ %s %s }}{{ end }}`, function, arg),
				fmt.Sprintf("{{ $x := %s %s }}{{ slice $x 20 }}", function, arg),
				fmt.Sprintf("{{ if %s %s }}{{ slice .TokenType 9 }}{{ end }}", function, arg),
				fmt.Sprintf("{{ with $x := %s %s }}{{ slice $x 20 }}{{ end }}", function, arg),
				fmt.Sprintf("{{ %s %s | printf }}{{ printf (%[1]s %[2]s) 1 }}", function, arg))
		}
	}
	accepted := 0
	for _, piece := range pieces {
		parsed, err := payload.Parse(withToken(piece))
		if err != nil {
			continue
		}
		accepted++
		_, want := parsed.Render(with("a"))
		for _, token := range tokens {
			if _, err := parsed.Render(with(token)); fmt.Sprint(err) != fmt.Sprint(want) {
				t.Errorf("%s: %v for one token, %v for %.100q", piece, want, err, token)
			}
		}
	}
	if accepted < 50 || accepted > len(pieces)/2 {
		t.Errorf("%d of %d are accepted: the test proves little", accepted, len(pieces))
	}
}
