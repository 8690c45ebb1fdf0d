package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	links = regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)
	// paths are files and folders of the repository, written as code.
	paths = regexp.MustCompile("`((?:api|bundle|checker|cmd|docs|hack|manifests|mesh|rotation|test|webhook)(?:/[A-Za-z0-9_./-]+)?)`")
	tests = regexp.MustCompile(`\bTest[A-Z][A-Za-z0-9]+`)
)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, p := range pages(t) {
		for _, m := range links.FindAllStringSubmatch(strings.Join(p.prose(), "\n"), -1) {
			target := p
			switch {
			case strings.Contains(m[1], "://"):
				continue
			case m[1] != "":
				path := filepath.Join(filepath.Dir(p.name), m[1])
				if _, err := os.Stat(filepath.Join(root, path)); err != nil {
					t.Errorf("%s links %s, which does not exist", p.name, m[1])
					continue
				}
				target = readPage(t, path)
			}
			if m[2] != "" && !slices.Contains(target.anchors(), m[2]) {
				t.Errorf("%s links #%s, and %s has no such heading", p.name, m[2], target.name)
			}
		}
	}
}

func TestPathsExist(t *testing.T) {
	for _, p := range pages(t) {
		for _, m := range paths.FindAllStringSubmatch(strings.Join(p.lines, "\n"), -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", p.name, m[1])
			}
		}
	}
}

func TestNamedTestsExist(t *testing.T) {
	there := testNames(t)
	found := 0
	for _, p := range pages(t) {
		for _, name := range tests.FindAllString(strings.Join(p.lines, "\n"), -1) {
			found++
			if !there[name] {
				t.Errorf("%s names %s, and there is no such test", p.name, name)
			}
		}
	}
	if found == 0 {
		t.Error("no page names a test; docs/design.md is to")
	}
}

// testNames are the tests of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (Test[A-Z][A-Za-z0-9]+)\(`)
	out := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			out[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheDesignPageStaysShort(t *testing.T) {
	if n := len(readPage(t, "docs/design.md").lines); n > 200 {
		t.Errorf("docs/design.md has %d lines, which nobody reads", n)
	}
}
