package payload_test

import (
	"fmt"
	"maps"
	"reflect"
	"runtime"
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

func render(t *testing.T, texts map[string]string) map[string]string {
	t.Helper()
	parsed, err := payload.Parse(texts)
	if err != nil {
		t.Fatal(err)
	}
	data, err := parsed.Render(fields)
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

func TestNoTexts(t *testing.T) {
	if got := render(t, nil); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestTemplatesMaySay(t *testing.T) {
	token := fields.AccessToken
	long := strings.Repeat("a", 64<<10)
	tests := map[string]struct{ text, want string }{
		"nothing":                            {"", ""},
		"plain text":                         {"no token", "no token"},
		"a comment":                          {"{{/* why */}}", ""},
		"the contract's example":             {"PAYU_TOKEN={{ .AccessToken }}", "PAYU_TOKEN=" + token},
		"the environment":                    {"{{.Environment}}", "Production"},
		"an Authorization header":            {"{{.TokenType}} {{.AccessToken}}", "Bearer " + token},
		"what html would change":             {`<&>"'{{.AccessToken}}`, `<&>"'` + token},
		"a condition":                        {`{{if eq .Environment "Production"}}live{{else}}test{{end}}`, "live"},
		"a condition on else":                {`{{if ne .Environment "Production"}}a{{else if .Scope}}b{{end}}`, "b"},
		"with":                               {`{{with .Scope}}scope={{.}}{{end}}`, "scope=" + fields.Scope},
		"a variable":                         {`{{$t := .AccessToken}}{{$t}}`, token},
		"printf":                             {`{{printf "%s:%-8s|%q|%05d%%" .TokenType .Environment .TokenType 7}}`, `Bearer:Production|"Bearer"|00007%`},
		"printf with digits around":          {`{{printf "8443: %s 8443*" .TokenType}}`, "8443: Bearer 8443*"},
		"a pipeline":                         {`{{.TokenType | printf "%s-%s" "a" | print}}`, "a-Bearer"},
		"print and println":                  {`{{print "a" 1 2}}{{println "b"}}`, "a1 2b\n"},
		"html, js and urlquery":              {`{{html "<"}}{{js "'"}}{{urlquery "a b"}}`, `&lt;\'a+b`},
		"index, slice and len":               {`{{index "ab" 1}} {{slice .TokenType 0 4}} {{len .TokenType}}`, "98 Bear 6"},
		"and, or, not, comparisons":          {`{{and true (or false (not (lt 1 2)))}}`, "false"},
		"64 KiB":                             {long, long},
		"a definition by the key's own name": {`{{define "key"}}a{{end}}`, "a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := render(t, map[string]string{"key": test.text})["key"]; got != test.want {
				t.Errorf("got %.200q, want %.200q", got, test.want)
			}
		})
	}
}

// doubling makes a text of 16 bytes twice as long so many times, by a pipeline with %s for the variable.
func doubling(times int, pipeline string) string {
	return `{{$x := "0123456789abcdef"}}` + strings.Repeat("{{$x = "+strings.ReplaceAll(pipeline, "%x", "$x")+"}}", times) + "{{len $x}}"
}

func TestTemplatesMayNotSay(t *testing.T) {
	const large = "error calling %s: the result is larger than 64 KiB"
	const tooWide = "error calling printf: a width or precision has at most three digits, and no *"
	tests := map[string]struct{ reason, text, want string }{
		"a missing field":                  {"contract", "{{ .Token }}", `template: key:1:3: executing "key" at <.Token>: can't evaluate field Token in type payload.Fields`},
		"a missing field's field":          {"contract", "{{ .Scope.X }}", `template: key:1:9: executing "key" at <.Scope.X>: can't evaluate field X in type string`},
		"a function of other tools":        {"no functions beyond the built-in ones", "{{ env \"HOME\" }}", `template: key:1: function "env" not defined`},
		"half an action":                   {"it cannot be parsed", "a\nb{{ .Scope", `template: key:2: unclosed action`},
		"range":                            {"range over a number ends never", "{{range 9999999999}}a{{end}}", "template: key: range is not supported"},
		"range within if":                  {"likewise", "{{if .Scope}}{{else}}{{range 9}}a{{end}}{{end}}", "template: key: range is not supported"},
		"range within with":                {"likewise", "{{with .Scope}}a{{range 9}}a{{end}}{{end}}", "template: key: range is not supported"},
		"range within else with":           {"likewise", "{{with .Scope}}{{else with 1}}{{range 9}}a{{end}}{{end}}", "template: key: range is not supported"},
		"define":                           {"templates that call each other end never", `{{define "a"}}b{{end}}`, "template: key: define and block are not supported"},
		"block":                            {"likewise", `{{block "a" .}}b{{end}}`, "template: key: define and block are not supported"},
		"template":                         {"likewise", `{{template "key" .}}`, "template: key: template is not supported"},
		"template within if":               {"likewise", `{{if 1}}{{template "key" .}}{{end}}`, "template: key: template is not supported"},
		"itself, defined again":            {"likewise", `{{define "key"}}{{template "key"}}{{end}}`, "template: key: template is not supported"},
		"two mistakes":                     {"one line", `{{if 1}}{{range 9}}{{end}}{{else}}{{template "key"}}{{end}}`, "template: key: range is not supported template: key: template is not supported"},
		"more than 64 KiB":                 {"a Secret holds 1 MiB", strings.Repeat("a", 64<<10+1), "template: key: the value is larger than 64 KiB"},
		"more than 64 KiB in parts":        {"likewise", doubling(11, "print %x %x") + strings.Repeat("{{$x}}", 8), "template: key: the value is larger than 64 KiB"},
		"print that doubles":               {"40 times are 16 TiB", doubling(40, "print %x %x"), fmt.Sprintf(large, "print")},
		"println that doubles":             {"likewise", doubling(40, "println %x %x"), fmt.Sprintf(large, "println")},
		"printf that doubles":              {"likewise", doubling(40, `printf "%s%s" %x %x`), fmt.Sprintf(large, "printf")},
		"printf that repeats":              {"an index uses an argument again", doubling(12, `print %x %x`) + `{{len (printf "` + strings.Repeat("%[1]s", 900) + `" $x)}}`, fmt.Sprintf(large, "printf")},
		"printf of many":                   {"the arguments alone are too large", doubling(12, `print %x %x`) + `{{len (printf "" $x $x)}}`, fmt.Sprintf(large, "printf")},
		"html that grows":                  {"an apostrophe is five bytes", strings.ReplaceAll(doubling(40, "html %x"), "0123456789abcdef", "&"+strings.Repeat("'&", 8000)), fmt.Sprintf(large, "html")},
		"js that grows":                    {"a backslash doubles", strings.ReplaceAll(doubling(40, "js %x"), "abcdef", `\\\\`), fmt.Sprintf(large, "js")},
		"urlquery that grows":              {"a byte outside ASCII triples", strings.ReplaceAll(doubling(11, "print %x %x"), "0123456789abcdef", "éééééééé") + "{{urlquery $x}}", fmt.Sprintf(large, "urlquery")},
		"a wide verb":                      {"a thousand of them are 1 GB", `{{len (printf "%1000000d" 1)}}`, tooWide},
		"a precise verb":                   {"likewise", `{{len (printf "%.1000f" 1.0)}}`, tooWide},
		"a verb with flags":                {"likewise", `{{len (printf "%+#-01000d" 1)}}`, tooWide},
		"a verb with an index":             {"likewise", `{{len (printf "%[1]9999d" 1)}}`, tooWide},
		"a star":                           {"the width may be an argument", `{{len (printf "%*d" 1000000 1)}}`, tooWide},
		"a star as precision":              {"likewise", `{{len (printf "%.*d" 1000000 1)}}`, tooWide},
		"a wide verb by way of a variable": {"likewise", `{{$f := print "%" 99999 "d"}}{{len (printf $f 1)}}`, tooWide},
		"a slice out of range":             {"tried with a made-up token", "{{slice .TokenType 0 99}}", "index out of range: 99"},
		"a call of what is no function":    {"nothing can be called", "{{call .Scope}}", "error calling call: non-function .Scope of type string"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := payload.Parse(map[string]string{"key": test.text})
			if err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Fatalf("got %v\nwant … %s, since %s", err, test.want, test.reason)
			}
			checkText(t, err.Error())
		})
	}
}

