package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// page is a file of Markdown.
type page struct {
	path   string // seen from the root of the repository
	text   string // without what is in fences
	fences []fence
}

// fence is a block of code.
type fence struct {
	page     string
	line     int    // of its first line
	language string // what stands behind the opening ```: "sh", and more words if there are any
	body     string
}

func (f fence) String() string { return fmt.Sprintf("%s:%d", f.page, f.line) }

var fenceMark = regexp.MustCompile("^ *```+(.*)$")

func parsePage(t *testing.T, path string) page {
	t.Helper()
	p := page{path: path}
	var text strings.Builder
	inside := false
	n := 0
	for line := range strings.Lines(string(lab.Must(os.ReadFile(filepath.Join(root, path)))(t))) {
		n++
		mark := fenceMark.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case mark != nil && !inside:
			p.fences = append(p.fences, fence{page: path, line: n + 1, language: strings.TrimSpace(mark[1])})
			inside = true
		case mark != nil:
			inside = false
		case inside:
			p.fences[len(p.fences)-1].body += line
			line = "\n" // what is cited by its line stays there
		}
		if mark != nil {
			line = "\n"
		}
		text.WriteString(line)
	}
	if inside {
		t.Errorf("%s: a fence is not closed", path)
	}
	p.text = text.String()
	return p
}

// pages returns all Markdown of the repository.
func pages(t *testing.T) []page {
	t.Helper()
	var list []page
	lab.Check(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "bin" || name == "dist" || name == "node_modules" || name == "testdata" || name != ".." && strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case !entry.IsDir() && strings.HasSuffix(name, ".md"):
			relative, err := filepath.Rel(root, path)
			list = append(list, parsePage(t, relative))
			return err
		}
		return nil
	}))
	if len(list) < 5 {
		t.Fatalf("only %d pages were found", len(list))
	}
	return list
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// spans returns what stands between backticks.
func (p page) spans() []string {
	var list []string
	for _, match := range codeSpan.FindAllStringSubmatch(p.text, -1) {
		list = append(list, match[1])
	}
	return list
}

var heading = regexp.MustCompile(`(?m)^#+ +(.*?) *#*$`)

// anchors returns the anchors that GitHub gives to the headings.
func (p page) anchors() []string {
	var list []string
	for _, match := range heading.FindAllStringSubmatch(p.text, -1) {
		anchor := slug(match[1])
		unique := anchor
		for n := 1; slices.Contains(list, unique); n++ {
			unique = fmt.Sprintf("%s-%d", anchor, n)
		}
		list = append(list, unique)
	}
	return list
}

var (
	linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	unslug   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func slug(title string) string {
	title = linkText.ReplaceAllString(title, "$1")
	return strings.ReplaceAll(unslug.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
}

// table returns the rows, cell by cell, of the table that follows a heading.
func (p page) table(t *testing.T, heading string) [][]string {
	t.Helper()
	_, rest, found := strings.Cut(p.text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", p.path, heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var rows [][]string
	for line := range strings.Lines(rest) {
		if strings.HasPrefix(line, "|") {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		} else if len(rows) > 0 {
			break
		}
	}
	if len(rows) < 3 {
		t.Fatalf("%s has no table under %q", p.path, heading)
	}
	return rows[2:]
}

// named returns what a cell names in backticks.
func named(cell string) []string {
	var list []string
	for _, match := range codeSpan.FindAllStringSubmatch(cell, -1) {
		list = append(list, match[1])
	}
	return list
}
