package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asNobody runs `reanchor check` as a user who may not read everything. Root
// may, whatever the modes, so the test gives up being root; anybody else is
// nobody enough.
func asNobody(t *testing.T, dir, args string) (string, int) {
	t.Helper()
	program := os.Args[0]
	cmd := exec.Command(program, "-test.run=^TestCheckAsChild$")
	if os.Geteuid() == 0 {
		data, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		// The test binary lies where nobody may look.
		program = filepath.Join(dir, "reanchor.test")
		if err := os.WriteFile(program, data, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd = exec.Command(program, "-test.run=^TestCheckAsChild$")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childArgs+"="+args)
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestPermissionDeniedOnOneOfMany(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	pki := filepath.Join(dir, "pki")
	if err := os.MkdirAll(filepath.Join(pki, "closed"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.crt", "b.crt", "c.crt", "closed/d.crt"} {
		data, err := os.ReadFile(caFile(t, 3000*24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(pki, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, mode := range map[string]os.FileMode{"b.crt": 0, "closed": 0} {
		if err := os.Chmod(filepath.Join(pki, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(pki, "closed"), 0o755) })

	out, code := asNobody(t, dir, "check --no-processes "+pki)
	if code != 1 || strings.Count(out, "permission denied") != 2 || !strings.Contains(out, "2 certificates, 2 ok") {
		t.Errorf("exit code %d; want 1, two places denied and the other two certificates read:\n%s", code, out)
	}
	out, code = asNobody(t, dir, "check --no-processes "+filepath.Join(pki, "a.crt")+" "+filepath.Join(pki, "b.crt"))
	if code != 3 || !strings.Contains(out, "UNKNOWN") {
		t.Errorf("exit code %d; want 3, since b.crt was named:\n%s", code, out)
	}
}
