// Command vetone is a tool for "go vet -vettool" that looks at the packages it is
// asked about and at no others. The go command has a vet tool look at every
// dependency too, for what that tells of its users, such as which functions
// print as Printf does; of the lab's control plane that is all of Kubernetes, and
// takes minutes. For a dependency vetone says that nothing is known; for the rest
// it hands over to the program named by the variable VET, Go's own vet:
//
//	VET=$(go tool -n vet) go vet -vettool=vetone .
package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	err := run(os.Args[1:])
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		os.Exit(ended.ExitCode()) // vet has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vetone:", err)
		os.Exit(1)
	}
}

// run speaks the protocol of vet tools: -V=full and -flags say who it is, and a
// file of configuration says what to look at.
func run(args []string) error {
	if len(args) == 1 && args[0] == "-V=full" {
		return identify()
	}
	if n := len(args); n > 0 && strings.HasSuffix(args[n-1], ".cfg") {
		if done, err := dependency(args[n-1]); done || err != nil {
			return err
		}
	}
	return vet(args...)
}

// identify tells the go command apart what vetone and vet found: both keep it in
// the same cache.
func identify() error {
	hash := sha256.New()
	for _, program := range []string{os.Args[0], os.Getenv("VET")} {
		text, err := os.ReadFile(program)
		if err != nil {
			return fmt.Errorf("reading a program: %w", err)
		}
		hash.Write(text)
	}
	_, err := fmt.Printf("%s version devel buildID=%x\n", filepath.Base(os.Args[0]), hash.Sum(nil))
	return err
}

// dependency writes that nothing is known of a package that is only depended on.
func dependency(config string) (bool, error) {
	text, err := os.ReadFile(config)
	if err != nil {
		return false, fmt.Errorf("reading what to look at: %w", err)
	}
	var c struct {
		VetxOnly   bool
		VetxOutput string
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return false, fmt.Errorf("reading what to look at: %w", err)
	}
	if !c.VetxOnly {
		return false, nil
	}
	if err := os.WriteFile(c.VetxOutput, nil, 0o644); err != nil {
		return false, fmt.Errorf("writing that nothing is known: %w", err)
	}
	return true, nil
}

func vet(args ...string) error {
	cmd := exec.Command(os.Getenv("VET"), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
