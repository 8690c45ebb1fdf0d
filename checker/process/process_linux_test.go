package process_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/process"
)

// start runs a program under another name, as a component would be seen. It
// waits for the program's first word: between exec and that, a process has no
// arguments yet that /proc could tell.
func start(t *testing.T, name string, env []string, args ...string) int {
	t.Helper()
	cmd := exec.Command("/bin/sh")
	cmd.Args, cmd.Env = append([]string{name, "-c", "echo; read x", "sh"}, args...), env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func find(t *testing.T, pid int) checker.Process {
	t.Helper()
	all, err := process.List("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.PID == pid {
			return p
		}
	}
	t.Fatalf("process %d is not among %d found", pid, len(all))
	return checker.Process{}
}

func TestEtcdIsFoundWithItsFilesAndItsStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.crt")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	pid := start(t, "/usr/local/bin/etcd", []string{"ETCD_CERT_FILE=" + file, "ETCD_PEER_TRUSTED_CA_FILE=/nowhere/ca.crt"})
	p := find(t, pid)
	if p.Component != checker.Etcd || p.Name != "etcd" {
		t.Errorf("component %q, name %q", p.Component, p.Name)
	}
	// The kernel counts hundredths of a second since a boot that it knows to
	// the second.
	if d := p.Start.Sub(before); d < -2*time.Second || d > 5*time.Second {
		t.Errorf("started %s after it was started", d)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	want := []checker.LoadedFile{
		{Path: file, ID: checker.FileID{Dev: st.Dev, Ino: st.Ino}},
		{Path: "/nowhere/ca.crt", Trust: true},
	}
	if diff := cmp.Diff(want, p.Loaded); diff != "" {
		t.Errorf("loaded files (-want +got):\n%s", diff)
	}
}

func TestArgumentsInBothSpellings(t *testing.T) {
	pid := start(t, "kube-apiserver", nil, "--tls-cert-file=/pki/apiserver.crt", "--etcd-cafile", "/pki/etcd/ca.crt", "--unrelated=/x")
	p := find(t, pid)
	var got []string
	for _, f := range p.Loaded {
		got = append(got, fmt.Sprintf("%s trust=%t", f.Path, f.Trust))
	}
	if diff := cmp.Diff([]string{"/pki/apiserver.crt trust=false", "/pki/etcd/ca.crt trust=true"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p.MemoryLifetime != 365*24*time.Hour {
		t.Errorf("the loopback certificate lives %s, want a year", p.MemoryLifetime)
	}
}

func TestAKubeconfigIsAFileThatAProcessLoads(t *testing.T) {
	for _, name := range []string{"kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		p := find(t, start(t, name, nil, "--kubeconfig=/etc/kubernetes/own.conf"))
		if diff := cmp.Diff([]checker.LoadedFile{{Path: "/etc/kubernetes/own.conf"}}, p.Loaded); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestEtcdManagerIsKnownByItsPort(t *testing.T) {
	pid := start(t, "/etcd-manager", []string{"ETCD_MANAGER_CERT_DURATION=1000h"}, "--grpc-port=3997")
	p := find(t, pid)
	if p.Component != checker.EtcdManager || p.Instance != "events" || p.MemoryLifetime != 1000*time.Hour {
		t.Errorf("component %q, instance %q, lifetime %s", p.Component, p.Instance, p.MemoryLifetime)
	}
}

func TestOtherProcessesAreNotListed(t *testing.T) {
	pid := start(t, "etcdctl", nil)
	all, err := process.List("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.PID == pid {
			t.Errorf("etcdctl was listed as %s", p.Component)
		}
	}
}

func TestAMissingProcIsAnError(t *testing.T) {
	if _, err := process.List(filepath.Join(t.TempDir(), "proc")); err == nil || !strings.Contains(err.Error(), "opening") {
		t.Errorf("error %v", err)
	}
}
