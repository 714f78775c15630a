// Package buildinfo describes the build of a program.
package buildinfo

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Text names a program, its version, the commit that it was built from and the Go release. If the commit is empty, it
// is the one that the go command recorded, if any.
func Text(program, version, commit string) string {
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s)",
		program, version, cmp.Or(commit, stampedCommit(), "unknown"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func stampedCommit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}
