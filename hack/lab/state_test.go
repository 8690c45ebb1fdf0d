package lab

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// endedLab writes what a lab that crashed leaves: etcd's data, a key, the lock
// that nobody holds any more, and a log with its last line at that time.
func endedLab(t *testing.T, dir string, at time.Time) {
	t.Helper()
	for _, name := range []string{"etcd/member/wal", "ca.key", lockName, "logs/etcd.log"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "logs", "etcd.log"), dir} {
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// files are the paths of the files below a folder, sorted.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

func TestWhatACrashedLabLeftIsClearedAndItsLogsAreKeptForADay(t *testing.T) {
	whole := []string{"ca.key", "etcd/member/wal", "lock", "logs/etcd.log"}
	runs, now := t.TempDir(), time.Now()
	labs := map[string]struct {
		age  time.Duration
		held bool
		left []string // nil: not even the folder
	}{
		"one that crashed an hour ago keeps its logs":    {age: time.Hour, left: []string{"logs/etcd.log"}},
		"one that crashed yesterday is gone":             {age: 25 * time.Hour},
		"one that runs keeps everything, however old":    {age: 25 * time.Hour, held: true, left: whole},
		"one that may be about to start keeps its files": {age: 30 * time.Second, left: whole},
	}
	for name, l := range labs {
		dir := filepath.Join(runs, name)
		endedLab(t, dir, now.Add(-l.age))
		if l.held {
			lock, err := lockFile(filepath.Join(dir, lockName), false)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.release()
		}
	}
	prune(runs, now)
	for name, l := range labs {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(runs, name)
			if l.left == nil {
				if exists(dir) {
					t.Errorf("left: %v", files(t, dir))
				}
				return
			}
			if diff := cmp.Diff(l.left, files(t, dir)); diff != "" {
				t.Errorf("files (-want +left):\n%s", diff)
			}
		})
	}
}

// Clearing a folder changes its time; the day of the logs must not begin anew.
func TestLogsGoAfterADayHoweverOftenLabsStartMeanwhile(t *testing.T) {
	runs, crash := t.TempDir(), time.Now().Add(-48*time.Hour)
	dir := filepath.Join(runs, "lab-1")
	endedLab(t, dir, crash)
	prune(runs, crash.Add(2*time.Hour))
	if diff := cmp.Diff([]string{"logs/etcd.log"}, files(t, dir)); diff != "" {
		t.Errorf("two hours later (-want +left):\n%s", diff)
	}
	prune(runs, time.Now().Add(2*time.Minute)) // the folder was changed just now
	if exists(dir) {
		t.Errorf("two days later there are still %v", files(t, dir))
	}
}

func TestAStartClearsWhatCrashedLabsLeft(t *testing.T) {
	cache := t.TempDir()
	t.Setenv(cacheVariable, cache)
	crashed := filepath.Join(cache, runsDir, "lab-1")
	endedLab(t, crashed, time.Now().Add(-time.Hour))
	dir, lock, err := stateDir(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.release()
	if filepath.Dir(dir) != filepath.Join(cache, runsDir) || dir == crashed {
		t.Errorf("the new lab is in %s", dir)
	}
	if diff := cmp.Diff([]string{"logs/etcd.log"}, files(t, crashed)); diff != "" {
		t.Errorf("the crashed lab's files (-want +left):\n%s", diff)
	}
}
