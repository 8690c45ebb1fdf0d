package scan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/reanchor/reanchor/checker"
)

// tree is a file system below a root. Paths given to it are absolute and mean
// what they mean to a process chrooted there.
type tree struct{ root string }

// resolve follows every symbolic link inside the root. A target that does not
// exist is no error here; the stat that follows says so.
func (t tree) resolve(host string) (string, error) {
	real, err := securejoin.SecureJoin(t.root, host)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", host, err)
	}
	return real, nil
}

// host is the inverse of resolve for paths that it returned.
func (t tree) host(real string) string {
	if t.root == "/" {
		return real
	}
	return path.Join("/", strings.TrimPrefix(real, filepath.Clean(t.root)))
}

// entry is one name in a directory, resolved.
type entry struct {
	host string
	// real is where to open it; dir is the real directory it is listed in.
	real, dir string
	// keys are the names in the directory that may be private keys; nil when
	// the directory was not listed.
	keys map[string]bool
	link bool
	// info and err are both nil for a file that was listed and not looked at:
	// the workers do that.
	info fs.FileInfo
	err  error
}

// look resolves one path.
func (t tree) look(host string) entry {
	dir, err := t.resolve(path.Dir(host))
	if err != nil {
		return entry{host: host, err: err}
	}
	return t.lookIn(path.Dir(host), dir, path.Base(host))
}

// lookIn resolves one name in a directory that is resolved already.
func (t tree) lookIn(hostDir, realDir, name string) entry {
	e := entry{host: path.Join(hostDir, name), dir: realDir, real: filepath.Join(realDir, name)}
	t.stat(&e)
	return e
}

// ensure looks at an entry that was only listed.
func (t tree) ensure(e *entry) {
	if e.info == nil && e.err == nil {
		t.stat(e)
	}
}

// stat looks at what an entry names.
func (t tree) stat(e *entry) {
	e.info, e.err = os.Lstat(e.real)
	if e.err != nil || e.info.Mode()&fs.ModeSymlink == 0 {
		return
	}
	e.link = true
	if e.real, e.err = t.resolve(e.host); e.err == nil {
		e.info, e.err = os.Stat(e.real)
	}
}

// fault says why an entry cannot be read.
func (t tree) fault(e entry) checker.Fault {
	switch {
	case errors.Is(e.err, syscall.ELOOP):
		return checker.Fault{ID: checker.SymlinkLoop, Detail: "the symbolic links go in a circle"}
	case errors.Is(e.err, fs.ErrNotExist) && e.link:
		return t.brokenLink(e)
	case errors.Is(e.err, fs.ErrNotExist), errors.Is(e.err, syscall.ENOTDIR):
		return checker.Fault{ID: checker.NotFound, Detail: "it does not exist"}
	case errors.Is(e.err, fs.ErrPermission):
		return checker.Fault{ID: checker.Unreadable, Detail: "permission denied"}
	default:
		return checker.Fault{ID: checker.Unreadable, Detail: reason(e.err)}
	}
}

// brokenLink tells a link whose target was deleted from one whose target's
// directory is not mounted here.
func (t tree) brokenLink(e entry) checker.Fault {
	target := t.host(e.real)
	if _, err := os.Stat(filepath.Dir(e.real)); t.root != "/" && errors.Is(err, fs.ErrNotExist) {
		return checker.Fault{ID: checker.OutOfScopeSymlink, Detail: fmt.Sprintf("leads to %s, whose directory is not below the root file system given", target)}
	}
	return checker.Fault{ID: checker.BrokenSymlink, Detail: fmt.Sprintf("leads to %s, which does not exist", target)}
}

// reason is the system's word for an error, without this machine's paths.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// expand lists what a pattern matches, files and directories, in order. A
// directory on the way that cannot be read is returned in unreadable.
func (t tree) expand(pattern string) (found []entry, unreadable []entry) {
	base, rest := literalPrefix(pattern)
	e := t.look(path.Clean(base))
	if rest == "" {
		if e.err != nil && !e.link && errors.Is(e.err, fs.ErrNotExist) {
			return nil, nil
		}
		return []entry{e}, nil
	}
	return t.expandIn(e, parseGlob(rest))
}

func (t tree) expandIn(dir entry, g glob) (found []entry, unreadable []entry) {
	if dir.err != nil || !dir.info.IsDir() {
		if errors.Is(dir.err, fs.ErrPermission) {
			unreadable = append(unreadable, dir)
		}
		return nil, unreadable
	}
	next, err := t.list(dir, g[0])
	if err != nil {
		dir.err = err
		return nil, []entry{dir}
	}
	if len(g) == 1 {
		return next, nil
	}
	for _, e := range next {
		f, u := t.expandIn(e, g[1:])
		found, unreadable = append(found, f...), append(unreadable, u...)
	}
	return found, unreadable
}

// list returns the entries of a directory that one pattern element matches.
func (t tree) list(dir entry, pattern string) ([]entry, error) {
	if !hasMeta(pattern) {
		if e := t.lookIn(dir.host, dir.real, pattern); e.err == nil || e.link {
			return []entry{e}, nil
		}
		return nil, nil
	}
	names, err := os.ReadDir(dir.real)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir.host, err)
	}
	var matched []entry
	for _, n := range names {
		if matchElement(pattern, n.Name()) {
			matched = append(matched, t.lookIn(dir.host, dir.real, n.Name()))
		}
	}
	return matched, nil
}
