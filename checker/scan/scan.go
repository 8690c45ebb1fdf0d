package scan

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/decode"
	"github.com/reanchor/reanchor/checker/profile"
)

// Options say how to look.
type Options struct {
	// Root is where the host's file system is; "/" by default.
	Root string
	// MaxFileSize in bytes; larger files are reported, not read. 4 MiB by
	// default.
	MaxFileSize int64
	// CheckKeys reads private keys to compare them with certificates.
	CheckKeys bool
	// Passphrase for encrypted keys; may be nil.
	Passphrase []byte
	// Settle is how long to wait before a half-written file is read again;
	// 200 ms by default.
	Settle time.Duration
	// Workers read files at the same time; 4 by default.
	Workers int
}

// Targets say where to look.
type Targets struct {
	Profiles []profile.Profile
	// Paths are files, directories and patterns.
	Paths []string
	// Kubeconfigs are files that must be kubeconfigs.
	Kubeconfigs []string
	// Exclude are patterns on whole paths.
	Exclude []string
	// Require are patterns of which each must match a file that was read.
	Require []string
}

// Facts is what a scan found.
type Facts struct {
	Files        []checker.File
	Roots        []checker.Root
	Requirements []checker.Requirement
}

// everyCycles is how often everything is read again although nothing seems to
// have changed: a file system may lie about its times.
const everyCycles = 12

// Scanner scans again and again, reading only what changed. It is not safe for
// concurrent use.
type Scanner struct {
	options Options
	tree    tree
	decoder *decode.Decoder
	cache   *cache
	cycle   int
	// previous is how many files the last scan found.
	previous int
}

// New returns a Scanner with an empty cache.
func New(o Options) (*Scanner, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("finding the root file system %s: %w", o.Root, err)
	}
	if o.MaxFileSize <= 0 {
		o.MaxFileSize = 4 << 20
	}
	if o.Settle <= 0 {
		o.Settle = 200 * time.Millisecond
	}
	if o.Workers <= 0 {
		o.Workers = 4
	}
	return &Scanner{options: o, tree: tree{root}, decoder: decode.New(o.Passphrase), cache: newCache()}, nil
}

// Detect returns the profiles with a marker on this node.
func (s *Scanner) Detect(all []profile.Profile) []profile.Profile {
	return slices.DeleteFunc(slices.Clone(all), func(p profile.Profile) bool {
		return !slices.ContainsFunc(p.Markers, s.exists)
	})
}

func (s *Scanner) exists(pattern string) bool {
	found, _ := s.tree.expand(pattern)
	return slices.ContainsFunc(found, func(e entry) bool { return e.err == nil })
}

// Scan looks once. It fails only when ctx ends: everything else is a finding.
func (s *Scanner) Scan(ctx context.Context, targets Targets) (Facts, error) {
	if s.cycle%everyCycles == 0 {
		s.cache.reset()
	}
	s.cycle++
	s.cache.begin()
	c := s.collect(ctx, targets)
	files, refs := s.readAll(ctx, c.found)
	before := len(c.found)
	files = append(files, c.refer(refs)...)
	more, _ := s.readAll(ctx, c.found[before:])
	files = append(files, more...)
	s.previous = len(c.found)
	if err := ctx.Err(); err != nil {
		return Facts{}, fmt.Errorf("scanning files: %w", context.Cause(ctx))
	}
	s.cache.end(s.decoder, files)
	files = dropPairedKeys(files)
	checker.AssignInstances(files)
	c.countFiles(files)
	return Facts{Files: files, Roots: c.roots, Requirements: require(targets.Require, files)}, nil
}

// readAll reads with a bounded number of workers, then waits once and reads
// again what looked half-written.
func (s *Scanner) readAll(ctx context.Context, all []found) ([]checker.File, []reference) {
	files, results := make([]checker.File, len(all)), make([]outcome, len(all))
	s.each(len(all), func(i int) {
		if ctx.Err() == nil {
			results[i] = s.read(&all[i], &files[i])
		}
	})
	unfinished := func(o outcome) bool { return o.unfinished }
	if slices.ContainsFunc(results, unfinished) && settle(ctx, s.options.Settle) {
		s.each(len(all), func(i int) {
			if results[i].unfinished {
				all[i].entry, files[i] = s.tree.look(all[i].host), checker.File{}
				results[i] = s.read(&all[i], &files[i])
			}
		})
	}
	return flatten(files, results)
}

// flatten puts the files of kubeconfigs in the place of the kubeconfig, in the
// memory of the others where there are none.
func flatten(files []checker.File, results []outcome) ([]checker.File, []reference) {
	var refs []reference
	if !slices.ContainsFunc(results, func(o outcome) bool { return !o.single }) {
		return files, nil
	}
	all := make([]checker.File, 0, len(files))
	for i := range results {
		if results[i].single {
			all = append(all, files[i])
		}
		all, refs = append(all, results[i].files...), append(refs, results[i].refs...)
	}
	return all, refs
}

// settle waits; it is false when ctx ended first.
func settle(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// each runs do for 0 to n-1 on the workers.
func (s *Scanner) each(n int, do func(i int)) {
	var wg sync.WaitGroup
	workers := min(s.options.Workers, n)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	wg.Wait()
}

// dropPairedKeys removes files that are only the key of another file: it was
// judged with its certificate.
func dropPairedKeys(files []checker.File) []checker.File {
	paired := map[string]bool{}
	for i := range files {
		if f := &files[i]; f.KeyFile != nil {
			paired[f.KeyFile.Path] = true
		}
	}
	if len(paired) == 0 {
		return files
	}
	return slices.DeleteFunc(files, func(f checker.File) bool {
		return len(f.Certs) == 0 && !f.Named && paired[f.Path]
	})
}

// require counts the files with certificates that each pattern matches.
func require(patterns []string, files []checker.File) []checker.Requirement {
	var all []checker.Requirement
	for _, p := range patterns {
		r, g := checker.Requirement{Pattern: p}, parseGlob(p)
		for _, f := range files {
			if len(f.Certs) > 0 && f.Orphan == "" && g.matches(elementsOf(path.Clean(f.Path))) {
				r.Matches++
			}
		}
		all = append(all, r)
	}
	return all
}
