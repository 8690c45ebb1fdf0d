package scan

import (
	"path"
	"slices"
	"strings"
)

// glob is a slash-separated pattern: path.Match per element, and "**" for any
// number of elements, also none.
type glob []string

const anyDepth = "**"

func parseGlob(pattern string) glob {
	return strings.Split(strings.Trim(pattern, "/"), "/")
}

// hasMeta reports whether a path is a pattern at all.
func hasMeta(s string) bool { return strings.ContainsAny(s, `*?[`) }

// matches reports whether the elements are matched as a whole.
func (g glob) matches(elements []string) bool {
	for len(g) > 0 {
		if g[0] == anyDepth {
			if tail := g[1:]; !slices.Contains(tail, anyDepth) {
				// Only the last elements can be the tail's.
				from := len(elements) - len(tail)
				return from >= 0 && tail.matches(elements[from:])
			}
			for skip := 0; skip <= len(elements); skip++ {
				if g[1:].matches(elements[skip:]) {
					return true
				}
			}
			return false
		}
		if len(elements) == 0 || !matchElement(g[0], elements[0]) {
			return false
		}
		g, elements = g[1:], elements[1:]
	}
	return len(elements) == 0
}

// mayMatchBelow reports whether something below the directory could match.
func (g glob) mayMatchBelow(dir []string) bool {
	for i, element := range dir {
		if i >= len(g) {
			return false
		}
		if g[i] == anyDepth {
			return true
		}
		if !matchElement(g[i], element) {
			return false
		}
	}
	return len(g) > len(dir)
}

func matchElement(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// literalPrefix splits a pattern at its first element that is one.
func literalPrefix(pattern string) (dir, rest string) {
	elements := strings.Split(pattern, "/")
	for i, e := range elements {
		if hasMeta(e) {
			return path.Join("/", path.Join(elements[:i]...)), strings.Join(elements[i:], "/")
		}
	}
	return pattern, ""
}
