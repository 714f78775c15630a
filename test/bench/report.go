package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/client-go/discovery"
)

// section is a table, with what is to be said about it.
type section struct {
	title string
	head  []string
	rows  [][]string
	notes []string
}

func (s *section) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	s.rows = append(s.rows, row)
}

func (s *section) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// String is Markdown that can be read as it is.
func (s section) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", s.title)
	width := make([]int, len(s.head))
	for _, row := range append([][]string{s.head}, s.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), len("---"))
		}
	}
	line := func(row []string, pad string) {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %s%s ", cell, strings.Repeat(pad, width[i]-utf8.RuneCountInString(cell)))
		}
		b.WriteString("|\n")
	}
	line(s.head, " ")
	line(make([]string, len(s.head)), "-")
	for _, row := range s.rows {
		line(row, " ")
	}
	for _, note := range s.notes {
		fmt.Fprintf(&b, "\n%s\n", note)
	}
	return b.String()
}

// goal is a figure that there is a wish for.
type goal struct {
	what, reach, got string
	met              bool
}

func (b *bench) goal(what, reach, got string, met bool) {
	b.goals = append(b.goals, goal{what, reach, got, met})
}

func atMost(n int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("at most %d", n)
}

// summary shows all goals.
func (b *bench) summary() section {
	s := section{title: "Summary", head: []string{"what", "to reach", "measured", ""}}
	for _, g := range b.goals {
		verdict := "reached"
		if !g.met {
			verdict = "**missed**"
		}
		s.add(g.what, g.reach, g.got, verdict)
	}
	return s
}

// describe says what the figures were measured on.
func describe(root string) (section, error) {
	s := section{title: "Machine", head: []string{"", ""}}
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return s, fmt.Errorf("this program reads /proc, as Linux has it: %w", err)
	}
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return s, err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return s, err
	}
	s.add("CPU", fmt.Sprintf("%d cores of %s", runtime.NumCPU(), modelIn(string(cpus))))
	s.add("memory", fmt.Sprintf("%.0f GiB", kilobytesIn(string(memory), "MemTotal:")/(1<<20)))
	s.add("load at the start", strings.Join(strings.Fields(string(load))[:3], ", "))
	s.add("Go", runtime.Version())
	s.add("commit", commit(root))
	s.add("date", time.Now().UTC().Format(time.DateOnly))
	return s, nil
}

func modelIn(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func commit(root string) string {
	git := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
	git.Dir = root
	out, err := git.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// addVersion adds what only a running API server tells.
func (b *bench) addVersion(machine *section) error {
	d, err := discovery.NewDiscoveryClientForConfig(b.cluster.Config)
	if err != nil {
		return err
	}
	version, err := d.ServerVersion()
	if err != nil {
		return err
	}
	machine.add("kube-apiserver", version.GitVersion)
	return nil
}

// write writes the report to stdout, but for the tables that are there already, and to the file.
func (b *bench) write(machine section, sections []section) error {
	fmt.Printf("%s\n%s", b.summary(), machine)
	if b.output == "" {
		return nil
	}
	var text strings.Builder
	text.WriteString("# Performance: the last figures\n\n`make bench` wrote this page. [performance.md](performance.md) explains it.\n")
	for _, s := range append([]section{b.summary(), machine}, sections...) {
		fmt.Fprintf(&text, "\n%s", s)
	}
	return os.WriteFile(b.output, []byte(text.String()), 0o644)
}

func mebibytes(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }
func percent(share float64) string   { return fmt.Sprintf("%.2f %%", 100*share) }
func kibibytes(bytes float64) string { return fmt.Sprintf("%.2f KiB", bytes/(1<<10)) }
func rate(perSecond float64) string  { return fmt.Sprintf("%.1f/s", perSecond) }
