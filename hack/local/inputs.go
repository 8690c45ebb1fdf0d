package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sources are the template by which go list names what a package of this module
// is compiled of: its folder, for files that are added, and its files.
const sources = `{{if and .Module .Module.Main}}{{$dir := .Dir}}{{$dir}}
{{range .GoFiles}}{{$dir}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}
{{end}}{{end}}`

// Inputs looks at everything that the processes of a test with a lab are made of:
// the sources of Reanchor, its manifests, and the lab's control plane. These are
// built and read outside of the test, so that go would print its last result
// although they have changed; what a test itself has looked at it remembers.
// It counts only between the beginning of m.Run and its end.
func Inputs(ctx context.Context, root string) error {
	list := exec.CommandContext(ctx, "go", "list", "-deps", "-f", sources, "./cmd/reanchor")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("listing the sources of reanchor: %w", err)
	}
	var errs []error
	for path := range strings.FieldsSeq(string(out)) {
		_, err := os.Stat(path)
		errs = append(errs, err)
	}
	for _, dir := range []string{"manifests", "hack/lab/controlplane"} {
		errs = append(errs, filepath.WalkDir(filepath.Join(root, dir), func(_ string, _ fs.DirEntry, err error) error { return err }))
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		_, err := os.Stat(filepath.Join(root, file))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
