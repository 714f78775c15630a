package screen

import "fmt"

// Mark is the result of one step of a check.
type Mark int

// The marks.
const (
	Good Mark = iota
	Note
	Bad
)

// Step shows the result of one step of a check.
func Step(mark Mark, name, words string) Page {
	look := map[Mark]span{Good: {"✓", green}, Note: {"!", yellow}, Bad: {"✗", red}}[mark]
	var p Page
	p.add(in(plain, indent), text{look}, in(plain, fmt.Sprintf(" %-11s  %s", name, words)))
	return p
}
