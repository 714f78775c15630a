package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

func TestMemoryIsReturnedOnceABurstIsOver(t *testing.T) {
	const size = 64 << 20
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // collections come when the test says so
	var m memoryReturner
	burst := func() {
		for range 64 {
			held := make([]byte, size/64)
			runtime.KeepAlive(held)
		}
		runtime.GC()
	}
	returned := func() bool {
		before := resident()
		m.look()
		return resident()+size/2 < before
	}
	burst()
	if returned() {
		t.Error("memory is returned while work goes on")
	}
	burst()
	if returned() {
		t.Error("memory is returned while work goes on")
	}
	if !returned() {
		t.Error("memory is not returned when the burst is over")
	}
	if before := collections(); returned() || collections() != before {
		t.Error("garbage is collected again, with nothing done since")
	}
}

// resident is how much of the heap the system gives memory for, in bytes.
func resident() uint64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64() + samples[2].Value.Uint64()
}
