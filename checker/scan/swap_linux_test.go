package scan

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
)

// TestAFIFOSwappedInAfterTheStatDoesNotHang: opening one for reading waits for a
// writer, unless asked not to.
func TestAFIFOSwappedInAfterTheStatDoesNotHang(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.crt")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := s.tree.look(file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan *content, 1)
	go func() {
		c, _ := s.load(e)
		read <- c
	}()
	select {
	case c := <-read:
		if len(c.faults) != 1 || c.faults[0].ID != checker.NotRegular {
			t.Errorf("faults %v, want not_regular", c.faults)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the scanner waits for a writer")
	}
}

// TestEverythingIsReadAgainEveryTwelfthScan: a file system that lies about
// change times would otherwise hide a new certificate for ever. The lie is told
// here by changing what is remembered.
func TestEverythingIsReadAgainEveryTwelfthScan(t *testing.T) {
	dir := t.TempDir()
	pair, err := checkertest.Issue(checkertest.Spec{CN: "new"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.crt"), pair.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	scan := func() int {
		facts, err := s.Scan(t.Context(), Targets{Paths: []string{dir}})
		if err != nil {
			t.Fatal(err)
		}
		return len(facts.Files[0].Certs)
	}
	scan()
	for _, c := range s.cache.files {
		c.content = &content{}
	}
	for n := 1; n < everyCycles; n++ {
		if scan() != 0 {
			t.Fatalf("scan %d read the file again: nothing is cached", n+1)
		}
	}
	if scan() != 1 {
		t.Error("the file was not read again")
	}
}
