//go:build unix

package lab

import (
	"fmt"
	"os"
	"syscall"
)

// detachedAttr makes a child that outlives its parent and its terminal.
func detachedAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true}
}

// fileLock holds an advisory lock on a file until it is released or the process
// ends, however it ends.
type fileLock struct{ file *os.File }

// lockFile takes the lock on path, which it creates; without wait it fails with
// syscall.EWOULDBLOCK when another process, or this one, holds it.
func lockFile(path string, wait bool) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock %s: %w", path, err)
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		err = syscall.Flock(int(file.Fd()), how)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &fileLock{file: file}, nil
}

func (l *fileLock) release() { l.file.Close() }
