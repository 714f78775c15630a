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

const (
	// garbage is what may lie about between two collections, in bytes, whatever the size of what is alive. The runtime's own
	// limit is as much as is alive: with many objects that takes a third more memory, and spares little CPU time
	// (docs/performance.md).
	garbage = 16 << 20
	// leastPercent is for a start, before it is known what is alive, and bounds the CPU time that collections take with more
	// objects than one operator should have. mostPercent is the runtime's own.
	leastPercent = 25
	mostPercent  = 100
)

// saveMemory has the runtime collect garbage sooner than it does by itself.
func saveMemory() { collectAt(leastPercent) }

// collectAt sets GOGC, unless the environment does.
func collectAt(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// percentFor returns what GOGC is to be when so many bytes are alive.
func percentFor(live uint64) int {
	return int(min(max(leastPercent, garbage*100/max(live, 1)), mostPercent))
}

const (
	// limitEvery is how often it is looked at how much is alive, and lookEvery how often the collections of garbage are counted.
	limitEvery = time.Second
	lookEvery  = 10 * time.Second
	// burst is how many there are in that time, at least, while many PayUTokens are worked on, and calm how many, at most,
	// when it is over: passes, renewals and scrapes go on.
	burst = 3
	calm  = 1
)

// memoryKeeper limits garbage, and returns memory to the system once a burst of work is over. The runtime does so slowly and
// in part: after a start that decodes thousands of objects an operator would keep three times what it needs
// (docs/performance.md).
type memoryKeeper struct {
	// seen is how many collections there were at the last look, and due whether there was a burst since memory was returned.
	seen uint64
	due  bool
	// percent is what GOGC was set to last.
	percent int
}

// NeedLeaderElection says that a standby returns memory, too: its caches are the same.
func (*memoryKeeper) NeedLeaderElection() bool { return false }

// Start limits garbage, and returns memory after each burst, until ctx ends.
func (m *memoryKeeper) Start(ctx context.Context) error {
	limit, look := time.NewTicker(limitEvery), time.NewTicker(lookEvery)
	defer limit.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-limit.C:
			m.limitGarbage()
		case <-look.C:
			m.look()
		}
	}
}

// limitGarbage has the runtime collect garbage when there is too much. To say so stops the world, and is done for changes only.
func (m *memoryKeeper) limitGarbage() {
	if percent := percentFor(measured("/gc/heap/live:bytes")); percent != m.percent {
		m.percent = percent
		collectAt(percent)
	}
}

// look returns memory if a burst is over. That takes a collection, since the last one counted what the burst was just using.
func (m *memoryKeeper) look() {
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

func collections() uint64 { return measured("/gc/cycles/total:gc-cycles") }

// measured returns one of the runtime's own figures.
func measured(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