// TestTemplatesCostLittle: the bound holds before the text is made, not only after.
func TestTemplatesCostLittle(t *testing.T) {
	const most = 16 << 20
	half := doubling(11, "print %x %x") // 32 KiB
	many := strings.Repeat(" $x", 2000)
	tests := map[string]string{
		"print of many":          half + "{{len (print" + many + ")}}",
		"html of many":           half + "{{len (html" + many + ")}}",
		"printf of many":         half + `{{len (printf ""` + many + ")}}",
		"printf that repeats":    half + `{{len (printf "` + strings.Repeat("%[1]s", 1500) + `" $x)}}`,
		"printf that is wide":    `{{len (printf "` + strings.Repeat("%999999d", 50) + `")}}`,
		"a value of many":        half + strings.Repeat("{{$x}}", 1200),
		"print that doubles":     doubling(20, "print %x %x"),
		"printf that quadruples": doubling(20, `printf "%[1]s%[1]s%[1]s%[1]s" %x`),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := payload.Parse(map[string]string{"key": text})
			runtime.ReadMemStats(&after)
			if cost := after.TotalAlloc - before.TotalAlloc; err == nil || cost > most {
				t.Errorf("%v after %d MiB, want an error after at most %d", err, cost>>20, most>>20)
			}
		})
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
	} {
		_, err := payload.Parse(map[string]string{"key": text})
		if err == nil {
			t.Errorf("%q is no mistake", text)
			continue
		}
		checkText(t, err.Error())
	}
}

