//go:build !linux

package local

import "os/exec"

// endWithParent has no counterpart here: a killed parent leaves its children.
func endWithParent(*exec.Cmd) {}

func ownThread() (release func()) { return func() {} }
