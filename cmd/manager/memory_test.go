package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestHeapHasSpareOnceABurstIsOver(t *testing.T) {
	const mib = 1 << 20
	before := heap{collections: 7, live: 100 * mib, resident: 200 * mib}
	for name, c := range map[string]struct {
		now  heap
		want bool
	}{
		"twice what lives":     {heap{7, 100 * mib, 200 * mib}, true},
		"a quarter more":       {heap{7, 100 * mib, 125 * mib}, false},
		"small change":         {heap{7, 4 * mib, 12 * mib}, false},
		"work is going on":     {heap{8, 100 * mib, 200 * mib}, false},
		"more than a quarter":  {heap{7, 100 * mib, 134 * mib}, true},
		"less than what lived": {heap{7, 100 * mib, 90 * mib}, false},
	} {
		if got := c.now.hasSpare(before); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTheRuntimeTellsOfTheHeap(t *testing.T) {
	const size = 64 << 20
	debug.FreeOSMemory()
	small := readHeap()
	held := make([]byte, size)
	for i := range held {
		held[i] = 1
	}
	runtime.GC()
	large := readHeap()
	runtime.KeepAlive(held)
	debug.FreeOSMemory()
	after := readHeap()
	if large.live < small.live+size/2 || large.resident < small.resident+size/2 || large.collections == small.collections {
		t.Errorf("with %d bytes more: %+v, before %+v", size, large, small)
	}
	if after.hasSpare(after) || after.live > large.live-size/2 {
		t.Errorf("after it was returned: %+v", after)
	}
}
