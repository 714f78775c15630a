package payload_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payload"
)

// doubling makes a text of 16 bytes twice as long so many times, by a pipeline with %x for the variable.
func doubling(times int, pipeline string) string {
	return `{{$x := "0123456789abcdef"}}` + strings.Repeat("{{$x = "+strings.ReplaceAll(pipeline, "%x", "$x")+"}}", times) + "{{len $x}}"
}

func TestLimits(t *testing.T) {
	bare := func(n int) string { return strings.Repeat("{{.AccessToken}}", n) }
	doubled := func(old, new string) string {
		return strings.ReplaceAll(doubling(11, "print %x %x"), old, new) // 32 KiB
	}
	tests := map[string]struct{ reason, text, want string }{
		"1 MiB":                    {"with another token: a Secret holds 1 MiB", strings.Repeat("a", 1<<20-16<<10), ""},
		"more than 1 MiB":          {"likewise", strings.Repeat("a", 1<<20-16<<10+1), tooMuch},
		"more than 1 MiB in parts": {"likewise", doubling(14, "print %x %x") + strings.Repeat("{{$x}}", 4), tooMuch},
		"64 tokens of 16 KiB":      {"the longest token counts", bare(63), ""},
		"65 tokens of 16 KiB":      {"likewise", bare(64), tooMuch},
		"a token that grows":       {"= has six bytes in js, and counts in the function and in the value", strings.Repeat("{{js .AccessToken}}", 5), ""},
		"tokens that grow":         {"likewise", strings.Repeat("{{js .AccessToken}}", 6), tooMuch},
		"tokens that grow otherwise": {"cut after js, + has more bytes in urlquery than =",
			strings.Repeat(`{{js .AccessToken | printf "%.999s" | printf "`+strings.Repeat("%[1]s", 90)+`" | urlquery}}`, 2), tooMuch},
		"a token that doubles":             {"ten times are 16 MiB", "{{.AccessToken" + strings.Repeat(`|printf "%x"`, 10) + "}}", tooMuch},
		"print that doubles":               {"40 times are 16 TiB", doubling(40, "print %x %x"), tooMuch},
		"println that doubles":             {"likewise", doubling(40, "println %x %x"), tooMuch},
		"printf that doubles":              {"likewise", doubling(40, `printf "%s%s" %x %x`), tooMuch},
		"printf that repeats":              {"an index uses an argument again", doubling(12, `print %x %x`) + `{{len (printf "` + strings.Repeat("%[1]s", 900) + `" $x)}}`, tooMuch},
		"printf of many":                   {"the arguments alone are too large", doubling(14, `print %x %x`) + `{{len (printf "" $x $x $x $x)}}`, tooMuch},
		"html that grows":                  {"an apostrophe is five bytes", strings.ReplaceAll(doubling(40, "html %x"), "0123456789abcdef", "&"+strings.Repeat("'&", 8000)), tooMuch},
		"js that grows":                    {"a backslash doubles", strings.ReplaceAll(doubling(40, "js %x"), "abcdef", `\\\\`), tooMuch},
		"urlquery that grows":              {"a byte outside ASCII triples", doubled("0123456789abcdef", "éééééééé") + strings.Repeat("{{$x = urlquery $x}}", 3) + strings.Repeat("{{len (print $x)}}", 3), tooMuch},
		"a wide verb":                      {"a thousand of them are 1 GB", `{{len (printf "%1000000d" 1)}}`, tooWide},
		"a precise verb":                   {"likewise", `{{len (printf "%.1000f" 1.0)}}`, tooWide},
		"a verb with flags":                {"likewise", `{{len (printf "%+#-01000d" 1)}}`, tooWide},
		"a verb with an index":             {"likewise", `{{len (printf "%[1]9999d" 1)}}`, tooWide},
		"a star":                           {"the width may be an argument", `{{len (printf "%*d" 1000000 1)}}`, tooWide},
		"a star as precision":              {"likewise", `{{len (printf "%.*d" 1000000 1)}}`, tooWide},
		"a wide verb by way of a variable": {"likewise", `{{$f := print "%" 99999 "d"}}{{len (printf $f 1)}}`, tooWide},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := payload.Parse(withToken(test.text))
			switch {
			case err == nil && test.want == "":
			case err == nil || test.want == "" || !strings.HasSuffix(err.Error(), ": "+test.want):
				t.Errorf("got %v\nwant … %q, since %s", err, test.want, test.reason)
			default:
				checkText(t, err.Error())
			}
		})
	}
}

// TestTemplatesCostLittle: the limit holds before the text is made, not only after.
func TestTemplatesCostLittle(t *testing.T) {
	large := doubling(14, "print %x %x") // 256 KiB
	many := strings.Repeat(" $x", 2000)
	tests := map[string]string{
		"print of many":           large + "{{len (print" + many + ")}}",
		"html of many":            large + "{{len (html" + many + ")}}",
		"printf of many":          large + `{{len (printf ""` + many + ")}}",
		"printf that repeats":     large + `{{len (printf "` + strings.Repeat("%[1]s", 1500) + `" $x)}}`,
		"printf that is wide":     `{{len (printf "` + strings.Repeat("%999999d", 50) + `")}}`,
		"a value of many":         large + strings.Repeat("{{$x}}", 1200),
		"print that doubles":      doubling(20, "print %x %x"),
		"printf that quadruples":  doubling(20, `printf "%[1]s%[1]s%[1]s%[1]s" %x`),
		"a token in many":         "{{.AccessToken" + strings.Repeat("|print", 1000) + "}}",
		"a token that quadruples": "{{.AccessToken" + strings.Repeat(`|printf "%[1]s%[1]s%[1]s%[1]s"`, 100) + "}}",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			checkCost(t, func() bool {
				_, err := payload.Parse(map[string]string{"key": text})
				return err != nil
			})
		})
	}
}

// checkCost checks that f refuses, and allocates little.
func checkCost(t *testing.T, f func() (refused bool)) {
	t.Helper()
	const most = 16 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	refused := f()
	runtime.ReadMemStats(&after)
	if cost := after.TotalAlloc - before.TotalAlloc; !refused || cost > most {
		t.Errorf("refused is %t after %d MiB, want true after at most %d", refused, cost>>20, most>>20)
	}
}
