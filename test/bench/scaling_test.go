package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestReckoning compares the reckoned tables with what a pocket calculator says.
func TestReckoning(t *testing.T) {
	i := inputs{
		perSecond: 100, serverCPU: 10 * time.Millisecond, cpu: 1e-6, requests: 4, idle: 40 << 20, perToken: 8 << 10, page: 1 << 10,
		sizes: sizes{token: 1 << 10, secret: 2 << 10, event: 1 << 10},
	}
	// 4644 s lie between two renewals, on average. An Event is there for 3600 s of them, 0.775.
	want := []string{"100000", "21.53/s", "86.1/s", "0.22 cores", "0.100 cores", "821.2 MiB", "368.7 MiB", "97.7 MiB", "16m40s"}
	if diff := cmp.Diff(want, i.needs().rows[2]); diff != "" {
		t.Errorf("100,000 PayUTokens need (-want +got):\n%s", diff)
	}
	var limits []string
	for _, row := range i.limits().rows {
		limits = append(limits, row[1])
	}
	// The first renewals come from 4464 s to 4824 s after the start; the tokens live for 7200 s.
	if diff := cmp.Diff([]string{"36000", "273600", "125952", "1000000", "464400"}, limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}

func TestSectionIsMarkdown(t *testing.T) {
	s := section{title: "Memory", head: []string{"", "resident"}}
	s.add("idle", mebibytes(40<<20))
	s.note("Of %d.", 1)
	want := strings.Join([]string{
		"## Memory", "",
		"|      | resident |",
		"| ---- | -------- |",
		"| idle | 40.0 MiB |", "",
		"Of 1.", ""}, "\n")
	if diff := cmp.Diff(want, s.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
