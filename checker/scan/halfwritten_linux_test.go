package scan_test

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/reanchor/reanchor/checker/scan"
)

func TestAHalfWrittenFileIsReadAgainBeforeItIsReported(t *testing.T) {
	p := newPlace(t)
	whole := p.issue("whole", false).CertPEM()
	p.write("/v/me.crt", whole[:len(whole)/2])
	patient, err := scan.New(scan.Options{Root: p.root, Settle: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	p.Scanner = patient
	// The writer goes on when the scanner has closed the file for the first
	// time, so the scanner has certainly seen the half.
	watch, err := syscall.InotifyInit()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.InotifyAddWatch(watch, p.path("/v/me.crt"), syscall.IN_CLOSE_NOWRITE); err != nil {
		t.Fatal(err)
	}
	finished := make(chan error, 1)
	go func() {
		defer syscall.Close(watch)
		if _, err := syscall.Read(watch, make([]byte, 4096)); err != nil {
			finished <- err
			return
		}
		finished <- os.WriteFile(p.path("/v/me.crt"), whole, 0o644)
	}()
	p.expect(paths("/v"), "/v/me.crt: whole")
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
}
