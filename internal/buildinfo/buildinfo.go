// Package buildinfo tells which build a program is.
package buildinfo

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Text names a program, its version, the commit that it was built from and the Go release. An empty commit is what the go
// command found out, if it was run in a repository.
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
