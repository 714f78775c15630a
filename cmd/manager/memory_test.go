package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

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
