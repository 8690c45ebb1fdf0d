package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// VersionCmd prints what the build recorded.
type VersionCmd struct{}

// Run prints one line.
func (VersionCmd) Run(s streams) error {
	_, err := fmt.Fprintf(s.out, "reanchor %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version is the module's, as the build recorded it: a release, or the commit
// that it was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}
