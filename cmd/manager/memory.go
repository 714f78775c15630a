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

// calm is how long no garbage collection may have run for a burst of work to be over.
const calm = 10 * time.Second

// memoryReturner returns memory to the system once a burst of work is over. The runtime does so slowly and in part: after
// a start that decodes thousands of objects an operator would keep three times what it needs (docs/performance.md).
type memoryReturner struct {
	// seen is how many collections there were at the last look, returned how many when memory was last returned.
	seen, returned uint64
}

// NeedLeaderElection says that a standby returns memory, too: its caches are the same.
func (*memoryReturner) NeedLeaderElection() bool { return false }

// Start returns memory after each burst, until ctx ends.
func (m *memoryReturner) Start(ctx context.Context) error {
	ticker := time.NewTicker(calm)
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

// look returns memory if collections have run since it last did, but none since the last look. It takes one more, since the
// last one counted what the burst was just using.
func (m *memoryReturner) look() {
	now := collections()
	if now == m.seen && now != m.returned {
		debug.FreeOSMemory()
		now = collections()
		m.returned = now
	}
	m.seen = now
}

func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
