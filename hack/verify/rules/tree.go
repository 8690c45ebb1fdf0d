// Package rules holds the rules of this repository's source that no compiler
// knows. Each file of the package is one group:
//
//   - imports.go: arrows go down only, and pure packages import no effects;
//   - effects.go: no clock, exit, panic or background context where they hide;
//   - state.go: no init and no variable that a package changes;
//   - sizes.go: functions, files, parameters and branches are few and short;
//   - docs.go: exported names say what they are, and nothing is left to do.
//
// Tests may do what production code may not; only the rules about unfinished
// work hold for them. Modules below this one (their own go.mod) answer only
// for their sizes. Everything is read from source, no dependency is loaded, so
// that a check takes less than a second.
package rules

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Finding is one place that breaks a rule.
type Finding struct {
	// Path is the file, relative to the root; Line counts from 1.
	Path string
	Line int
	// Text says what is wrong and what to do, in one sentence.
	Text string
}

// String returns the form that editors can jump to: "path:line: text".
func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Text) }

// Tree is the source of one repository.
type Tree struct {
	module string
	fset   *token.FileSet
	files  []*file
}

// file is one Go file.
type file struct {
	tree *Tree
	path string
	ast  *ast.File
	// test: a _test.go file. nested: of a module below this one.
	test, nested bool
}

// Load reads every Go file below root but generated ones. The module's path is
// read from root's go.mod.
func Load(root fs.FS) (*Tree, error) {
	module, err := modulePath(root)
	if err != nil {
		return nil, err
	}
	t := &Tree{module: module, fset: token.NewFileSet()}
	var nested []string
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return enter(name)
		}
		if path.Base(name) == "go.mod" && name != "go.mod" {
			nested = append(nested, path.Dir(name)+"/")
		}
		return t.add(root, name)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the source: %w", err)
	}
	for _, f := range t.files {
		f.nested = slices.ContainsFunc(nested, func(dir string) bool { return strings.HasPrefix(f.path, dir) })
	}
	return t, nil
}

// enter says which directories hold no source of ours, as the go command does.
func enter(dir string) error {
	name := path.Base(dir)
	if name == "testdata" || name == "vendor" || dir != "." && strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return fs.SkipDir
	}
	return nil
}

// Check applies every rule and returns what breaks one, ordered by place.
func (t *Tree) Check() []Finding {
	var found []Finding
	for _, f := range t.files {
		found = append(found, f.unfinished()...)
		if f.test {
			continue
		}
		found = append(found, f.sizes()...)
		if f.nested {
			continue
		}
		found = append(found, f.imports()...)
		found = append(found, f.effects()...)
		found = append(found, f.docs()...)
	}
	found = append(found, t.state()...)
	slices.SortStableFunc(found, func(a, b Finding) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return found
}

// add parses one file, if it is a Go file that people write.
func (t *Tree) add(root fs.FS, name string) error {
	if path.Ext(name) != ".go" {
		return nil
	}
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if !ast.IsGenerated(parsed) {
		t.files = append(t.files, &file{tree: t, path: name, ast: parsed, test: strings.HasSuffix(name, "_test.go")})
	}
	return nil
}

// find makes a finding at a place of the file.
func (f *file) find(at token.Pos, format string, args ...any) Finding {
	return Finding{Path: f.path, Line: f.tree.fset.Position(at).Line, Text: fmt.Sprintf(format, args...)}
}

// dir is the file's package directory, relative to the root; "." is the root.
func (f *file) dir() string { return path.Dir(f.path) }

func modulePath(root fs.FS) (string, error) {
	text, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		return "", fmt.Errorf("looking for the root of the repository: %w", err)
	}
	match := regexp.MustCompile(`(?m)^module (\S+)$`).FindSubmatch(bytes.ReplaceAll(text, []byte("\r"), nil))
	if match == nil {
		return "", errors.New("reading go.mod: no module line")
	}
	return string(match[1]), nil
}
