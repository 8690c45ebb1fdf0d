package scan

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/profile"
)

// found is one file to read.
type found struct {
	entry
	use   checker.Use
	named bool
	// base is the length of the root's own path: whether a file is a backup is
	// told by what is below the place that was asked for.
	base int
	// kubeconfig files must be one. Sniffed files are dropped unless they are,
	// backups unless they hold a certificate.
	kubeconfig, sniffed, backup bool
	// key files are dropped unless they hold a private key.
	key bool
	// keyRef is the key's path where a kubeconfig names it.
	keyRef string
	// otherContext is true while only kubeconfigs refer to it whose
	// current-context does not use it.
	otherContext bool
	// root is an index into the roots, or none; counted once it was counted
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
		c.add(found{entry: s.tree.look(path.Clean(p)), named: true, kubeconfig: true, root: none})
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
	if f.base == 0 {
		f.base = len(path.Dir(f.host))
	}
	if i, ok := c.index[f.host]; ok {
		if c.found[i].use.Role == "" {
			c.found[i].use = f.use
		}
		c.found[i].otherContext = c.found[i].otherContext && f.otherContext
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
		c.add(found{entry: entry{host: p, err: fs.ErrNotExist}, named: true, root: none})
	}
	for _, e := range matches {
		if e.err == nil && e.info.IsDir() {
			c.under(ctx, e, area{files: directoryPatterns(), root: checker.Root{Path: e.host}, sniff: true})
			continue
		}
		c.add(found{entry: e, named: !hasMeta(p), root: none})
	}
}

// directoryPatterns are the files of interest in a directory without a profile.
func directoryPatterns() []profile.File {
	var files []profile.File
	for _, name := range []string{"*.conf", "*.kubeconfig", "kubeconfig"} {
		files = append(files, profile.File{Glob: "**/" + name})
	}
	return append(files, profile.Anything("**/")...)
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
	if r.Files[0].Kubeconfig {
		c.backups(r.Path)
	}
	if seen == 0 && len(unreadable) == 0 && !r.Leftover {
		c.missing(name, r)
	}
}

// missing tells of a root that is not there, and whether it has to be.
func (c *collection) missing(name string, r *profile.Root) {
	missing := checker.Root{Path: r.Path, Profile: name, State: checker.RootMissing}
	for _, marker := range r.RequiredBy {
		if c.s.exists(marker) {
			missing.Required = r.RequiredWhy
		}
	}
	c.roots = append(c.roots, missing)
}

// backups are those beside a root that is one file; in a directory patterns
// find them.
func (c *collection) backups(file string) {
	for _, suffix := range profile.BackupSuffixes() {
		matches, _ := c.s.tree.expand(file + suffix)
		for _, e := range matches {
			c.add(found{entry: e, backup: true, root: none})
		}
	}
}

// unreadable tells once of a directory that stands in the way of patterns.
func (c *collection) unreadable(dirs []entry) {
	for _, e := range dirs {
		if r := (checker.Root{Path: e.host, State: checker.RootUnreadable}); !slices.Contains(c.roots, r) {
			c.roots = append(c.roots, r)
		}
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
		f := found{entry: e, root: len(c.roots), base: len(dir.host)}
		if pattern != none {
			p := &a.files[pattern]
			if p.Key && !c.s.options.CheckKeys {
				return
			}
			f.use, f.kubeconfig, f.backup, f.key = p.Use, p.Kubeconfig, p.Backup, p.Key
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
