package payload_test

import (
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/payu-token-operator/payu-token-operator/internal/payload"
)

// longestText is what the API server lets through for one key.
const longestText = 8192

// FuzzTemplate: whatever a user writes, it ends quickly, costs little memory, and gives a bounded value or an error
// of one line without the token.
func FuzzTemplate(f *testing.F) {
	for _, text := range defaults {
		f.Add(text)
	}
	for _, seed := range []string{
		"", "PAYU_TOKEN={{ .AccessToken }}\n", `{{if eq .Environment "Test"}}a{{else}}{{.X}}{{end}}`, "{{range 9}}a{{end}}",
		`{{define "key"}}{{template "key"}}{{end}}`, `{{printf "%999s%[1]999.999v%q" .}}`, doubling(20, "print %x %x"),
		doubling(12, "print %x %x") + strings.Repeat("{{$a:=html $x}}", 480), `{{len (printf "` + strings.Repeat("%999d", 1600) + `")}}`,
		doubling(20, `html (js %x | urlquery)`), `{{with $x := .}}{{slice $x.Scope 1 2 | index}}{{end}}`,
		strings.Repeat("{{if 1}}", 200) + strings.Repeat("{{end}}", 200), "{{" + strings.Repeat("(", 2000), "{{break}}", "{{- .Scope -}}",
	} {
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
		if cost := after.TotalAlloc - before.TotalAlloc; took > 30*time.Second || cost > 256<<20 {
			t.Errorf("it took %s and %d MiB", took, cost>>20)
		}
	})
}

func checkTemplate(t *testing.T, text string) {
	texts := map[string]string{"key": text}
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
	case len(data) != 1 || len(data["key"]) > 64<<10:
		t.Errorf("%d keys, %d bytes", len(data), len(data["key"]))
	}
}
