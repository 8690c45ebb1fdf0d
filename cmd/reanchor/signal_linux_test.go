package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A webhook serves on for a while after the first signal. Whoever presses Ctrl-C
// again, or a supervisor that asks twice, means now.
func TestASecondSignalEndsTheProgramAtOnce(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n- name: a\n  context: {cluster: a}\n" +
		"clusters:\n- name: a\n  cluster: {server: 'https://" + closedPort(t) + "'}\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCheckAsChild$")
	cmd.Env = append(os.Environ(), childArgs+"=webhook --kubeconfig "+kubeconfig+
		" --address 127.0.0.1:0 --health-address 127.0.0.1:0 --shutdown-delay 1h")
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer killer.Stop()
	lines := bufio.NewScanner(errs)
	says := func(what string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("it ended and did not say %q", what)
	}
	says(`"Serving"`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	says("Ending, and serving")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines.Scan() { // until it ends
		}
	}()
	for again := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-again.C:
			_ = cmd.Process.Signal(syscall.SIGTERM) // the first of these may come before it lets go of signals
			continue
		case <-ended:
		}
		break
	}
	_ = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %s, want the second signal to end it", cmd.ProcessState)
	}
}
