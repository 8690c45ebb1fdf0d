package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/utils/clock"
)

const (
	runsDir = "run"
	// lockName is held by a lab, in its folder, for as long as its starter lives.
	lockName = "lock"
	// logsKept is how long the logs of a lab that has ended stay in the cache.
	logsKept = 24 * time.Hour
)

// stateDir makes the lab's folder, or takes the one that is asked for, and locks
// it. On the way it clears what labs that ended badly left behind.
func stateDir(o Options) (string, *fileLock, error) {
	dir := o.Dir
	if dir == "" {
		cache, err := cacheDir()
		if err != nil {
			return "", nil, err
		}
		runs := filepath.Join(cache, runsDir)
		if err := os.MkdirAll(runs, 0o700); err != nil {
			return "", nil, fmt.Errorf("creating the lab's folder: %w", err)
		}
		prune(runs, clock.RealClock{}.Now())
		if dir, err = os.MkdirTemp(runs, "lab-"); err != nil {
			return "", nil, fmt.Errorf("creating the lab's folder: %w", err)
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, fmt.Errorf("creating the lab's folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, logsDir), 0o700); err != nil {
		return "", nil, fmt.Errorf("creating the lab's folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName), false)
	if err != nil {
		return "", nil, fmt.Errorf("taking the lab's folder, is a lab running in it?: %w", err)
	}
	return dir, lock, nil
}

// prune clears the folders of labs that are no more: the data at once, the logs
// a day after the last line. A lab that lives holds its lock. Errors are left to
// the next one.
func prune(runs string, now time.Time) {
	entries, err := os.ReadDir(runs)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || now.Sub(info.ModTime()) < time.Minute {
			continue // may be about to be locked
		}
		dir := filepath.Join(runs, entry.Name())
		lock, err := lockFile(filepath.Join(dir, lockName), false)
		if err != nil {
			continue
		}
		if now.Sub(lastLine(dir)) > logsKept {
			os.RemoveAll(dir)
		} else {
			removeAllBut(dir, logsDir)
		}
		lock.release()
	}
}

// lastLine is when a lab last wrote to a log, zero when it never did. The time of
// its folder would not do: each prune changes it, so that the logs of a machine
// that starts a lab a day would stay for ever.
func lastLine(dir string) time.Time {
	var last time.Time
	logs, _ := filepath.Glob(filepath.Join(dir, logsDir, "*"))
	for _, log := range logs {
		if info, err := os.Stat(log); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}
