package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

func TestMemoryIsReturnedOnceABurstIsOver(t *testing.T) {
	const size = 64 << 20
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // collections come when the test says so
	var m memoryKeeper
	work := func(collections int) {
		for range 64 {
			held := make([]byte, size/64)
			runtime.KeepAlive(held)
		}
		for range collections {
			runtime.GC()
		}
	}
	returned := func() bool {
		before := resident()
		m.look()
		return resident()+size/2 < before
	}
	for range 2 {
		work(burst)
		if returned() {
			t.Error("memory is returned while work goes on")
		}
	}
	work(calm)
	if !returned() {
		t.Error("memory is not returned when the burst is over")
	}
	for range 2 {
		work(calm)
		if before := collections(); returned() || collections() != before {
			t.Error("garbage is collected although there was no burst")
		}
	}
}

func TestGarbageIsLimitedWhateverIsAlive(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 1 << 20: 100, 16 << 20: 100, 32 << 20: 50, 64 << 20: 25, 1 << 30: 25} {
		if got := percentFor(live); got != want {
			t.Errorf("with %d bytes alive GOGC is %d, want %d", live, got, want)
		}
	}
	const unchanged = 77
	defer debug.SetGCPercent(debug.SetGCPercent(unchanged))
	t.Setenv("GOGC", "77")
	new(memoryKeeper).limitGarbage()
	if got := debug.SetGCPercent(unchanged); got != unchanged {
		t.Errorf("GOGC is %d although the user knows better", got)
	}
	t.Setenv("GOGC", "")
	held := make([]byte, 128<<20)
	runtime.GC()
	new(memoryKeeper).limitGarbage()
	runtime.KeepAlive(held)
	if got := debug.SetGCPercent(unchanged); got != leastPercent {
		t.Errorf("GOGC is %d with %d bytes alive, want %d", got, len(held), leastPercent)
	}
}

func TestTheContainersMemoryLimitIsRespected(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	for _, c := range []struct {
		name, file, environment string
		want                    int64
	}{
		{"a limit", "268435456\n", "", 268435456 / 10 * 9},
		{"no limit", "max\n", "", math.MaxInt64},
		{"the user knows better", "268435456\n", "200MiB", math.MaxInt64},
	} {
		t.Setenv("GOMEMLIMIT", c.environment)
		debug.SetMemoryLimit(math.MaxInt64)
		file := filepath.Join(t.TempDir(), "memory.max")
		if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		respectLimit(file)
		if got := debug.SetMemoryLimit(-1); got != c.want {
			t.Errorf("%s: the runtime's limit is %d, want %d", c.name, got, c.want)
		}
	}
	respectLimit(filepath.Join(t.TempDir(), "none")) // as outside of containers
}

// resident is how much of the heap the system gives memory for, in bytes.
func resident() uint64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64() + samples[2].Value.Uint64()
}
