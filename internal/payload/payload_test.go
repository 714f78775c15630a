package payload_test

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/payu-token-operator/payu-token-operator/internal/payload"
)

var fields = payload.Fields{
	AccessToken: "the.real-Token~+/0123456789==",
	TokenType:   "Bearer",
	Scope:       "create_payment_links read_payment_links",
	ExpiresAt:   "2026-03-01T08:26:51Z",
	Environment: "Production",
}

// defaults are the texts of the contract's four default keys.
var defaults = map[string]string{
	"access_token": "{{ .AccessToken }}",
	"token_type":   "{{ .TokenType }}",
	"scope":        "{{ .Scope }}",
	"expires_at":   "{{ .ExpiresAt }}",
}

// withToken returns texts of which "key" has the given one, and another key holds the token.
func withToken(text string) map[string]string {
	return map[string]string{"key": text, "token": "{{ .AccessToken }}"}
}

func parse(t *testing.T, texts map[string]string) payload.Template {
	t.Helper()
	parsed, err := payload.Parse(texts)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func render(t *testing.T, texts map[string]string) map[string]string {
	t.Helper()
	data, err := parse(t, texts).Render(fields)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for key, value := range data {
		got[key] = string(value)
	}
	return got
}

func TestDefaultTexts(t *testing.T) {
	want := map[string]string{
		"access_token": fields.AccessToken, "token_type": "Bearer", "scope": fields.Scope, "expires_at": fields.ExpiresAt,
	}
	if got := render(t, defaults); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEmptyTexts: text/template keeps a former template where an empty one has the same name.
func TestEmptyTexts(t *testing.T) {
	want := map[string]string{"a": fields.AccessToken, "b": "", "c": " \n", "d": "d"}
	if got := render(t, map[string]string{"a": "{{.AccessToken}}", "b": "", "c": " \n", "d": "d"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTemplatesMaySay(t *testing.T) {
	token := fields.AccessToken
	long := strings.Repeat("a", 64<<10)
	tests := map[string]struct{ text, want string }{
		"nothing":                         {"", ""},
		"plain text":                      {"no token", "no token"},
		"a comment":                       {"{{/* why */}}", ""},
		"the contract's example":          {"PAYU_TOKEN={{ .AccessToken }}", "PAYU_TOKEN=" + token},
		"fields of $":                     {"{{ $.TokenType }} {{ $.AccessToken }}", "Bearer " + token},
		"the environment":                 {"{{.Environment}}", "Production"},
		"an Authorization header":         {"{{.TokenType}} {{.AccessToken}}", "Bearer " + token},
		"what html would change":          {`<&>"'{{.AccessToken}}`, `<&>"'` + token},
		"a condition":                     {`{{if eq .Environment "Production"}}live{{else}}test{{end}}`, "live"},
		"a condition on else":             {`{{if ne .Environment "Production"}}a{{else if .Scope}}b{{end}}`, "b"},
		"with and a variable":             {`{{with $x := .Scope}}scope={{$x}}{{end}}`, "scope=" + fields.Scope},
		"with and $":                      {`{{with .Scope}}{{$.TokenType}}{{end}}`, "Bearer"},
		"with and else":                   {`{{with ""}}{{else}}{{.TokenType}}{{end}}`, "Bearer"},
		"with, and a field after it":      {`{{with .Scope}}{{end}}{{.TokenType}}`, "Bearer"},
		"the token in a condition's body": {`{{if .Scope}}{{.AccessToken}}{{else}}{{.AccessToken}}{{end}}`, token},
		"the token in with":               {`{{with .Scope}}{{$.AccessToken}}{{end}}`, token},
		"a variable":                      {`{{$t := .Scope}}{{$t}}{{$t = .TokenType}}{{$t}}`, fields.Scope + "Bearer"},
		"printf":                          {`{{printf "%s:%-8s|%q|%05d%%" .TokenType .Environment .TokenType 7}}`, `Bearer:Production|"Bearer"|00007%`},
		"printf with digits around":       {`{{printf "8443: %s 8443*" .TokenType}}`, "8443: Bearer 8443*"},
		"printf and a variable":           {`{{$f := print "%" "s"}}{{printf $f .TokenType}}`, "Bearer"},
		"printf of the token":             {`{{printf "Bearer %s" .AccessToken}}`, "Bearer " + token},
		"printf of the token, in part":    {`{{printf "%.3s…" .AccessToken}}`, "the…"},
		"printf of the token as a number": {`{{printf "%d" .AccessToken}}`, "%!d(string=" + token + ")"},
		"a pipeline":                      {`{{.TokenType | printf "%s-%s" "a" | print}}`, "a-Bearer"},
		"the token in a pipeline":         {`{{.AccessToken | urlquery}}`, "the.real-Token~%2B%2F0123456789%3D%3D"},
		"the token in two functions":      {`{{printf "%s" .AccessToken | html}}`, token},
		"the token in parentheses":        {`{{(.AccessToken)}} {{print (js .AccessToken)}}`, token + ` the.real-Token~+/0123456789\u003D\u003D`},
		"print and println":               {`{{print "a" 1 2}}{{println "b"}}`, "a1 2b\n"},
		"html, js and urlquery":           {`{{html "<"}}{{js "'"}}{{urlquery "a b"}}`, `&lt;\'a+b`},
		"index, slice and len":            {`{{index "ab" 1}} {{slice .TokenType 0 4}} {{len .TokenType}}`, "98 Bear 6"},
		"and, or, not, comparisons":       {`{{and true (or false (not (lt 1 2)))}}`, "false"},
		"64 KiB":                          {long, long},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := render(t, withToken(test.text))["key"]; got != test.want {
				t.Errorf("got %.200q, want %.200q", got, test.want)
			}
		})
	}
}

const (
	noToken = `no key holds the token: write {{ .AccessToken }} in at least one key, ` +
		`outside if and with and before other uses of the token, for example token: "{{ .AccessToken }}"; ` +
		"in a Helm chart, write {{`{{ .AccessToken }}`}}"
	noField    = " is not a field: use .AccessToken, .TokenType, .Scope, .ExpiresAt or .Environment"
	alone      = " cannot stand alone: write a field, for example $.Scope"
	useIt      = ": write it by itself, as {{ .AccessToken }}, or as an argument of printf, print, urlquery, html or js"
	assigned   = ".AccessToken cannot be assigned to $x: write {{ .AccessToken }} where it is needed"
	noRange    = "range is not supported: there is nothing to range over"
	noCall     = "template and block are not supported"
	noFormat   = `printf needs a literal format to print .AccessToken, for example {{ printf "Bearer %s" .AccessToken }}`
	tooWide    = "a width or precision of printf has at most three digits, and no *"
	tooMuch    = "the templates produce more than 1 MiB of text, counted with a token of 16 KiB"
	noFunction = " is not a function, and takes no arguments"
)

func in(word string) string { return ".AccessToken cannot be used in " + word + useIt }

func TestTemplatesMayNotSay(t *testing.T) {
	tests := map[string]struct{ reason, text, want string }{
		"a missing field":            {"contract", "{{ .AccesToken }}", ".AccesToken" + noField},
		"a missing field of $":       {"contract", "{{ $.Token }}", "$.Token" + noField},
		"a missing field's field":    {"contract", "{{ .Scope.X }}", ".Scope.X" + noField},
		"a field of the token":       {"contract", "{{ .AccessToken.X }}", ".AccessToken.X" + noField},
		"a field of parentheses":     {"contract", "{{ (.AccessToken).X }}", "(.AccessToken).X" + noField},
		"a field of a variable":      {"contract", "{{ $x := .Scope }}{{ $x.Y }}", "$x.Y" + noField},
		"a missing field, not tried": {"judged on the parse tree", `{{if eq .Environment "Production"}}{{.X}}{{end}}`, ".X" + noField},
		"a missing field in with":    {"likewise", `{{with ""}}{{$.X}}{{end}}`, "$.X" + noField},

		"the dot":                  {"it holds the token", "{{ . }}", "." + alone},
		"the dollar":               {"likewise", "{{ $ }}", "$" + alone},
		"with the dot":             {"likewise", "{{ with . }}{{ end }}", "." + alone},
		"the dot in with":          {"strict, simple", "{{ with .Scope }}{{ . }}{{ end }}", "." + alone},
		"the dot in printf":        {"it holds the token", `{{ printf "%v" . }}`, "." + alone},
		"the dollar in a variable": {"likewise", `{{ $x := $ }}`, "$" + alone},
		"the dollar, set":          {"$.AccessToken would be something else", `{{ $ := .Scope }}`, "$ cannot be set: use a variable with a name"},
		"a field in with":          {"the dot is the scope there", "{{ with .Scope }}{{ .AccessToken }}{{ end }}", ".AccessToken cannot be used inside with: write $.AccessToken"},
		"a field in else with":     {"likewise", `{{with ""}}{{else with .Scope}}{{.Scope}}{{end}}`, ".Scope cannot be used inside with: write $.Scope"},
		"a field in with and if":   {"likewise", "{{ with .Scope }}{{ if 1 }}{{ .TokenType }}{{ end }}{{ end }}", ".TokenType cannot be used inside with: write $.TokenType"},

		"if the token":               {"a condition tells of it", "{{ if .AccessToken }}{{ end }}", in("if")},
		"else if the token":          {"likewise", "{{ if .Scope }}{{ else if .AccessToken }}{{ end }}", in("if")},
		"if a function of the token": {"likewise", "{{ if html .AccessToken }}{{ end }}", in("if")},
		"with the token":             {"likewise", "{{ with $.AccessToken }}{{ end }}", in("with")},
		"a comparison":               {"likewise", `{{ if eq .AccessToken "a" }}{{ end }}`, in("eq")},
		"another one":                {"likewise", `{{ "a" | lt .AccessToken }}`, in("lt")},
		"a nested one":               {"likewise", `{{ print (gt (print .AccessToken) "a") }}`, in("gt")},
		"and":                        {"likewise", "{{ and .AccessToken .Scope }}", in("and")},
		"or":                         {"likewise", "{{ .AccessToken | or .Scope }}", in("or")},
		"not":                        {"likewise", "{{ not .AccessToken }}", in("not")},
		"len":                        {"likewise", "{{ len .AccessToken }}", in("len")},
		"index":                      {"it fails with a short one", "{{ index .AccessToken 20 }}", in("index")},
		"slice":                      {"likewise", "{{ slice .AccessToken 0 20 }}", in("slice")},
		"slice with it":              {"likewise", "{{ slice .Scope 0 (len (print .AccessToken)) }}", in("len")},
		"call":                       {"nothing can be called", "{{ call .AccessToken }}", in("call")},
		"println":                    {"it is not of the list", "{{ println .AccessToken }}", in("println")},
		"a variable of the token":    {"variables go everywhere", "{{ $x := .AccessToken }}{{ $x }}", assigned},
		"a variable, set again":      {"likewise", `{{ $x := "" }}{{ $x = print .AccessToken }}`, assigned},
		"a variable in parentheses":  {"likewise", `{{ print ($x := .AccessToken) }}`, assigned},
		"a variable of with":         {"likewise", `{{ with $x := .AccessToken }}{{ end }}`, assigned},
		"the token as a function":    {"it is none", "{{ .AccessToken 1 }}", ".AccessToken" + noFunction},
		"the token as an argument":   {"likewise", "{{ .Scope .AccessToken }}", ".Scope" + noFunction},
		"the token, piped":           {"likewise", "{{ .AccessToken | .Scope }}", ".Scope" + noFunction},

		"the token as a format":        {"a % of urlquery would be a verb", "{{ printf .AccessToken }}", noFormat},
		"the token, piped to a format": {"likewise", "{{ .AccessToken | printf }}", noFormat},
		"a format with the token":      {"its digits may be a width", `{{ printf (print "%" .AccessToken) 1 }}`, noFormat},
		"a format in a variable":       {"strict, simple", `{{ $f := "%s" }}{{ printf $f .AccessToken }}`, noFormat},
		"a wide token":                 {"a thousand of them are 1 MB", `{{ printf "%1000s" .AccessToken }}`, tooWide},
		"a wide token, not tried":      {"judged on the parse tree", `{{if eq .Environment "Production"}}{{.AccessToken | printf "%*s"}}{{end}}`, tooWide},

		"a function of other tools": {"no functions beyond the built-in ones", "{{ env \"HOME\" }}", `line 1: env is not a function: use those that are built into Go's text/template`},
		"half an action":            {"it cannot be parsed", "a\nb{{ .Scope", `line 2: {{ without }}`},
		"range":                     {"range over a number ends never", "{{range 9999999999}}a{{end}}", noRange},
		"range over a field":        {"there is nothing to range over", "{{range .Scope}}a{{end}}", noRange},
		"range within if":           {"likewise", "{{if .Scope}}{{else}}{{range 9}}a{{end}}{{end}}", noRange},
		"range within with":         {"likewise", "{{with .Scope}}a{{range 9}}a{{end}}{{end}}", noRange},
		"range within else with":    {"likewise", "{{with .Scope}}{{else with 1}}{{range 9}}a{{end}}{{end}}", noRange},
		"define":                    {"templates that call each other end never", `{{define "a"}}b{{end}}`, "define and block are not supported"},
		"block":                     {"likewise", `{{block "a" .}}b{{end}}`, "define and block are not supported"},
		"template":                  {"likewise", `{{template "key" .AccessToken}}`, noCall},
		"template within if":        {"likewise", `{{if 1}}{{template ""}}{{end}}`, noCall},
		"itself, defined again":     {"likewise", `{{define ""}}{{template ""}}{{end}}`, noCall},
		"two mistakes":              {"the first one", `{{if 1}}{{range 9}}{{end}}{{else}}{{template "key"}}{{end}}`, noRange},
		"a slice out of range":      {"tried with made-up fields", "{{slice .TokenType 0 99}}", "line 1: <slice .TokenType 0 99>: index out of range: 99"},
		"a call of a field":         {"nothing can be called", "\n{{call .Scope}}", "line 2: <call .Scope>: non-function .Scope of type string"},
		"arguments of a text":       {"it is no function", `{{"a" 1}}`, `"a"` + noFunction},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { checkRefused(t, withToken(test.text), `key "key": `+test.want) })
	}
}

// checkRefused also checks that it does not matter whether the token stands in another key or nowhere.
func checkRefused(t *testing.T, texts map[string]string, want string) {
	t.Helper()
	for range 2 {
		_, err := payload.Parse(texts)
		if err == nil || err.Error() != want {
			t.Fatalf("got  %v\nwant %s", err, want)
		}
		checkText(t, err.Error())
		delete(texts, "token")
	}
}

func TestSomeKeyHoldsTheToken(t *testing.T) {
	tests := map[string]struct {
		text string
		want bool
	}{
		"no text":                {"", false},
		"other fields":           {"{{ .Scope }}", false},
		"what Helm leaves of it": {"PAYU_TOKEN=", false},
		"a bare action":          {"{{ .AccessToken }}", true},
		"a bare action of $":     {"{{- $.AccessToken -}}", true},
		"text around it":         {"PAYU_TOKEN={{ .AccessToken }}\n", true},
		"fields around it":       {"{{ .TokenType }}{{ .AccessToken }}{{ .ExpiresAt }}", true},
		"conditions around it":   {"{{ if .Scope }}a{{ end }}{{ .AccessToken }}{{ with .Scope }}b{{ end }}", true},
		"variables around it":    {"{{ $x := .Scope }}{{ .AccessToken }}{{ $x }}", true},
		"twice":                  {"{{ .AccessToken }} {{ .AccessToken }}", true},
		"changed after it":       {"{{ .AccessToken }} {{ urlquery .AccessToken }}", true},
		"conditional after it":   {"{{ .AccessToken }}{{ if .Scope }}{{ .AccessToken }}{{ end }}", true},
		"changed before it":      {"{{ urlquery .AccessToken }} {{ .AccessToken }}", false},
		"conditional before it":  {"{{ if .Scope }}{{ .AccessToken }}{{ end }}{{ .AccessToken }}", false},
		"in if":                  {"{{ if .Scope }}{{ .AccessToken }}{{ end }}", false},
		"in if and else":         {"{{ if .Scope }}{{ .AccessToken }}{{ else }}{{ .AccessToken }}{{ end }}", false},
		"in with":                {"{{ with .Scope }}{{ $.AccessToken }}{{ end }}", false},
		"in parentheses":         {`{{ (.AccessToken) }}`, false},
		"a function, in if":      {"{{ if .Scope }}{{ print .AccessToken }}{{ end }}", false},
		"a function, and in if":  {"{{ print .AccessToken }}{{ if .Scope }}{{ .AccessToken }}{{ end }}", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := payload.Parse(map[string]string{"key": test.text, "b": "{{ .Scope }}"})
			if test.want && err != nil || !test.want && (err == nil || err.Error() != noToken) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := payload.Parse(nil); err == nil || err.Error() != noToken {
		t.Errorf("no keys: got %v", err)
	}
}

// TestATokenInsideAFunctionDoesNotCount: people who write it take it for the whole token.
func TestATokenInsideAFunctionDoesNotCount(t *testing.T) {
	for text, function := range map[string]string{
		`{{ printf "Bearer %s" .AccessToken }}`:                       "printf",
		`{{ .AccessToken | print }}`:                                  "print",
		`{{ printf "%s" .AccessToken | html }}`:                       "printf",
		`{{ $x := .Scope }}{{ $x }}{{ urlquery .AccessToken }}`:       "urlquery",
		`{{ .Scope }}{{ print .AccessToken }}{{ html .AccessToken }}`: "print",
	} {
		_, err := payload.Parse(map[string]string{"key": text, "a": "{{ .Scope }}", "z": "{{ js .AccessToken }}"})
		want := `no key holds the token: in key "key" it stands only inside ` + function + `, which does not count: write text such as "Bearer {{ .AccessToken }}"`
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
			continue
		}
		checkText(t, err.Error())
	}
}

func checkText(t *testing.T, text string) {
	t.Helper()
	if strings.Join(strings.Fields(text), " ") != text || len(text) > 203 || !utf8.ValidString(text) {
		t.Errorf("not one line of bounded length: %q", text)
	}
	if !strings.Contains(text, "key") {
		t.Errorf("the key is not named: %s", text)
	}
	if strings.Contains(text, fields.AccessToken) {
		t.Errorf("the error holds the token: %s", text)
	}
}

func TestErrorsAreOneLineAndBounded(t *testing.T) {
	long := strings.Repeat("é", 500)
	for _, text := range []string{
		"{{\n\n.X\n}}", "{{." + long + "}}", "{{" + long + "}}", `{{"` + long, "{{ \x00 }}", "{{/*\n", "{{ \u2028 }}", "{{print `a\nb` .X}}",
		"{{slice `a\nb` 9}}",
	} {
		_, err := payload.Parse(map[string]string{"key": text})
		if err == nil {
			t.Errorf("%q is no mistake", text)
			continue
		}
		checkText(t, err.Error())
	}
}

// TestErrorIsTheSameEachTime: a condition's message must not change from pass to pass. The first key by name has it.
func TestErrorIsTheSameEachTime(t *testing.T) {
	tests := map[string]struct{ a, b, want string }{
		"both cannot be parsed":        {"{{", "{{", `key "a": line 1: {{ without }}`},
		"both are refused":             {"{{range 1}}{{end}}", "{{template \"b\"}}", `key "a": ` + noRange},
		"both fail when tried":         {"{{slice .Scope 99}}", "{{slice .Scope 98}}", `key "a": line 1: <slice .Scope 99>: index out of range: 99`},
		"one of each":                  {"{{slice .Scope 99}}", "{{", `key "a": line 1: <slice .Scope 99>: index out of range: 99`},
		"only the second is a mistake": {"", "{{.Y}}", `key "b": .Y` + noField},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for range 50 {
				texts := map[string]string{"b": test.b, "a": test.a, "c": "{{.AccessToken}}"}
				if _, err := payload.Parse(texts); err == nil || err.Error() != test.want {
					t.Fatalf("got %v, want %s", err, test.want)
				}
			}
		})
	}
}

// TestRenderErrors are those that only the real fields bring about, never the token.
func TestRenderErrors(t *testing.T) {
	branch := `{{if eq .Environment "Production"}}%s{{end}}`
	tests := map[string]struct{ text, want string }{
		"a branch that fails":             {fmt.Sprintf(branch, "{{index .Scope .Scope}}"), "line 1: <index .Scope .Scope>: cannot index slice/array with type string"},
		"a field shorter than the sample": {`{{if eq .Environment "Production"}}{{slice .TokenType 0 7}}{{end}}`, "line 1: <slice .TokenType 0 7>: index out of range: 7"},
		"too much text":                   {fmt.Sprintf(branch, strings.Repeat("a", 1<<20)), tooMuch},
		"too much by doubling":            {fmt.Sprintf(branch, doubling(40, "print %x %x")), tooMuch},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			parsed := parse(t, map[string]string{"b": test.text, "a": test.text, "c": test.text, "0": "{{ .AccessToken }}"})
			for range 50 {
				data, err := parsed.Render(fields)
				want := `key "a": ` + test.want
				if err == nil || err.Error() != want || data != nil {
					t.Fatalf("got %v, %v, want %s", data, err, want)
				}
			}
		})
	}
}

func TestParseDoesNotKeepTheMap(t *testing.T) {
	texts := maps.Clone(defaults)
	parsed := parse(t, texts)
	texts["access_token"] = "changed"
	texts["more"] = ""
	data, err := parsed.Render(fields)
	if err != nil || len(data) != 4 || string(data["access_token"]) != fields.AccessToken {
		t.Errorf("got %q, %v", data, err)
	}
}