// TestErrorIsTheSameEachTime: a condition's message must not change from pass to pass.
func TestErrorIsTheSameEachTime(t *testing.T) {
	tests := map[string]struct{ a, b, want string }{
		"both cannot be parsed":        {"{{", "{{", "template: a:1: unclosed action"},
		"both are refused":             {"{{range 1}}{{end}}", "{{template \"b\"}}", "template: a: range is not supported"},
		"both cannot be rendered":      {"{{.X}}", "{{.Y}}", `template: a:1:2: executing "a" at <.X>: can't evaluate field X in type payload.Fields`},
		"one of each":                  {"{{.X}}", "{{", "template: b:1: unclosed action"},
		"only the second is a mistake": {"", "{{.Y}}", `template: b:1:2: executing "b" at <.Y>: can't evaluate field Y in type payload.Fields`},
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

// TestRenderErrors are those that only the real token brings about. They quote nothing.
func TestRenderErrors(t *testing.T) {
	branch := `{{if eq .Environment "Production"}}%s{{end}}`
	tests := map[string]string{
		"a missing field in a branch":      fmt.Sprintf(branch, "{{.Nothing}}"),
		"a token shorter than the made-up": `{{if eq .Environment "Production"}}{{slice .TokenType 0 7}}{{end}}`,
		"a number that is none":            fmt.Sprintf(branch, "{{index .AccessToken .AccessToken}}"),
		"too much text":                    fmt.Sprintf(branch, strings.Repeat("a", 64<<10+1)),
		"too much by doubling":             fmt.Sprintf(branch, doubling(40, "print %x %x")),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			parsed, err := payload.Parse(map[string]string{"b": text, "a": text, "c": text, "0": "fine"})
			if err != nil {
				t.Fatal(err)
			}
			for range 50 {
				data, err := parsed.Render(fields)
				want := `the template of key "a" cannot be rendered with the token that PayU gave`
				if err == nil || err.Error() != want || data != nil {
					t.Fatalf("got %v, %v, want %s", data, err, want)
				}
			}
		})
	}
}

func TestParseDoesNotKeepTheMap(t *testing.T) {
	texts := maps.Clone(defaults)
	parsed, err := payload.Parse(texts)
	if err != nil {
		t.Fatal(err)
	}
	texts["access_token"] = "changed"
	texts["more"] = ""
	data, err := parsed.Render(fields)
	if err != nil || len(data) != 4 || string(data["access_token"]) != fields.AccessToken {
		t.Errorf("got %q, %v", data, err)
	}
}
