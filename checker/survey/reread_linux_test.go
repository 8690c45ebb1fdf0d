package survey_test

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker/scan"
	"github.com/reanchor/reanchor/checker/survey"
)

// opened counts how often files of a directory were opened since the last call.
func opened(t *testing.T, dir string) func() int {
	t.Helper()
	watch, err := syscall.InotifyInit1(syscall.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(watch) })
	if _, err := syscall.InotifyAddWatch(watch, dir, syscall.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	return func() int {
		count, buffer := 0, make([]byte, 1<<16)
		for {
			n, err := syscall.Read(watch, buffer)
			if errors.Is(err, syscall.EAGAIN) {
				return count
			}
			if err != nil {
				t.Fatal(err)
			}
			for event := buffer[:n]; len(event) > 0; {
				mask, name := binary.NativeEndian.Uint32(event[4:]), binary.NativeEndian.Uint32(event[12:])
				if mask&syscall.IN_ISDIR == 0 {
					count++
				}
				event = event[syscall.SizeofInotifyEvent+name:]
			}
		}
	}
}

// TestEverythingIsReadAgainInEveryTwelfthSurvey: a file system may lie about
// its times, so a memory that only they can clear is not kept for ever.
func TestEverythingIsReadAgainInEveryTwelfthSurvey(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.crt"), issue(t, 3000*24*time.Hour))
	write(t, filepath.Join(dir, "b.crt"), issue(t, 3000*24*time.Hour))
	s := surveyor(t, survey.Options{NoProbe: true, Targets: scan.Targets{Paths: []string{dir}}})
	count := opened(t, dir)
	got := make([]int, 26)
	for i := range got {
		look(t, s)
		got[i] = count()
	}
	want := make([]int, len(got))
	want[0], want[12], want[24] = 2, 2, 2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files opened in each survey (-want +got):\n%s", diff)
	}
}
