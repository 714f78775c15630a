package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// containerLimit is where a container finds its memory limit (cgroup v2).
const containerLimit = "/sys/fs/cgroup/memory.max"

// respectLimit has the runtime collect garbage more often rather than exceed the limit that a file holds, in bytes, unless
// GOMEMLIMIT says something else. A tenth is left for what the runtime does not count.
func respectLimit(file string) {
	text, err := os.ReadFile(file)
	if err != nil || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // it says max where there is none
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// gcPercent is GOGC where the environment does not set it. A quarter of the runtime's own costs little CPU time here, and saves
// a third of what a cluster's objects take (docs/performance.md).
const gcPercent = 25

// saveMemory has the runtime collect garbage sooner than it does by itself.
func saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

const (
	// lookEvery is how often the collections of garbage are counted.
	lookEvery = 10 * time.Second
	// burst is how many there are in that time, at least, while many PayUTokens are worked on, and calm how many, at most,
	// when it is over: passes, renewals and scrapes go on.
	burst = 3
	calm  = 1
)

// memoryReturner returns memory to the system once a burst of work is over. The runtime does so slowly and in part: after
// a start that decodes thousands of objects an operator would keep three times what it needs (docs/performance.md).
type memoryReturner struct {
	// seen is how many collections there were at the last look, and due whether there was a burst since memory was returned.
	seen uint64
	due  bool
}

// NeedLeaderElection says that a standby returns memory, too: its caches are the same.
func (*memoryReturner) NeedLeaderElection() bool { return false }

// Start returns memory after each burst, until ctx ends.
func (m *memoryReturner) Start(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			m.look()
		}
	}
}

// look returns memory if a burst is over. That takes a collection, since the last one counted what the burst was just using.
func (m *memoryReturner) look() {
	since := collections() - m.seen
	switch {
	case since >= burst:
		m.due = true
	case since <= calm && m.due:
		m.due = false
		debug.FreeOSMemory()
	}
	m.seen = collections()
}

func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
