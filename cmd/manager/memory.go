package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// containerLimit is the file with the memory limit of a container (cgroup v2).
const containerLimit = "/sys/fs/cgroup/memory.max"

// respectLimit makes the runtime collect garbage more often to stay below the limit in a file, in bytes. GOMEMLIMIT takes
// precedence. A tenth is left for memory that the runtime does not count.
func respectLimit(file string) {
	text, err := os.ReadFile(file)
	if err != nil || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // it says max where there is none
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}
