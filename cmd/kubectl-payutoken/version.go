package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version and commit are set with -ldflags "-X main.version=… -X main.commit=…".
var version, commit = "dev", ""

// versionText names the version, the commit it was built from and the Go release.
func versionText() string {
	return fmt.Sprintf("kubectl-payutoken %s (commit %s, %s, %s/%s)",
		version, cmp.Or(commit, stampedCommit(), "unknown"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// stampedCommit is what the go command found out, if it was run in a repository.
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
