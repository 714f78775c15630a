package payload_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payload"
)

func TestTokenIsReadBack(t *testing.T) {
	for _, text := range holders {
		parsed := parse(t, map[string]string{"key": text})
		for _, token := range tokens {
			data, err := parsed.Render(with(token))
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if got, ok := parsed.Token(data, with("ignored")); !ok || got != token {
				t.Errorf("%q: got %.100q, %t, want %.100q", text, got, ok, token)
			}
		}
	}
}

func TestTokenIsNotReadBack(t *testing.T) {
	long := strings.Repeat("t", 16<<10+1)
	tests := map[string]struct{ reason, text, value string }{
		"nothing":                  {"it is empty", "{{ .AccessToken }}", ""},
		"nothing, with text":       {"likewise", "T={{ .AccessToken }}", "T="},
		"padding":                  {"a token has more than that", "{{ .AccessToken }}", "=="},
		"padding within":           {"b64token has it at the end only", "{{ .AccessToken }}", "a=b"},
		"padding within, and text": {"likewise", "T={{ .AccessToken }};", "T=a=b;"},
		"a space":                  {"no token has one", "{{ .AccessToken }}", "a b"},
		"a line feed":              {"likewise", "{{ .AccessToken }}", "a\n"},
		"no ASCII":                 {"likewise", "T={{ .AccessToken }}", "T=é"},
		"more than 16 KiB":         {"no token is longer", "{{ .AccessToken }}", long},
		"more than 16 KiB, twice":  {"likewise", "{{ .AccessToken }} {{ .AccessToken }}", long + " " + long},
		"text after it":            {"nothing stands there", "T={{ .AccessToken }}", "T=a\n"},
		"another text before":      {"it does not match", "T={{ .AccessToken }};", "U=a;"},
		"another text after":       {"it does not match", "T={{ .AccessToken }};", "T=a,"},
		"less text before":         {"it does not match", "T={{ .AccessToken }}", "T"},
		"less text after":          {"it does not match", "T={{ .AccessToken }}; ", "T=a;"},
		"another environment":      {"it does not match", "{{ .Environment }} {{ .AccessToken }}", "Test a"},
		"another scope":            {"it does not match", "{{ .AccessToken }} {{ .Scope }}", "a b"},
		"two tokens":               {"Render writes one twice", "{{ .AccessToken }} {{ .AccessToken }}", "a b"},
		"two tokens, changed":      {"likewise", "{{ .AccessToken }} {{ urlquery .AccessToken }}", "a+ a+"},
		"text that cannot be made": {"the scope is too short", `{{ $x := slice .Scope 12 }}T={{ .AccessToken }}`, "T=a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			parsed := parse(t, map[string]string{"key": test.text})
			f := fields
			if name == "text that cannot be made" {
				f.Scope = "short"
			}
			if got, ok := parsed.Token(map[string][]byte{"key": []byte(test.value)}, f); ok {
				t.Errorf("got %.100q, since %s", got, test.reason)
			}
		})
	}
	if got, ok := parse(t, defaults).Token(nil, fields); ok {
		t.Errorf("no data: got %q", got)
	}
	if got, ok := (payload.Template{}).Token(map[string][]byte{"access_token": []byte("a")}, fields); ok {
		t.Errorf("no template: got %q", got)
	}
}

// TestTokenIsOfAnyKey: the key that holds nothing else is read first, then the others by name.
func TestTokenIsOfAnyKey(t *testing.T) {
	parsed := parse(t, map[string]string{
		"a": "{{ urlquery .AccessToken }}", "b": "B={{ .AccessToken }}", "c": "C={{ .AccessToken }}", "d": "{{ .AccessToken }}",
	})
	data := map[string][]byte{"a": []byte("of-a"), "b": []byte("B=of-b"), "c": []byte("C=of-c"), "d": []byte("of-d")}
	for _, step := range []struct{ want, next string }{{"of-d", "d"}, {"of-b", "b"}, {"of-c", "c"}, {"", ""}} {
		got, ok := parsed.Token(data, fields)
		if got != step.want || ok != (step.want != "") {
			t.Errorf("got %q, %t, want %q", got, ok, step.want)
		}
		data[step.next] = []byte("\n")
	}
}

// TestReadingCostsLittle, whatever somebody has written into the Secret.
func TestReadingCostsLittle(t *testing.T) {
	large := strings.Repeat("a", 1<<20)
	tests := map[string]struct{ text, value, scope string }{
		"a long value":         {`{{.AccessToken}}{{printf "` + strings.Repeat("%[1]s", 5) + `" .AccessToken}}`, large, ""},
		"odd characters":       {"{{.AccessToken}}{{.AccessToken" + strings.Repeat("|html", 25) + "}}", strings.Repeat("&", 1<<20), ""},
		"a scope that doubles": {`{{if eq .Scope "boom"}}` + doubling(25, "print %x %x") + "{{end}}t={{.AccessToken}}", "t=a", "boom"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			parsed := parse(t, map[string]string{"key": test.text})
			fields := fields
			fields.Scope = test.scope
			checkCost(t, func() bool {
				_, ok := parsed.Token(map[string][]byte{"key": []byte(test.value)}, fields)
				return !ok
			})
		})
	}
}

// BenchmarkDefault and BenchmarkFile are what a pass may do.
func BenchmarkDefault(b *testing.B) { benchmark(b, defaults) }

func BenchmarkFile(b *testing.B) {
	benchmark(b, map[string]string{"token.env": "PAYU_TOKEN={{ .AccessToken }}\nPAYU_TOKEN_EXPIRES_AT={{ .ExpiresAt }}\n"})
}

func benchmark(b *testing.B, texts map[string]string) {
	parsed, err := payload.Parse(texts)
	if err != nil {
		b.Fatal(err)
	}
	data, err := parsed.Render(fields)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = payload.Parse(texts)
		}
	})
	b.Run("Render", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = parsed.Render(fields)
		}
	})
	b.Run("Token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if got, ok := parsed.Token(data, fields); !ok || !bytes.Equal([]byte(got), []byte(fields.AccessToken)) {
				b.Fatal(got)
			}
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	parsed := parse(t, map[string]string{"key": "{{ if .Scope }}T={{ end }}{{ .AccessToken }}{{ printf \"%q\" .AccessToken }}"})
	var group sync.WaitGroup
	for _, token := range tokens {
		group.Go(func() {
			data, err := parsed.Render(with(token))
			if got, ok := parsed.Token(data, fields); err != nil || !ok || got != token {
				t.Errorf("got %.100q, %t, %v, want %.100q", got, ok, err, token)
			}
		})
	}
	group.Wait()
}
