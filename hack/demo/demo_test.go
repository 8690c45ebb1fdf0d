package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/reanchor/reanchor/hack/local"
)

// The whole demo, as "make demo" runs it: it ends with the summary and exit code 0.
func TestTheDemo(t *testing.T) {
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Dir, command.Env = "../..", append(os.Environ(), asProgram+"=1")
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		t.Fatalf("it ends with %v; it says %s\n%s", err, errs.String(), out.String())
	}
	summary := regexp.MustCompile(`(?s)\nSummary\n +pods stamped +26\n +pods denied +1\n +workloads rolled +12, each once\n +handshakes +(\d+), failed=0\n +time +\S+\n$`)
	found := summary.FindStringSubmatch(out.String())
	if found == nil {
		t.Fatalf("it does not end with its summary:\n%s", out.String())
	}
	if n, err := strconv.Atoi(found[1]); err != nil || n < 1000 {
		t.Errorf("%s handshakes were completed (%v), want a thousand at least", found[1], err)
	}
}

// Go prints a cached result only while all of this is as it was.
func TestInputsAreKnownToTheCache(t *testing.T) {
	if err := local.Inputs(t.Context(), "../.."); err != nil {
		t.Error(err)
	}
}
