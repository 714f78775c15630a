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

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	count := 0
	for _, p := range all {
		text := codeSpan.ReplaceAllString(p.text, "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			count++
			path := p.path
			if target != "" {
				path = filepath.Join(filepath.Dir(p.path), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s links to %s, which does not exist", p.path, match[1])
				continue
			}
			at := slices.IndexFunc(all, func(other page) bool { return other.path == path })
			if anchor != "" && (at < 0 || !slices.Contains(all[at].anchors(), anchor)) {
				t.Errorf("%s links to %s, but %s has no such heading", p.path, match[1], path)
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d links were found", count)
	}
}

func TestTheIndexNamesEveryPage(t *testing.T) {
	index := parsePage(t, "docs/README.md")
	for _, path := range must(filepath.Glob(root + "/docs/*.md"))(t) {
		if name := filepath.Base(path); name != "README.md" && !strings.Contains(index.text, "]("+name+")") {
			t.Errorf("docs/README.md does not name docs/%s: give it a line", name)
		}
	}
}
