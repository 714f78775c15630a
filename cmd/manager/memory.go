package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// calm is how long no garbage collection may have run for a burst of work to be over.
	calm = 10 * time.Second
	// returnEvery bounds how often memory is returned, which takes a collection. With 10,000 PayUTokens the runtime makes one
	// in 40 seconds anyway.
	returnEvery = 30 * time.Second
	// smallChange is not worth a collection.
	smallChange = 8 << 20
)

// memoryReturner returns memory to the system once a burst of work is over. The runtime does so slowly and in part: after
// a start that decodes thousands of objects an operator would keep three times what it needs (docs/performance.md).
type memoryReturner struct{}

// NeedLeaderElection says that a standby returns memory, too: its caches are the same.
func (memoryReturner) NeedLeaderElection() bool { return false }

// Start returns memory when there is any, until ctx ends.
func (memoryReturner) Start(ctx context.Context) error {
	look := time.NewTicker(calm)
	defer look.Stop()
	before, returned := readHeap(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if readHeap().hasSpare(before) && time.Since(returned) >= returnEvery {
			debug.FreeOSMemory()
			returned = time.Now()
		}
		before = readHeap()
	}
}

// heap is what the runtime says of its heap, in bytes.
type heap struct {
	collections    uint64
	live, resident uint64 // live as of the last collection
}

// hasSpare reports whether no collection has run since before, and a quarter more is resident than was live then.
func (h heap) hasSpare(before heap) bool {
	return h.collections == before.collections && h.resident > h.live+h.live/4+smallChange
}

func readHeap() heap {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	value := func(n int) uint64 { return samples[n].Value.Uint64() }
	return heap{collections: value(0), live: value(1), resident: value(2) + value(3) + value(4)}
}
