package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const childArgs = "REANCHOR_TEST_CHECK_ARGS"

// TestCheckAsChild is the program itself, for tests that need a process of
// their own. Without its variable it has nothing to do.
func TestCheckAsChild(t *testing.T) {
	if args := os.Getenv(childArgs); args != "" {
		os.Args = append([]string{"reanchor"}, strings.Fields(args)...)
		main() // ends the process
	}
}

// program runs `reanchor ARGS` as kubelet would.
func program(t *testing.T, args ...string) checked {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCheckAsChild$")
	cmd.Env = append(os.Environ(), childArgs+"="+strings.Join(args, " "), "COLUMNS=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if failed := (*exec.ExitError)(nil); !errors.As(cmd.Run(), &failed) && cmd.ProcessState == nil {
		t.Fatal("the program could not be started")
	}
	return checked{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// TestAnInitContainerIsBlockedByAnExpiredCAAlone runs the whole program: what
// decides over a pod is the exit code of a process, and what its user sees is
// the one line.
func TestAnInitContainerIsBlockedByAnExpiredCAAlone(t *testing.T) {
	fine, expired := caFile(t, longLife), caFile(t, -12*24*time.Hour)
	for name, c := range map[string]struct {
		args []string
		code int
		line string
	}{
		"an expired CA":                       {[]string{expired}, 2, "CRITICAL expired " + expired + ": expired 12 days ago, on "},
		"an expired CA and a silent endpoint": {[]string{expired, "--endpoint", closedPort(t)}, 2, "CRITICAL expired " + expired},
		"a silent endpoint":                   {[]string{fine, "--endpoint", closedPort(t)}, 0, "WARNING live_unreachable 127.0.0.1:"},
		"a name that nobody knows":            {[]string{fine, "--endpoint", "etcd.invalid:2379"}, 0, "WARNING live_unreachable etcd.invalid:2379"},
		"nothing":                             {[]string{fine}, 0, "OK: 1 certificate, 1 ok"},
	} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "termination-log")
			if err := os.WriteFile(log, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			got := program(t, append([]string{"check", "--quiet", "--fail-on", "expired", "--no-processes", "--termination-log", log}, c.args...)...)
			if got.code != c.code || !strings.HasPrefix(got.out, c.line) || strings.Count(got.out, "\n") != 1 || got.err != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %d and one line %q...", got.code, got.out, got.err, c.code, c.line)
			}
			left, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			if blocked := c.code != 0; blocked != (string(left) == got.out) {
				t.Errorf("termination log %q, want the line where the pod is blocked", left)
			}
		})
	}
}

func TestEveryExitCodeOfTheProgram(t *testing.T) {
	for code, args := range map[int]string{
		0: caFile(t, longLife),
		1: caFile(t, 300*24*time.Hour),
		2: caFile(t, -time.Hour),
		3: "/nowhere/ca.crt",
	} {
		if got := program(t, "check", "--no-processes", args); got.code != code {
			t.Errorf("exit code %d, want %d:\n%s%s", got.code, code, got.out, got.err)
		}
	}
	// The worst wins: critical over unknown over warning.
	expired, soon := caFile(t, -time.Hour), caFile(t, 300*24*time.Hour)
	if got := program(t, "check", "--no-processes", "/nowhere/ca.crt", expired, soon); got.code != 2 {
		t.Errorf("expired beside not found: exit code %d, want 2", got.code)
	}
	if got := program(t, "check", "--no-processes", "/nowhere/ca.crt", soon); got.code != 3 {
		t.Errorf("expiring beside not found: exit code %d, want 3", got.code)
	}
}
