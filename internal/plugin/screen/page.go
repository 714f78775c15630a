// Package screen formats what people read about PayUTokens. It is pure: facts and a time go in, lines come out. No value
// of a Secret ever gets here.
package screen

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Style is how a page is rendered.
type Style struct {
	Colour bool
	// Width is the maximum length of a line; 0 means no limit.
	Width int
}

// colour is the number of an ANSI sequence.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	faint  colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	cyan   colour = "36"
)

// span is text in one colour, text a line or a part of one.
type (
	span struct {
		text   string
		colour colour
	}
	text []span
)

func in(c colour, s string) text { return text{{s, c}} }

func (t text) width() (n int) {
	for _, s := range t {
		n += utf8.RuneCountInString(s.text)
	}
	return n
}

// Page is a list of lines to show.
type Page struct{ lines []text }

// Lines counts the lines.
func (p Page) Lines() int { return len(p.lines) }

// Without returns the page without its first lines.
func (p Page) Without(lines int) Page { return Page{p.lines[min(lines, len(p.lines)):]} }

// width is the length of the longest line.
func (p Page) width() (n int) {
	for _, line := range p.lines {
		n = max(n, line.width())
	}
	return n
}

func (p *Page) add(parts ...text) {
	var line text
	for _, part := range parts {
		line = append(line, part...)
	}
	p.lines = append(p.lines, line)
}

// prose adds text of one colour, wrapped to lines of at most width characters, each with an indent.
func (p *Page) prose(c colour, indent string, width int, words string) {
	line := indent
	for word := range strings.FieldsSeq(words) {
		if line != indent && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			p.add(in(c, line))
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	p.add(in(c, line))
}

// Render returns the lines of the page, without control characters: text from objects cannot control the terminal.
func (p Page) Render(style Style) []string {
	lines := make([]string, len(p.lines))
	for i, line := range p.lines {
		lines[i] = line.render(style)
	}
	return lines
}

// String returns the page without colours.
func (p Page) String() string { return strings.Join(p.Render(Style{}), "\n") }

func (t text) render(style Style) string {
	var b strings.Builder
	left := style.Width
	for _, s := range t {
		shown := strings.Map(printable, s.text)
		if style.Width > 0 {
			shown = cut(shown, left)
			left -= utf8.RuneCountInString(shown)
		}
		if style.Colour && s.colour != plain && shown != "" {
			shown = "\x1b[" + string(s.colour) + "m" + shown + "\x1b[0m"
		}
		b.WriteString(shown)
	}
	return b.String()
}

func printable(r rune) rune {
	if unicode.IsControl(r) {
		return '\uFFFD'
	}
	return r
}

func cut(s string, width int) string {
	for i := range s {
		if width == 0 {
			return s[:i]
		}
		width--
	}
	return s
}

// table aligns rows of cells under their heads, without trailing space.
func table(heads []string, rows [][]text) Page {
	var all [][]text
	if heads != nil {
		row := make([]text, len(heads))
		for i, head := range heads {
			row[i] = in(plain, head)
		}
		all = append(all, row)
	}
	all = append(all, rows...)
	widths := map[int]int{}
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], cell.width())
		}
	}
	var p Page
	for _, row := range all {
		p.lines = append(p.lines, aligned(row, widths))
	}
	return p
}

const gap = 2 // between columns

func aligned(row []text, widths map[int]int) (line text) {
	pad := 0
	for i, cell := range row {
		if cell.width() > 0 {
			line = append(line, span{strings.Repeat(" ", pad), plain})
			line = append(line, cell...)
			pad = 0
		}
		pad += gap + widths[i] - cell.width()
	}
	return line
}
