// Package payload renders the data of a target Secret from a token, with Go text/templates over the token's fields, and
// reads the access token back out of such data.
//
// Whether a template is good never depends on the access token, neither on its value nor on its size: what a template
// may do with it is judged on the parse tree (judge.go), and limits are applied to made-up tokens (limits.go).
package payload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// Fields are what a template may use.
type Fields struct {
	AccessToken string
	TokenType   string
	Scope       string // granted, space separated
	ExpiresAt   string // RFC 3339, UTC
	Environment string
}

// sample stands in for the fields while a template is parsed. Its access token is never used.
var sample = Fields{
	TokenType:   "Bearer",
	Scope:       "create_payment_links",
	ExpiresAt:   "2006-01-02T15:04:05Z",
	Environment: "Test",
}

var errNoToken = errors.New("no key holds the token: write {{ .AccessToken }} in at least one key, " +
	`outside if and with and before other uses of the token, for example token: "{{ .AccessToken }}"; ` +
	"in a Helm chart, write {{`{{ .AccessToken }}`}}")

// Template renders the data of a target Secret. It may be used by several goroutines at once.
type Template struct {
	keys    []key // sorted by name
	holders []key // the keys that hold the whole token; those that hold nothing else come first
}

// key is one key of the data.
type key struct {
	name string
	tree *parse.Tree
	// verdict.bare is -1 if the key does not hold the whole token.
	verdict
}

// Parse returns the Template of the given texts by key, or a one-line error that says what to write instead. Of several
// invalid keys, the error names the first by name.
func Parse(texts map[string]string) (Template, error) {
	var t Template
	trials := newTrials()
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		k, err := parseKey(name, texts[name])
		if err == nil {
			err = k.try(trials, sample)
		}
		if err != nil {
			return Template{}, k.wrap(err)
		}
		t.keys = append(t.keys, k)
	}
	if t.holders = holdersOf(t.keys); len(t.holders) == 0 {
		return Template{}, noHolder(t.keys)
	}
	return t, nil
}

// noHolder says why no key holds the token.
func noHolder(keys []key) error {
	for _, k := range keys {
		if k.onlyIn != "" {
			return oneLine(fmt.Sprintf(`no key holds the token: in key %q it stands only inside %s, which does not count: write text such as "Bearer {{ .AccessToken }}"`,
				k.name, k.onlyIn))
		}
	}
	return errNoToken
}

func parseKey(name, text string) (key, error) {
	k := key{name: name, verdict: verdict{bare: -1}}
	parsed, err := template.New("").Parse(text)
	switch {
	case err != nil:
		return k, err
	case len(parsed.Templates()) > 1:
		return k, errors.New("define and block are not supported")
	}
	k.tree = parsed.Tree
	k.verdict, err = judge(k.tree.Root)
	return k, err
}

func holdersOf(keys []key) []key {
	var alone, others []key
	for _, k := range keys {
		switch {
		case k.isAlone():
			alone = append(alone, k)
		case k.bare >= 0:
			others = append(others, k)
		}
	}
	return append(alone, others...)
}

// isAlone reports whether the key holds the token and nothing else.
func (k key) isAlone() bool { return k.bare == 0 && len(k.tree.Root.Nodes) == 1 }

// Render returns the data for a token. It fails, with errors like those of Parse, only because of the fields other than the
// access token.
func (t Template) Render(fields Fields) (map[string][]byte, error) {
	data := make(map[string][]byte, len(t.keys))
	trials, root := newTrials(), template.New("")
	for _, k := range t.keys {
		err := k.try(trials, fields)
		if err == nil {
			data[k.name], err = render(root, k.tree, fields)
		}
		if err != nil {
			return nil, k.wrap(err)
		}
	}
	return data, nil
}

// render uses text/template's own functions, without limits, because a trial has applied them. Its error quotes nothing,
// since an error of text/template may quote the token.
func render(root *template.Template, tree *parse.Tree, fields Fields) ([]byte, error) {
	var value bytes.Buffer
	if err := execute(&value, root, tree, fields); err != nil {
		return nil, errors.New("cannot be rendered")
	}
	return value.Bytes(), nil
}

// execute uses the functions of root. Adding a tree to it costs less than a template of its own.
func execute(w io.Writer, root *template.Template, tree *parse.Tree, fields Fields) error {
	t, err := root.AddParseTree("key", tree)
	if err != nil {
		return err
	}
	return t.Execute(w, fields)
}

// wrap returns the error as one line that begins with the key.
func (k key) wrap(err error) error { return oneLine(fmt.Sprintf("key %q: %s", k.name, plain(err))) }

// position matches what text/template puts before the cause, in errors of parsing and of execution.
var position = regexp.MustCompile(`(?s)^template: :(\d+)(?::\d+)?: (?:executing "key" at (<.*>): )?(?:error calling \w+: )?(.*)$`)

// plain returns the cause and the line, without text/template's own words around them.
func plain(err error) string {
	if own := (limitError("")); errors.As(err, &own) {
		return own.Error()
	}
	parts := position.FindStringSubmatch(err.Error())
	switch {
	case parts == nil:
		return err.Error()
	case parts[2] == "":
		return fmt.Sprintf("line %s: %s", parts[1], inOurWords(parts[3]))
	}
	return fmt.Sprintf("line %s: %s: %s", parts[1], parts[2], parts[3])
}

var undefined = regexp.MustCompile(`^function "(\w+)" not defined$`)

// inOurWords says what to write instead, where text/template's own words do not.
func inOurWords(cause string) string {
	name := undefined.FindStringSubmatch(cause)
	switch {
	case cause == "unclosed action":
		return "{{ without }}"
	case strings.HasPrefix(cause, "unexpected "):
		return cause + ": write for example {{ .AccessToken }}"
	case name == nil:
		return cause
	case slices.Contains(fieldNames, name[1]):
		return fmt.Sprintf("%s lacks its dot: write .%[1]s", name[1])
	case fieldLike(name[1]) != "":
		return fmt.Sprintf("%s is not a field: write .%s", name[1], fieldLike(name[1]))
	default:
		return fmt.Sprintf("%s is not a function: use those that are built into Go's text/template", name[1])
	}
}

// fieldLike returns the field whose name differs only in case and underscores, empty if there is none.
func fieldLike(name string) string {
	for _, field := range fieldNames {
		if strings.EqualFold(field, strings.ReplaceAll(name, "_", "")) {
			return field
		}
	}
	return ""
}

// oneLine keeps both ends of a long text: one names the key, the other says what is wrong.
func oneLine(text string) error {
	const end = 100
	line := strings.Join(strings.Fields(text), " ")
	if len(line) > 2*end {
		line = strings.ToValidUTF8(line[:end], "") + "…" + strings.ToValidUTF8(line[len(line)-end:], "")
	}
	return errors.New(line)
}
