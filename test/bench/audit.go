package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// call is a request to the API server, as its audit log tells.
type call struct {
	Verb      string `json:"verb"`
	URI       string `json:"requestURI"`
	ObjectRef *struct {
		Group       string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// String names what was asked for, such as "patch secrets (dry run)".
func (c call) String() string {
	if c.ObjectRef == nil {
		return c.Verb + " discovery"
	}
	name := c.Verb + " " + c.ObjectRef.Resource
	if c.ObjectRef.Subresource != "" {
		name += "/" + c.ObjectRef.Subresource
	}
	if strings.Contains(c.URI, "dryRun=All") {
		name += " (dry run)"
	}
	if c.ResponseStatus.Code >= 400 {
		name += fmt.Sprintf(" [%d]", c.ResponseStatus.Code)
	}
	return name
}

// isWork reports whether the request is made for a PayUToken. Discovery, the look at the operator's own rights, lists
// and watches are made once for a process, Leases by a process as such.
func (c call) isWork() bool {
	if c.ObjectRef == nil || c.Verb == "list" || c.Verb == "watch" {
		return false
	}
	return c.ObjectRef.Group != "authorization.k8s.io" && c.ObjectRef.Group != "coordination.k8s.io"
}

// calls counts requests by what was asked for.
type calls map[string]int

func (c calls) total() int {
	total := 0
	for _, n := range c {
		total += n
	}
	return total
}

// String lists them, as parts of n if that is not 1, the most frequent first.
func (c calls) each(n int) string {
	names := slices.SortedFunc(maps.Keys(c), func(a, b string) int { return cmp.Or(c[b]-c[a], strings.Compare(a, b)) })
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%s %s", short(float64(c[name])/float64(n)), name)
	}
	return strings.Join(parts, ", ")
}

// short shows up to three decimals.
func short(x float64) string {
	return strconv.FormatFloat(math.Round(1000*x)/1000, 'f', -1, 64)
}

// audit reads what the API server writes of the audited operator.
type audit struct {
	file *os.File
	rest []byte // a line that is not whole yet
}

func openAudit(path string) (*audit, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) { // nothing was audited yet
		file, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	}
	if err != nil {
		return nil, err
	}
	_, err = file.Seek(0, io.SeekEnd)
	return &audit{file: file}, err
}

// next counts what was written since, apart for work and for all else.
func (a *audit) next() (work, other calls, err error) {
	added, err := io.ReadAll(a.file)
	if err != nil {
		return nil, nil, err
	}
	text := append(a.rest, added...)
	end := bytes.LastIndexByte(text, '\n') + 1
	a.rest = bytes.Clone(text[end:])
	return countCalls(text[:end])
}

func countCalls(lines []byte) (work, other calls, err error) {
	work, other = calls{}, calls{}
	for line := range bytes.Lines(lines) {
		var c call
		if err := json.Unmarshal(line, &c); err != nil {
			return work, other, fmt.Errorf("a line of the audit log is no JSON: %w", err)
		}
		if c.isWork() {
			work[c.String()]++
		} else {
			other[c.String()]++
		}
	}
	return work, other, nil
}

// quiet is how long no request must come for the operator to have done what there was to do.
const quiet = 2 * time.Second

// settle counts on until the operator asks for nothing any more.
func (a *audit) settle(ctx context.Context) (work, other calls, err error) {
	work, other = calls{}, calls{}
	last := time.Now()
	var broken error
	err = lab.Await(ctx, lab.Patience, "the operator is idle", func(context.Context) error {
		w, o, err := a.next()
		broken = errors.Join(broken, err)
		if w.total() > 0 {
			last = time.Now()
		}
		for name, n := range w {
			work[name] += n
		}
		for name, n := range o {
			other[name] += n
		}
		return lab.So(broken != nil || time.Since(last) > quiet)
	})
	return work, other, errors.Join(err, broken)
}
