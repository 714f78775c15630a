package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^()\s]+)\)`)

// links returns what a page links to within the repository: a path seen from its root, and an anchor.
func (p page) links() [][2]string {
	var list [][2]string
	for _, match := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(p.text, ""), -1) {
		target, anchor, _ := strings.Cut(match[1], "#")
		switch {
		case strings.Contains(target, "://"), strings.HasPrefix(target, "mailto:"):
			continue
		case target == "":
			target = p.path
		default:
			target = filepath.Join(filepath.Dir(p.path), target)
		}
		list = append(list, [2]string{target, anchor})
	}
	return list
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	count := 0
	for _, p := range all {
		for _, l := range p.links() {
			target, anchor := l[0], l[1]
			count++
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", p.path, target)
				continue
			}
			at := slices.IndexFunc(all, func(other page) bool { return other.path == target })
			if anchor != "" && (at < 0 || !slices.Contains(all[at].anchors(), anchor)) {
				t.Errorf("%s links to #%s of %s, which has no such heading", p.path, anchor, target)
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d links were found", count)
	}
}

// TestEveryPageCanBeFound follows the links from the index.
func TestEveryPageCanBeFound(t *testing.T) {
	all := map[string]page{}
	for _, p := range pages(t) {
		all[p.path] = p
	}
	found := map[string]bool{}
	var follow func(path string)
	follow = func(path string) {
		if p, known := all[path]; known && !found[path] {
			found[path] = true
			for _, l := range p.links() {
				follow(l[0])
			}
		}
	}
	follow("docs/README.md")
	for path := range all {
		if strings.HasPrefix(path, "docs/") && !found[path] {
			t.Errorf("no link leads from docs/README.md to %s: give it a line there", path)
		}
	}
}
