// Command verify checks the rules of this repository's source that no
// compiler knows: which package may import which, which packages are pure, and
// how large functions and files may be. Package rules says them one by one.
// `make verify` runs it from the root of the repository.
package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/reanchor/reanchor/hack/verify/rules"
)

func main() {
	if err := run(os.DirFS("."), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(1)
	}
}

// run prints what breaks a rule, and returns an error when something does.
func run(root fs.FS, out io.Writer) error {
	tree, err := rules.Load(root)
	if err != nil {
		return err
	}
	findings := tree.Check()
	for _, f := range findings {
		fmt.Fprintln(out, f)
	}
	if len(findings) > 0 {
		return fmt.Errorf("%d findings: hack/verify/rules says what is asked for and why", len(findings))
	}
	return nil
}
