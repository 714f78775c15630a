package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// The colours, as ANSI sequences.
const (
	bold  = "\x1b[1m"
	faint = "\x1b[2m"
	green = "\x1b[32m"
	cyan  = "\x1b[36m"
	plain = "\x1b[0m"
)

const indent = "    "

// screen prints the tour: in colour on a terminal, unless NO_COLOR (no-color.org) is set.
type screen struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	start  time.Time
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	colour := terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &screen{out: out, colour: colour, start: time.Now()}
}

// print prints one line. The interruption prints from another goroutine.
func (s *screen) print(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.out, line)
}

// lines prints text, each line indented and painted.
func (s *screen) lines(colour, text string) {
	for line := range strings.Lines(strings.TrimRight(text, " \n")) {
		if line = strings.TrimRight(line, " \n"); line != "" {
			line = s.paint(colour, indent+line)
		}
		s.print(line)
	}
}

func (s *screen) paint(colour, text string) string {
	if !s.colour || colour == "" {
		return text
	}
	return colour + text + plain
}

// title opens the tour.
func (s *screen) title(name, what string) {
	s.print(s.paint(bold, name) + ": " + what)
}

// heading opens a step, or the summary if number is 0.
func (s *screen) heading(number int, name string) {
	if number > 0 {
		name = fmt.Sprintf("%d. %s", number, name)
	}
	elapsed := fmt.Sprintf("[%5.1f s]", time.Since(s.start).Seconds())
	s.print("\n" + s.paint(faint, elapsed) + " " + s.paint(bold, name))
}

// say prints what happens.
func (s *screen) say(format string, args ...any) { s.lines("", fmt.Sprintf(format, args...)) }

// saw prints the result.
func (s *screen) saw(format string, args ...any) { s.lines(green, "-> "+fmt.Sprintf(format, args...)) }

// command shows what a user would type.
func (s *screen) command(line string) { s.lines(cyan, "$ "+line) }

// output shows what a command prints.
func (s *screen) output(text string) { s.lines(faint, text) }

// interruption says at once that the demo stops, since that takes a moment.
func (s *screen) interruption(cause error) {
	if errors.Is(cause, lab.ErrInterrupted) {
		s.lines("", "\nStopping everything ...")
	}
}

// table aligns rows of cells.
func table(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	return b.String()
}

// masked shows the beginning of a secret value, and nothing of a short one.
func masked(value string) string {
	if len(value) < 16 {
		return "..."
	}
	return value[:4] + "..."
}

// rounded rounds a duration for a reader.
func rounded(d time.Duration) string {
	if d < 10*time.Millisecond {
		return "less than 10 ms"
	}
	return lab.Shown(d)
}

// sinceCommand shows the time from a command's start until now, and how much of it the command took.
func sinceCommand(start, end time.Time) string {
	return fmt.Sprintf("%s, of which kubectl took %s", rounded(time.Since(start)), rounded(end.Sub(start)))
}

// counted shows a number of token requests.
func counted(requests int) string {
	switch requests {
	case 0:
		return "no token request"
	case 1:
		return "1 token request"
	}
	return fmt.Sprintf("%d token requests", requests)
}

// clock is the time of day in UTC, as in the Secrets.
func clock(t time.Time) string { return t.UTC().Format(time.TimeOnly) }
