package scan

import (
	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/profile"
)

// known tells the role of a file that the user named, so that its finding comes
// with the same remedy as one that a profile led to.
type known []knownRoot

type knownRoot struct {
	path  glob
	files []profile.File
}

func knownFrom(profiles []profile.Profile) known {
	var k known
	for _, p := range profiles {
		for _, r := range p.Roots {
			k = append(k, knownRoot{parseGlob(r.Path), r.Files})
		}
	}
	return k
}

// use is the role that the first root and pattern give to a path; the zero Use
// where none does.
func (k known) use(host string) checker.Use {
	if len(k) == 0 {
		return checker.Use{}
	}
	elements := elementsOf(host)
	for _, r := range k {
		n := len(r.path)
		if len(elements) <= n || !r.path.matches(elements[:n]) {
			continue
		}
		for _, f := range r.files {
			if parseGlob(f.Glob).matches(elements[n:]) {
				return f.Use
			}
		}
	}
	return checker.Use{}
}
