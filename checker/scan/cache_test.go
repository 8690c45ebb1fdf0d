package scan

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker/checkertest"
)

func TestTheCacheHoldsOnlyWhatTheLastScanMet(t *testing.T) {
	dir := t.TempDir()
	pair, err := checkertest.Issue(checkertest.Spec{CN: "me"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.crt", "b.crt"} {
		if err := os.WriteFile(filepath.Join(dir, name), pair.CertPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Two names of one file are one entry.
	if err := os.Link(filepath.Join(dir, "a.crt"), filepath.Join(dir, "a2.crt")); err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	var held []int
	scan := func() {
		if _, err := s.Scan(t.Context(), Targets{Paths: []string{dir}}); err != nil {
			t.Fatal(err)
		}
		held = append(held, len(s.cache.files))
	}
	scan()
	scan()
	for _, name := range []string{"b.crt", "a.crt", "a2.crt"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		scan()
	}
	if diff := cmp.Diff([]int{2, 2, 1, 1, 0}, held); diff != "" {
		t.Errorf("files held after each scan (-want +got):\n%s", diff)
	}
}
