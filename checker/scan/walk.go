package scan

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/reanchor/reanchor/checker"
)

// maxDepth bounds a walk below its root; no PKI is deeper.
const maxDepth = 32

// walk visits every file below dir that a pattern could match, once. Symbolic
// links to directories are followed; a directory that was seen under another
// name is not entered again, so loops end.
type walk struct {
	tree
	patterns []glob
	exclude  []glob
	// visit gets a file and the index of the first pattern that matches it, or a
	// directory that cannot be read and none.
	visit func(e entry, pattern int)
	seen  map[checker.FileID]bool
}

func (w *walk) run(ctx context.Context, dir entry, below []string) {
	if ctx.Err() != nil || len(below) > maxDepth || !w.enter(dir) {
		return
	}
	names, err := os.ReadDir(dir.real)
	if err != nil {
		dir.err = err
		w.visit(dir, none)
	}
	dir.keys = keysAmong(names)
	for _, n := range names {
		// kubelet's ..data and ..2024_01_01 directories are what the links
		// beside them lead to.
		if strings.HasPrefix(n.Name(), "..") {
			continue
		}
		// Nobody keeps the elements, so siblings may share their memory.
		w.child(ctx, &dir, n, append(below, n.Name()))
	}
}

// none is the index of what there is none of: a pattern that matches, a root.
const none = -1

// child looks at one name. A file costs no system call here: the workers look
// at those that a pattern matches.
func (w *walk) child(ctx context.Context, dir *entry, n os.DirEntry, below []string) {
	pattern := slices.IndexFunc(w.patterns, func(g glob) bool { return g.matches(below) })
	mayBeDir := n.Type()&(os.ModeDir|os.ModeSymlink) != 0
	if pattern == none && !mayBeDir || w.excluded(dir, n) {
		return
	}
	e := dir.child(n.Name())
	if mayBeDir {
		w.stat(&e)
	}
	switch {
	case e.isDir():
		if w.anyBelow(below) {
			w.run(ctx, e, below)
		}
	case pattern != none:
		w.visit(e, pattern)
	}
}

// isDir is false for what was not looked at.
func (e *entry) isDir() bool { return e.err == nil && e.info != nil && e.info.IsDir() }

// child is a listed name, not looked at. Where the root file system is the
// system's own, one string serves for both paths.
func (e *entry) child(name string) entry {
	c := entry{host: joined(e.host, name), dir: e.real, keys: e.keys}
	c.real = c.host
	if e.real != e.host {
		c.real = joined(e.real, name)
	}
	return c
}

// joined is path.Join for a clean directory and one name.
func joined(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}

// keysAmong saves asking for the key of each certificate by name.
func keysAmong(names []os.DirEntry) map[string]bool {
	keys := map[string]bool{}
	for _, n := range names {
		if name := n.Name(); strings.HasSuffix(name, ".key") || strings.HasSuffix(name, "key.pem") {
			keys[name] = true
		}
	}
	return keys
}

func (w *walk) excluded(dir *entry, n os.DirEntry) bool {
	return len(w.exclude) > 0 && anyMatches(w.exclude, elementsOf(dir.host+"/"+n.Name()))
}

// enter reports whether a directory was not seen before.
func (w *walk) enter(dir entry) bool {
	if dir.info == nil {
		return true
	}
	id := identify(dir.info).id
	if id == (checker.FileID{}) {
		return true
	}
	if w.seen[id] {
		return false
	}
	w.seen[id] = true
	return true
}

func (w *walk) anyBelow(dir []string) bool {
	for _, g := range w.patterns {
		if g.mayMatchBelow(dir) {
			return true
		}
	}
	return false
}

func anyMatches(globs []glob, elements []string) bool {
	for _, g := range globs {
		if g.matches(elements) {
			return true
		}
	}
	return false
}

func elementsOf(host string) []string { return strings.Split(strings.Trim(host, "/"), "/") }
