// Package payload makes the data of a target Secret from a token: Go text/templates over its fields.
package payload

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
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
		parsed, err := template.New(key).Funcs(template.FuncMap{"printf": printf}).Parse(texts[key])
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
	for key := range t.keys {
		value, err := t.value(key, fields)
		if err != nil {
			return nil, fmt.Errorf("the template of key %q cannot be rendered with the token that PayU gave", key)
		}
		data[key] = value
	}
	return data, nil
}

func (t Template) value(key string, fields Fields) ([]byte, error) {
	var value bytes.Buffer
	if err := t.keys[key].Execute(&value, fields); err != nil {
		return nil, err
	}
	if value.Len() > maxValue {
		return nil, fmt.Errorf("template: %s: the value is larger than 64 KiB", key)
	}
	return value.Bytes(), nil
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

// printf is fmt.Sprintf with a bound, since a few widths can ask for hundreds of megabytes.
func printf(format string, args ...any) (string, error) {
	s := fmt.Sprintf(format, args...)
	if len(s) > maxValue {
		return "", errors.New("the result is larger than 64 KiB")
	}
	return s, nil
}

func oneLine(err error) error {
	const most = 200
	line := strings.Join(strings.Fields(err.Error()), " ")
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return errors.New(line)
}
