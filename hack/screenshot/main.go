// Command screenshot converts the output of tmux to an SVG picture of a terminal:
//
//	tmux capture-pane -e -p | go run ./hack/screenshot > picture.svg
//
// It supports the colours that the programs of this repository use.
package main

import (
	"fmt"
	"html"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	cellWidth  = 8.4
	cellHeight = 18
	margin     = 14
)

// colours by the numbers of ANSI sequences.
var colours = map[string]string{"31": "#ff7b72", "32": "#56d364", "33": "#e3b341", "34": "#79c0ff", "36": "#76e3ea"}

// look is the style of text at some point of a line.
type look struct {
	colour      string
	bold, faint bool
}

func (l look) attributes() string {
	switch {
	case l.faint:
		return ` fill="#7d8590"`
	case l.bold:
		return ` font-weight="bold"`
	case l.colour != "":
		return ` fill="` + l.colour + `"`
	default:
		return ""
	}
}

var sequence = regexp.MustCompile(`\x1b\[([0-9;]*)m`)

func main() {
	screen, err := io.ReadAll(os.Stdin)
	if err == nil {
		_, err = io.WriteString(os.Stdout, picture(string(screen)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "screenshot:", err)
		os.Exit(1)
	}
}

func picture(screen string) string {
	lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
	columns := 0
	var body strings.Builder
	var now look // continues from line to line
	for row, line := range lines {
		columns = max(columns, utf8.RuneCountInString(sequence.ReplaceAllString(line, "")))
		now = draw(&body, line, row, now)
	}
	width, height := 2*margin+float64(columns)*cellWidth, 2*margin+len(lines)*cellHeight
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="#e6edf3">
<rect width="100%%" height="100%%" rx="8" fill="#0d1117"/>
%s</svg>
`, width, height, &body)
}

// draw draws a line that begins with a look, and returns the look at its end.
func draw(b *strings.Builder, line string, row int, now look) look {
	column, at := 0, 0
	for _, match := range sequence.FindAllStringSubmatchIndex(line, -1) {
		column += drawPart(b, line[at:match[0]], column, row, now)
		for number := range strings.SplitSeq(line[match[2]:match[3]], ";") {
			now = now.after(number)
		}
		at = match[1]
	}
	drawPart(b, line[at:], column, row, now)
	return now
}

// drawPart draws a part of a line that has one look, and returns how many columns it takes. It is stretched to the width of its
// cells in any font. Blocks are rectangles: glyphs would show seams.
func drawPart(b *strings.Builder, part string, column, row int, now look) (columns int) {
	columns = utf8.RuneCountInString(part)
	text := strings.TrimSpace(part)
	column += columns - utf8.RuneCountInString(strings.TrimLeft(part, " "))
	x, y, width := margin+float64(column)*cellWidth, margin+row*cellHeight, float64(utf8.RuneCountInString(text))*cellWidth
	switch {
	case text == "":
	case strings.Trim(text, "█") == "":
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d"%s/>`+"\n", x, y+1, width, cellHeight-3, now.attributes())
	default:
		fmt.Fprintf(b, `<text x="%.1f" y="%d" textLength="%.1f" lengthAdjust="spacingAndGlyphs" xml:space="preserve"%s>%s</text>`+"\n",
			x, y+13, width, now.attributes(), html.EscapeString(text))
	}
	return columns
}

func (l look) after(number string) look {
	switch number {
	case "", "0":
		return look{}
	case "1":
		l.bold = true
	case "2":
		l.faint = true
	case "22":
		l.bold, l.faint = false, false
	default:
		l.colour = colours[number]
	}
	return l
}
