package payload

import (
	"fmt"
	"regexp"
	"strings"
	"text/template"
)

const (
	// maxText is the limit on the text that the templates of one Secret produce: values and results of functions. The API
	// server allows 1 MiB for all values of a Secret.
	maxText = 1 << 20

	// maxToken is the size of the longest access token.
	maxToken = 16 << 10
)

// longest are the two worst of the longest tokens: of all characters of a token, "=" grows most in js, and "=" and "+" grow
// most in urlquery. A token that mixes characters can only grow more if functions cut the text in between, and then to less
// than the sum of both and one without them. So memory stays bounded without a limit on the real token.
var longest = [...]string{"a" + strings.Repeat("=", maxToken-1), strings.Repeat("+", maxToken)}

// limitError says which limit a template exceeds.
type limitError string

func (e limitError) Error() string { return string(e) }

const (
	errLarge limitError = "the templates produce more than 1 MiB of text, counted with a token of 16 KiB"
	errWide  limitError = "a width or precision of printf has at most three digits, and no *"
)

// trial renders the templates of one Secret with a made-up token, under the limits, before the real token is used.
type trial struct {
	token string
	left  int // of maxText
	root  *template.Template
}

func newTrials() []*trial {
	trials := make([]*trial, len(longest))
	for i, token := range longest {
		trials[i] = &trial{token: token, left: maxText}
		trials[i].root = template.New("").Funcs(trials[i].functions())
	}
	return trials
}

// try renders the key with made-up tokens and the other fields.
func (k key) try(trials []*trial, fields Fields) error {
	for _, t := range trials {
		fields.AccessToken = t.token
		if err := execute(t, t.root, k.tree, fields); err != nil {
			return err
		}
	}
	return nil
}

// Write counts what a template writes.
func (t *trial) Write(p []byte) (int, error) { return len(p), t.take(len(p)) }

func (t *trial) take(n int) error {
	if n > t.left {
		return errLarge
	}
	t.left -= n
	return nil
}

// functions are those of text/template that produce text, with limits: without them, a few in a row that each double the
// result of the one before would need gigabytes.
func (t *trial) functions() template.FuncMap {
	return template.FuncMap{
		"html":     t.limited(template.HTMLEscaper),
		"js":       t.limited(template.JSEscaper),
		"print":    t.limited(fmt.Sprint),
		"println":  t.limited(fmt.Sprintln),
		"printf":   t.printf,
		"urlquery": t.limited(template.URLQueryEscaper),
	}
}

func (t *trial) limited(f func(...any) string) func(...any) (string, error) {
	return func(args ...any) (string, error) {
		if size(args) > t.left {
			return "", errLarge
		}
		return t.counted(f(args...))
	}
}

// printf is also limited before it formats: each verb may print the longest argument, or be a thousand bytes wide.
func (t *trial) printf(format string, args ...any) (string, error) {
	if err := checkWidth(format); err != nil {
		return "", err
	}
	if n := size(args); n > t.left || n*strings.Count(format, "%") > 4*maxText {
		return "", errLarge
	}
	return t.counted(fmt.Sprintf(format, args...))
}

func (t *trial) counted(s string) (string, error) { return s, t.take(len(s)) }

var wide = regexp.MustCompile(`%[^a-zA-Z%]*([0-9]{4}|\*)`)

func checkWidth(format string) error {
	if wide.MatchString(format) {
		return errWide
	}
	return nil
}

// size returns how long the arguments are as text, or something above maxText.
func size(args []any) (n int) {
	for _, arg := range args {
		s, ok := arg.(string)
		if !ok {
			s = fmt.Sprint(arg)
		}
		if n += len(s); n > maxText {
			break
		}
	}
	return n
}
