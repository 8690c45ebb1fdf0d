//go:build unix && !linux

package lab

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attachedAttr cannot tie a child to its parent's life here. What a killed
// starter leaves behind has to be ended by hand.
func attachedAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// startedAt says when a process began, to the second. With the pid it names a
// process: pids are used again, hardly ever within a second.
func startedAt(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", fmt.Errorf("asking ps when process %d began: %w", pid, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// strays are not looked for here: there is no portable way to read the arguments
// of a process one by one.
func strays(string) []int { return nil }
