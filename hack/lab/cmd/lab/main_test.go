package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/reanchor/reanchor/hack/lab"
)

// said runs a command line and returns what it writes for a script.
func said(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // too short for a build
	defer cancel()
	var out bytes.Buffer
	parser, err := kong.New(&cli{}, kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(streams{out: &out, progress: t.Output()}))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.Run(); err != nil {
		t.Fatalf("lab %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// The environment of other projects' tests names a folder of binaries: it is all
// that a lab without the managers needs.
func TestALabOfReadyMadeBinariesIsStartedSeenAndEnded(t *testing.T) {
	binaries, err := lab.Build(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	assets, cache := t.TempDir(), t.TempDir()
	for _, c := range []lab.Component{lab.Etcd, lab.APIServer, lab.ControllerManager, lab.Scheduler, lab.Kwok} {
		if err := os.Symlink(binaries.Program(), filepath.Join(assets, string(c))); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("REANCHOR_LAB_CACHE", cache)
	t.Setenv("KUBEBUILDER_ASSETS", assets)
	t.Cleanup(func() { lab.Down("ready-made") })

	up := said(t, "up", "--name=ready-made", "--nodes=1", "--no-cert-manager", "--no-trust-manager")
	kubeconfig := filepath.Join(cache, "named", "ready-made", "kubeconfig")
	if !strings.HasSuffix(up, "\nexport KUBECONFIG="+kubeconfig+"\n") {
		t.Errorf("up says %q, which does not point kubectl at %s", up, kubeconfig)
	}
	if _, err := os.Stat(kubeconfig); err != nil {
		t.Error(err)
	}
	status := said(t, "status")
	if got := strings.Count(status, " running\n"); got != 5 {
		t.Errorf("%d components run, want 5:\n%s", got, status)
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "named" {
		t.Errorf("in the cache: %v, want the lab and no build", entries)
	}
	if down := said(t, "down", "--name=ready-made"); down != "lab \"ready-made\" is down\n" {
		t.Errorf("down says %q", down)
	}
	if status := said(t, "status"); status != "no lab\n" {
		t.Errorf("after it was ended: %q", status)
	}
}
