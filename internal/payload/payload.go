// Package payload makes the data of a target Secret from a token: Go text/templates over its fields.
package payload

import (
	"bytes"
	"errors"
	"fmt"
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

// sample stands in for a token while a template is checked, so that no error text can hold a real one.
var sample = Fields{
	AccessToken: "sample-access-token",
	TokenType:   "Bearer",
	Scope:       "create_payment_links",
	ExpiresAt:   "2006-01-02T15:04:05Z",
	Environment: "Test",
}

// maxValue bounds one rendered value. A Secret holds 1 MiB in all.
const maxValue = 64 << 10

// Template renders the data of a target Secret.
type Template struct {
	keys map[string]*template.Template
}

// Parse returns the Template of the given texts by key, or a one-line error that names the key and says what is
// wrong with its text. A Template that Parse returns has been tried with a made-up token.
func Parse(texts map[string]string) (Template, error) {
	t := Template{keys: make(map[string]*template.Template, len(texts))}
	keys := slices.Sorted(maps.Keys(texts)) // the first error is the same each time
	for _, key := range keys {
		parsed, err := template.New(key).Funcs(functions).Parse(texts[key])
		if err == nil {
			err = checkNodes(parsed)
		}
		if err != nil {
			return Template{}, oneLine(err)
		}
		t.keys[key] = parsed
	}
	for _, key := range keys {
		if _, err := t.value(key, sample); err != nil {
			return Template{}, oneLine(err)
		}
	}
	return t, nil
}

// Render returns the data for a token. Its error names the key and nothing else, since text/template's own may
// quote what it worked on.
func (t Template) Render(fields Fields) (map[string][]byte, error) {
	data := make(map[string][]byte, len(t.keys))
	for _, key := range slices.Sorted(maps.Keys(t.keys)) { // the first error is the same each time
		value, err := t.value(key, fields)
		if err != nil {
			return nil, fmt.Errorf("the template of key %q cannot be rendered with the token that PayU gave", key)
		}
		data[key] = value
	}
	return data, nil
}

func (t Template) value(key string, fields Fields) ([]byte, error) {
	value := output{key: key}
	if err := t.keys[key].Execute(&value, fields); err != nil {
		return nil, err
	}
	return value.Bytes(), nil
}

// output collects what the template of a key writes, up to maxValue.
type output struct {
	bytes.Buffer
	key string
}

func (o *output) Write(p []byte) (int, error) {
	if o.Len()+len(p) > maxValue {
		return 0, fmt.Errorf("template: %s: the value is larger than 64 KiB", o.key)
	}
	return o.Buffer.Write(p)
}

// checkNodes refuses what could keep the operator busy for ever: range (over a number) and templates that call
// each other. No field has anything to range over.
func checkNodes(t *template.Template) error {
	if len(t.Templates()) > 1 {
		return fmt.Errorf("template: %s: define and block are not supported", t.Name())
	}
	if t.Tree == nil {
		return nil
	}
	return checkList(t.Name(), t.Root)
}

func checkList(name string, list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		if err := checkNode(name, node); err != nil {
			return err
		}
	}
	return nil
}

func checkNode(name string, node parse.Node) error {
	switch n := node.(type) {
	case *parse.RangeNode:
		return fmt.Errorf("template: %s: range is not supported", name)
	case *parse.TemplateNode:
		return fmt.Errorf("template: %s: template is not supported", name)
	case *parse.IfNode:
		return errors.Join(checkList(name, n.List), checkList(name, n.ElseList))
	case *parse.WithNode:
		return errors.Join(checkList(name, n.List), checkList(name, n.ElseList))
	}
	return nil
}

// functions are those of text/template that make text, with a bound: a few in a row, each doubling what the one
// before made, would ask for gigabytes.
var functions = template.FuncMap{
	"html":     bounded(template.HTMLEscaper),
	"js":       bounded(template.JSEscaper),
	"print":    bounded(fmt.Sprint),
	"println":  bounded(fmt.Sprintln),
	"printf":   printf,
	"urlquery": bounded(template.URLQueryEscaper),
}

var (
	errLarge = errors.New("the result is larger than 64 KiB")
	errWide  = errors.New("a width or precision has at most three digits, and no *")
	wide     = regexp.MustCompile(`%[^a-zA-Z%]*([0-9]{4}|\*)`)
)

func bounded(f func(...any) string) func(...any) (string, error) {
	return func(args ...any) (string, error) {
		if size(args) > maxValue {
			return "", errLarge
		}
		return checked(f(args...))
	}
}

// printf is bounded before it works, too: each verb may ask for the longest argument, or for a width of megabytes.
func printf(format string, args ...any) (string, error) {
	switch n := size(args); {
	case wide.MatchString(format):
		return "", errWide
	case n > maxValue, n*strings.Count(format, "%") > 16*maxValue:
		return "", errLarge
	}
	return checked(fmt.Sprintf(format, args...))
}

// size returns how long the arguments are as text, or something above maxValue.
func size(args []any) (n int) {
	for _, arg := range args {
		if n += len(fmt.Sprint(arg)); n > maxValue {
			break
		}
	}
	return n
}

func checked(s string) (string, error) {
	if len(s) > maxValue {
		return "", errLarge
	}
	return s, nil
}

// oneLine keeps both ends of a long text: the key is at the one, what is wrong at the other.
func oneLine(err error) error {
	const end = 100
	line := strings.Join(strings.Fields(err.Error()), " ")
	if len(line) > 2*end {
		line = strings.ToValidUTF8(line[:end], "") + "…" + strings.ToValidUTF8(line[len(line)-end:], "")
	}
	return errors.New(line)
}
