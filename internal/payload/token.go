package payload

import (
	"slices"
	"sort"
	"strings"
	"text/template"
	"text/template/parse"
)

// Token returns the access token that data was rendered with, given the other fields; fields.AccessToken is ignored.
// It reports false unless the value of a key that holds the whole token is what Render returns for that token.
func (t Template) Token(data map[string][]byte, fields Fields) (string, bool) {
	for _, k := range t.holders {
		if token, ok := k.token(string(data[k.name]), fields); ok {
			return token, true
		}
	}
	return "", false
}

// token finds where the token ends by a binary search: the text before it is known, and a longer token always makes a longer
// value, since the token stands there unchanged and no function returns less for a longer argument.
func (k key) token(value string, fields Fields) (string, bool) {
	if k.isAlone() {
		return value, isBearer(value)
	}
	root := template.New("")
	rest, ok := k.cutBefore(root, value, fields)
	if !ok {
		return "", false
	}
	valueWith := func(n int) string {
		fields.AccessToken = rest[:n]
		rendered, _ := render(root, k.tree, fields) // the trials worked, so this does
		return string(rendered)
	}
	n := sort.Search(runOfBearer(rest), func(n int) bool { return len(valueWith(n)) >= len(value) })
	return rest[:n], isBearer(rest[:n]) && valueWith(n) == value
}

// cutBefore returns the value without what stands before the token.
func (k key) cutBefore(root *template.Template, value string, fields Fields) (rest string, ok bool) {
	if k.try(newTrials(), fields) != nil { // the fields may be such that a template exceeds the limits
		return "", false
	}
	nodes := k.tree.Root.Nodes[:k.bare]
	before, err := render(root, &parse.Tree{Root: &parse.ListNode{NodeType: parse.NodeList, Nodes: slices.Clip(nodes)}}, fields)
	if err != nil {
		return "", false
	}
	return strings.CutPrefix(value, string(before))
}

// runOfBearer returns how many bytes at the beginning of s may belong to a token.
func runOfBearer(s string) int {
	s = s[:min(len(s), maxToken)]
	if n := strings.IndexFunc(s, func(r rune) bool { return r != '=' && !isB64Token(r) }); n >= 0 {
		return n
	}
	return len(s)
}

// isBearer reports whether s is a b64token of RFC 6750 section 2.1, up to 16 KiB.
func isBearer(s string) bool {
	bare := strings.TrimRight(s, "=")
	return bare != "" && len(s) <= maxToken && !strings.ContainsFunc(bare, func(r rune) bool { return !isB64Token(r) })
}

func isB64Token(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/", r)
}
