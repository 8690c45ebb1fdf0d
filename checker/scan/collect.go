package scan

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/profile"
)

// found is one file to read.
type found struct {
	entry
	use   checker.Use
	named bool
	// kubeconfig files must be one; sniffed files are dropped unless they are.
	kubeconfig, sniffed bool
	// keyRef is the key's path where a kubeconfig names it.
	keyRef string
	// root is an index into the roots, -1 for none; counted once it was counted
	// there.
	root    int
	counted bool
}

// collection gathers what to read, each path once.
type collection struct {
	s       *Scanner
	found   []found
	index   map[string]int
	roots   []checker.Root
	exclude []glob
	// known gives roles to files that no profile led to.
	known known
}

// collect lists the files. Named paths come first: their faults weigh more.
func (s *Scanner) collect(ctx context.Context, t Targets) *collection {
	c := &collection{s: s, index: make(map[string]int, s.previous)}
	c.found = make([]found, 0, s.previous)
	for _, e := range t.Exclude {
		c.exclude = append(c.exclude, parseGlob(e))
	}
	if len(t.Paths) > 0 {
		c.known = knownFrom(s.Detect(profile.All()))
	}
	for _, p := range t.Paths {
		c.path(ctx, path.Clean(p))
	}
	for _, p := range t.Kubeconfigs {
		c.add(found{entry: s.tree.look(path.Clean(p)), named: true, kubeconfig: true, root: -1})
	}
	for _, p := range t.Profiles {
		for i := range p.Roots {
			c.profileRoot(ctx, p.Name, &p.Roots[i])
		}
	}
	return c
}

// add keeps a file. A path that was named and belongs to a profile has both.
func (c *collection) add(f found) {
	if len(c.exclude) > 0 && anyMatches(c.exclude, elementsOf(f.host)) {
		return
	}
	if i, ok := c.index[f.host]; ok {
		if c.found[i].use.Role == "" {
			c.found[i].use = f.use
		}
		return
	}
	if f.use.Role == "" {
		f.use = c.known.use(f.host)
	}
	if f.use.Purpose == 0 && namedLikeCA(f.host) {
		f.use.Purpose = checker.CA
	}
	c.index[f.host] = len(c.found)
	c.found = append(c.found, f)
}

// namedLikeCA is for files without a role.
func namedLikeCA(file string) bool {
	base := strings.TrimSuffix(strings.TrimSuffix(path.Base(file), ".crt"), ".pem")
	return base != path.Base(file) && (base == "ca" || strings.HasSuffix(base, "-ca"))
}

// path is what the user asked for: a file, a directory or a pattern.
func (c *collection) path(ctx context.Context, p string) {
	if strings.Contains(p, anyDepth) {
		base, rest := literalPrefix(p)
		c.under(ctx, c.s.tree.look(base), area{files: []profile.File{{Glob: rest}}, root: checker.Root{Path: p}})
		return
	}
	matches, unreadable := c.s.tree.expand(p)
	c.unreadable(unreadable)
	switch {
	case len(matches) == 0 && hasMeta(p):
		c.roots = append(c.roots, checker.Root{Path: p, State: checker.RootMissing})
	case len(matches) == 0:
		c.add(found{entry: entry{host: p, err: fs.ErrNotExist}, named: true, root: -1})
	}
	for _, e := range matches {
		if e.err == nil && e.info.IsDir() {
			c.under(ctx, e, area{files: directoryPatterns(), root: checker.Root{Path: e.host}, sniff: true})
			continue
		}
		c.add(found{entry: e, named: !hasMeta(p), root: -1})
	}
}

// directoryPatterns are the files of interest in a directory without a profile.
func directoryPatterns() []profile.File {
	var files []profile.File
	for _, extension := range []string{"crt", "cert", "cer", "pem", "der", "csr", "crl"} {
		files = append(files, profile.File{Glob: "**/*." + extension})
	}
	for _, name := range []string{"*.conf", "*.kubeconfig", "kubeconfig"} {
		files = append(files, profile.File{Glob: "**/" + name})
	}
	return files
}

// profileRoot expands one root of a profile.
func (c *collection) profileRoot(ctx context.Context, name string, r *profile.Root) {
	matches, unreadable := c.s.tree.expand(r.Path)
	c.unreadable(unreadable)
	seen := 0
	for _, e := range matches {
		if e.err != nil && errors.Is(e.err, fs.ErrNotExist) && !e.link {
			continue
		}
		seen++
		c.under(ctx, e, area{files: r.Files, root: checker.Root{Path: e.host, Profile: name}})
	}
	if seen > 0 || len(unreadable) > 0 {
		return
	}
	missing := checker.Root{Path: r.Path, Profile: name, State: checker.RootMissing}
	for _, marker := range r.RequiredBy {
		if c.s.exists(marker) {
			missing.Required = r.RequiredWhy
		}
	}
	c.roots = append(c.roots, missing)
}

func (c *collection) unreadable(dirs []entry) {
	for _, e := range dirs {
		c.roots = append(c.roots, checker.Root{Path: e.host, State: checker.RootUnreadable})
	}
}

// area is what to look for below one root.
type area struct {
	files []profile.File
	root  checker.Root
	// sniff drops configuration files that are no kubeconfigs.
	sniff bool
}

// under reads one root: a file, or a directory that is walked once for all
// patterns; the first pattern that matches decides.
func (c *collection) under(ctx context.Context, e entry, a area) {
	index := len(c.roots)
	a.root.State = checker.RootScanned
	switch {
	case e.err != nil && errors.Is(e.err, fs.ErrNotExist) && !e.link:
		a.root.State = checker.RootMissing
	case e.err != nil && e.link:
		c.add(found{entry: e, root: index})
	case e.err != nil:
		a.root.State = checker.RootUnreadable
	case !e.info.IsDir():
		c.add(found{entry: e, use: a.files[0].Use, kubeconfig: a.files[0].Kubeconfig, root: index})
	default:
		c.walk(ctx, e, &a)
	}
	c.roots = append(c.roots, a.root)
}

func (c *collection) walk(ctx context.Context, dir entry, a *area) {
	patterns := make([]glob, len(a.files))
	for i := range a.files {
		patterns[i] = parseGlob(a.files[i].Glob)
	}
	w := &walk{tree: c.s.tree, patterns: patterns, exclude: c.exclude, seen: map[checker.FileID]bool{}}
	w.visit = func(e entry, pattern int) {
		if e.host == dir.host {
			a.root.State = checker.RootUnreadable
			return
		}
		f := found{entry: e, root: len(c.roots)}
		if pattern != none {
			f.use, f.kubeconfig = a.files[pattern].Use, a.files[pattern].Kubeconfig
			f.sniffed = a.sniff && looksLikeConfig(e.host)
		}
		c.add(f)
	}
	w.run(ctx, dir, nil)
}

func looksLikeConfig(host string) bool {
	base := path.Base(host)
	return strings.HasSuffix(base, ".conf") || strings.HasSuffix(base, "kubeconfig")
}

// countFiles tells how many files with certificates each root had.
func (c *collection) countFiles(files []checker.File) {
	for i := range files {
		at, ok := c.index[files[i].Path]
		if !ok || len(files[i].Certs) == 0 {
			continue
		}
		if f := &c.found[at]; f.root >= 0 && !f.counted {
			f.counted = true
			c.roots[f.root].Files++
		}
	}
}
