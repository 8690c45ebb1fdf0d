package mesh

import (
	"iter"
	"slices"
	"strings"
	"time"
)

// Evidence is what a pod itself says about its trust, apart from the world
// around it. It is small and does not refer to the pod, so that an index of a
// hundred thousand pods keeps it instead of them; Resolve turns it into Trust
// as often as the world changes. The zero value resolves to Unknown.
type Evidence struct {
	Claim
	// CreatedAt is the API server's creation time of the pod; zero in an
	// admission request.
	CreatedAt time.Time
	// Starts are the moments at which containers read the published object.
	Starts []Start
}

// Claim is the part of an Evidence that follows from the pod's spec. It is
// comparable, and pods with the same bundle in the same variable share it.
type Claim struct {
	// Knowledge is Known when Literals and Starts tell the trust.
	Knowledge Knowledge
	// Why says why it is Unknown.
	Why string
	// Literals holds the bundles that are written in the spec, each ended by a
	// NUL, which no environment variable can hold. Usually there is at most one.
	Literals string
}

// Start is a moment at which a container read the published object.
type Start struct {
	// At is when its process started, in Unix seconds by the node's clock
	// (the resolution of the API); 0 when it is not running.
	At int64
	// File says that it read a mounted file and not a variable.
	File bool
}

// Inspect returns what a member of the mesh says about its trust.
func (m *Mesh) Inspect(p *Pod) Evidence {
	e := m.inspect(p)
	e.CreatedAt = p.CreatedAt
	return e
}

func (m *Mesh) inspect(p *Pod) Evidence {
	switch m.Profile {
	case Linkerd:
		return linkerdEvidence(m, p)
	case Generic:
		return genericEvidence(m, p)
	case Istio:
		return reloads()
	default:
		return noEvidence("its profile is not supported")
	}
}

// SameInspection reports whether both meshes have the same members and Inspect
// them alike: they differ at most in what Resolve uses. Whoever keeps Evidence
// has to look at the pods again when it is false.
func (m *Mesh) SameInspection(o *Mesh) bool {
	return m.Name == o.Name && m.Profile == o.Profile && m.Namespace == o.Namespace && m.Bundle == o.Bundle &&
		m.Literal == o.Literal && m.Reloads == o.Reloads &&
		slices.Equal(m.Containers, o.Containers)
}

const nul = "\x00"

func noEvidence(why string) Evidence { return Evidence{Claim: Claim{Why: why}} }

func reloads() Evidence { return Evidence{Claim: Claim{Knowledge: Reloads}} }

// maxLiteral is the most that the value of one variable may hold, in bytes: Linux
// starts no process with more (MAX_ARG_STRLEN, 32 pages of 4 KiB). A pod may hold a
// megabyte all the same, and wait for ever; an index that kept each of those would
// run out of memory.
const maxLiteral = 128 << 10

// literal is the evidence of a bundle in the value of a variable. The kubelet
// replaces "$(NAME)" by another variable, so that the text in the spec is not
// what the process sees.
func literal(value string) Evidence {
	switch {
	case len(value) > maxLiteral:
		return noEvidence("its bundle is larger than 128 KiB, with which Linux starts no process")
	case strings.Contains(value, "$("):
		return noEvidence("its bundle refers to other variables")
	case strings.Contains(value, nul):
		return noEvidence("its bundle holds a NUL, which no process can be given")
	default:
		return Evidence{Claim: Claim{Knowledge: Known, Literals: value + nul}}
	}
}

// readAtStart is the evidence of a container that read the published object,
// as a variable or as a file, when it started.
func readAtStart(c *Container, file bool) Evidence {
	s := Start{File: file}
	if !c.StartedAt.IsZero() {
		s.At = c.StartedAt.Unix()
	}
	return Evidence{Claim: Claim{Knowledge: Known}, Starts: []Start{s}}
}

// and returns the evidence of a pod in which there are two processes.
func (e Evidence) and(o Evidence) Evidence {
	switch {
	case e.Knowledge == Unknown, o.Knowledge == Reloads:
		return e
	case o.Knowledge == Unknown, e.Knowledge == Reloads:
		return o
	}
	if e.Literals != o.Literals {
		e.Literals += o.Literals
	}
	e.Starts = append(e.Starts[:len(e.Starts):len(e.Starts)], o.Starts...)
	return e
}

// texts yields the literal bundles.
func (c Claim) texts() iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := c.Literals; rest != ""; {
			text, after, _ := strings.Cut(rest, nul)
			if !yield(text) {
				return
			}
			rest = after
		}
	}
}
