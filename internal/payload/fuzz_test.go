package payload_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/payu-token-operator/payu-token-operator/internal/payload"
)

// longestText is what the API server lets through for one key.
const longestText = 8192

func seeds() []string {
	all := []string{
		"", "PAYU_TOKEN={{ .AccessToken }}\n", `{{if eq .Environment "Test"}}a{{else}}{{.X}}{{end}}`, "{{range 9}}a{{end}}",
		`{{define "key"}}{{template "key"}}{{end}}`, `{{printf "%999s%[1]999.999v%q" .Scope}}`, doubling(20, "print %x %x"),
		doubling(12, "print %x %x") + strings.Repeat("{{$a:=html $x}}", 480), `{{len (printf "` + strings.Repeat("%999d", 1600) + `")}}`,
		doubling(20, `html (js %x | urlquery)`), `{{with $x := .Scope}}{{slice $x 1 2 | index}}{{end}}`,
		strings.Repeat("{{if 1}}", 200) + strings.Repeat("{{end}}", 200), "{{" + strings.Repeat("(", 2000), "{{break}}", "{{- .Scope -}}",
		`{{if slice .AccessToken 9}}{{end}}`, `{{$x := .AccessToken}}{{index $x 20}}`, `{{with $}}{{.AccessToken | len}}{{end}}`,
		`{{printf (urlquery .AccessToken | js) .AccessToken}}`, `{{.AccessToken | printf "%[1]5.3s%-7q%x" | print 1 "a"}}{{.AccessToken}}`,
		`{{define ""}}{{.AccessToken}}{{end}}`, `{{$ = .AccessToken}}{{$.AccessToken}}`, `{{and .AccessToken .Scope}}`,
	}
	for _, text := range defaults {
		all = append(all, text)
	}
	return append(all, holders...)
}

// FuzzTemplate: whatever a user writes, it ends quickly, costs little memory, and gives a bounded value or an error
// of one line without the token.
func FuzzTemplate(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = text[:min(len(text), longestText)]
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		checkTemplate(t, text)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if cost := after.TotalAlloc - before.TotalAlloc; took > 30*time.Second || cost > 128<<20 {
			t.Errorf("it took %s and %d MiB", took, cost>>20)
		}
	})
}

func checkTemplate(t *testing.T, text string) {
	texts := withToken(text)
	parsed, err := payload.Parse(texts)
	if err != nil {
		if utf8.ValidString(text) {
			checkText(t, err.Error())
		}
		if _, again := payload.Parse(texts); again == nil || again.Error() != err.Error() {
			t.Errorf("first %v, then %v", err, again)
		}
		return
	}
	data, err := parsed.Render(fields)
	switch {
	case err != nil:
		checkText(t, err.Error())
	case len(data) != 2 || len(data["key"]) > 1<<20:
		t.Errorf("%d keys, %d bytes", len(data), len(data["key"]))
	}
}

// FuzzToken: the token is read back from every template that is accepted.
func FuzzToken(f *testing.F) {
	for i, seed := range seeds() {
		f.Add(seed, fields.AccessToken, uint16(i))
	}
	f.Fuzz(func(t *testing.T, text, token string, size uint16) {
		parsed, err := payload.Parse(map[string]string{"key": text[:min(len(text), longestText)]})
		if err != nil {
			return
		}
		token = tokenOf(token, size)
		data, err := parsed.Render(with(token))
		if err != nil {
			return
		}
		if got, ok := parsed.Token(data, with("")); !ok || got != token {
			t.Errorf("got %.100q, %t, want %.100q", got, ok, token)
		}
	})
}

// FuzzReading: what is read from any value is what Render makes that value of.
func FuzzReading(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed, "aaaa"+fields.AccessToken+"aaaa")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		parsed, err := payload.Parse(map[string]string{"key": text[:min(len(text), longestText)]})
		if err != nil {
			return
		}
		token, ok := parsed.Token(map[string][]byte{"key": []byte(value)}, with(""))
		if !ok {
			return
		}
		if data, err := parsed.Render(with(token)); err != nil || string(data["key"]) != value {
			t.Errorf("got %q, which makes %q, %v", token, data["key"], err)
		}
	})
}

// FuzzOutcome: whether a template is good, and why not, is the same for any two tokens.
func FuzzOutcome(f *testing.F) {
	for i, seed := range seeds() {
		f.Add(seed, "a", uint16(0), fields.AccessToken, uint16(i*i))
	}
	f.Fuzz(func(t *testing.T, text, a string, sizeOfA uint16, b string, sizeOfB uint16) {
		parsed, err := payload.Parse(withToken(text[:min(len(text), longestText)]))
		if err != nil {
			return
		}
		_, errA := parsed.Render(with(tokenOf(a, sizeOfA)))
		_, errB := parsed.Render(with(tokenOf(b, sizeOfB)))
		if fmt.Sprint(errA) != fmt.Sprint(errB) {
			t.Errorf("%v for %.100q, %v for %.100q", errA, a, errB, b)
		}
	})
}

// tokenOf returns a token of a size up to 16 KiB, with padding for an odd one.
func tokenOf(seed string, size uint16) string {
	n := int(size) % (16 << 10)
	var token strings.Builder
	for i := 0; token.Len() < n/2+1; i++ {
		at := i
		if len(seed) > 0 {
			at = int(seed[i%len(seed)])
		}
		token.WriteByte(b64[at%len(b64)])
	}
	if n%2 == 1 {
		return token.String() + strings.Repeat("=", n/2)
	}
	return token.String()
}
