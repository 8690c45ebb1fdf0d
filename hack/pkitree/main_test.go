package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/reanchor/reanchor/checker/checkertest"
)

func TestATreeIsWritten(t *testing.T) {
	for args, want := range map[[2]string]string{
		{"-layout=kubeadm", "-incident=false"}: "etc/kubernetes/pki/apiserver.crt",
		{"-layout=kops-1.18", "-incident"}:     checkertest.MainVolume + "/pki/" + checkertest.OrphanToken,
	} {
		dir := t.TempDir()
		if err := run([]string{args[0], args[1], dir}, io.Discard); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, want)); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestWrongUsageIsAnError(t *testing.T) {
	for name, args := range map[string][]string{
		"no directory": {}, "two directories": {t.TempDir(), t.TempDir()}, "an unknown layout": {"-layout", "talos", t.TempDir()}, "an unknown flag": {"-x"},
	} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
