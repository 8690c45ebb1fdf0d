package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const fault = "package %s\n\nimport \"fmt\"\n\nfunc F() { fmt.Printf(\"%%d\", \"x\") }\n"

// A fault is found in the package that is asked about, and none is looked for in
// what it imports.
func TestOnlyThePackageItselfIsVetted(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "vetone")
	if out, err := exec.Command("go", "build", "-o", tool, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	path, err := exec.Command("go", "tool", "-n", "vet").Output()
	if err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(dir, "m")
	for file, text := range map[string]string{
		"go.mod":        "module example.com/m\n\ngo 1.26\n",
		"bad/bad.go":    strings.Replace(strings.ReplaceAll(fault, "%%", "%"), "%s", "bad", 1),
		"good/good.go":  "package good\n\nimport \"example.com/m/wrap\"\n\nfunc F() { wrap.Logf(\"%d\", \"x\") }\n",
		"wrap/logf.go":  "package wrap\n\nimport \"fmt\"\n\n// Logf is known to print only to who looked at it.\nfunc Logf(format string, args ...any) { fmt.Printf(format, args...) }\n",
		"fine/plain.go": "package fine\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(module, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(module, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vet := func(pkg string, flags ...string) (string, error) {
		cmd := exec.Command("go", append(append([]string{"vet"}, flags...), pkg)...)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "VET="+strings.TrimSpace(string(path)), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	mine := "-vettool=" + tool
	if out, err := vet("./bad", mine); err == nil || !strings.Contains(out, "wrong type string") {
		t.Errorf("a fault was not found: %v %s", err, out)
	}
	if out, err := vet("./fine", mine); err != nil {
		t.Errorf("%v %s", err, out)
	}
	if out, err := vet("./good", mine); err != nil {
		t.Errorf("something was looked for in a dependency: %v %s", err, out)
	}
	// Without vetone the dependency tells of itself, after vetone as before.
	if out, err := vet("./good"); err == nil || !strings.Contains(out, "wrong type string") {
		t.Errorf("the two share what they found: %v %s", err, out)
	}
}
