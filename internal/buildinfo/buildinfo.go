// Package buildinfo describes the build of a program.
package buildinfo

import (
	"cmp"
	"crypto/fips140"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Text names a program, its version, the commit that it was built from and the Go release. If the commit is empty, it
// is the one that the go command recorded, if any. A program with a module of FIPS 140-3 (GOFIPS140) names that, too, and whether it is in use.
func Text(program, version, commit string) string {
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s%s)",
		program, version, cmp.Or(commit, stampedCommit(), "unknown"), runtime.Version(), runtime.GOOS, runtime.GOARCH, fipsText())
}

func fipsText() string {
	switch module := fips140.Version(); {
	case module == "latest": // of no validation
		return ""
	case fips140.Enabled():
		return ", FIPS 140-3 module " + module
	default:
		return ", FIPS 140-3 module " + module + ", off by GODEBUG"
	}
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
