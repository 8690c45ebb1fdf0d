package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func lines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

func TestAKeptProcessIsStartedAgainUntilItIsStopped(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := KeepProcess(log, "/bin/sh", "-c", "echo run")
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); lines(t, log) < 2; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it was not started again")
		}
	}
	p.Stop()
	n := lines(t, log)
	time.Sleep(backOff + 500*time.Millisecond)
	if lines(t, log) != n {
		t.Error("it was started again after it was told to end")
	}
}

func TestAProcessThatIsNotKeptEndsForGood(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := StartProcess(log, "/bin/sh", "-c", "echo run")
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	p.Kill() // of one that has ended is nothing
	if lines(t, log) != 1 {
		t.Error("it ran more than once")
	}
	if _, err := StartProcess(log, filepath.Join(t.TempDir(), "no such program")); err == nil {
		t.Error("a program that is not there was started")
	}
}
