package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// attachedAttr makes a child that dies with the thread that starts it (see
// spawner), also when the whole program is killed and the child is stopped. A
// group of its own keeps it from a Ctrl-C in the terminal: the program decides.
func attachedAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// startedAt says when a process began, in the kernel's ticks since boot. With
// the pid it names a process for good: pids are used again, pairs are not.
func startedAt(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("reading when process %d began: %w", pid, err)
	}
	// The second field is the program's name in parentheses and may hold
	// anything; the fields after it are plain. proc(5): starttime is the 22nd.
	_, rest, found := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 {
		return "", fmt.Errorf("reading when process %d began: unexpected /proc/%d/stat", pid, pid)
	}
	if state := fields[0]; state == "Z" {
		return "", fmt.Errorf("process %d has ended: %w", pid, os.ErrProcessDone)
	}
	return fields[19], nil
}

// strays finds the processes that a lab in dir started: those with a flag that
// names a file in it. It catches the one that was started and not yet recorded
// when its starter was killed.
func strays(dir string) []int {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil // the pattern is right
	}
	var found []int
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && hasFlagIn(dir, string(line)) {
			found = append(found, pid)
		}
	}
	return found
}

// hasFlagIn tells whether an argument has the form --flag=DIR/..., so that a
// pager or an editor of one of the lab's files is no part of the lab.
func hasFlagIn(dir, commandLine string) bool {
	return slices.ContainsFunc(strings.Split(commandLine, "\x00"), func(argument string) bool {
		flag, value, _ := strings.Cut(argument, "=")
		return strings.HasPrefix(flag, "--") && strings.HasPrefix(value, dir+string(filepath.Separator))
	})
}
