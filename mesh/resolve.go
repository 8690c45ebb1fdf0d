package mesh

import (
	"cmp"
	"time"
)

const nothingRead = "nothing tells what it read"

// apiResolution is what the API cuts every time down to.
const apiResolution = time.Second

// Resolve returns the effective trust of a pod with the evidence.
func (m *Mesh) Resolve(e Evidence, w World) Trust {
	switch {
	case e.Knowledge == Reloads:
		return Trust{Knowledge: Reloads}
	case e.Knowledge == Unknown:
		return unknown(cmp.Or(e.Why, nothingRead))
	}
	all := Trust{Knowledge: Reloads} // the neutral element of and
	for _, s := range e.Starts {
		all = all.and(w.History.Between(m.window(e.CreatedAt, s, w.Now)))
	}
	for text := range e.texts() {
		all = all.and(w.literal(text))
	}
	if all.Knowledge == Reloads {
		return unknown(nothingRead)
	}
	return all
}

// window returns the earliest and the latest instant of which a container saw
// the published object when it started.
//
// It did not start before its pod was created, which the API server's clock
// tells exactly; the node's clock, which tells when it started, may be off by
// ClockSkew. A variable is resolved anew at every start of the container and a
// file is written when the pod starts, both from the node's copy of the object,
// at most EnvDelay old. When the container starts again later in the same pod,
// the file may be as old as FileDelay. The published object was written up to
// apiResolution later than its own time says.
func (m *Mesh) window(created time.Time, s Start, now time.Time) (from, to time.Time) {
	if created.IsZero() {
		// An admission request: it starts after now and reads what is there.
		return now, now
	}
	from, to = created.Add(-m.EnvDelay-apiResolution), now
	if s.At != 0 {
		started, lag := time.Unix(s.At, 0), m.EnvDelay
		if s.File {
			lag = m.FileDelay
		}
		from = later(from, started.Add(-m.ClockSkew-lag-apiResolution))
		to = earlier(to, started.Add(m.ClockSkew))
	}
	return from, later(to, created)
}

// Resolver resolves the evidence of many pods in one world. Pods for which the
// same publications or the same literals are possible get the same *Trust, so
// that what a caller derives from it can be remembered by that pointer. It is
// not safe for concurrent use.
type Resolver struct {
	mesh  *Mesh
	world World
	memo  map[resolved]*Trust
}

// resolved is all that a Trust depends on: the claim, and the publications
// that up to two starts may have read.
type resolved struct {
	claim  Claim
	starts int
	spans  [2]span
}

// NewResolver returns a Resolver for the members of the mesh.
func (m *Mesh) NewResolver(w World) *Resolver {
	return &Resolver{mesh: m, world: w, memo: map[resolved]*Trust{}}
}

// Trust returns the same as Resolve. Callers must not modify it.
func (r *Resolver) Trust(e Evidence) *Trust {
	key, ok := r.key(e)
	if !ok {
		t := r.mesh.Resolve(e, r.world)
		return &t
	}
	t := r.memo[key]
	if t == nil {
		resolved := r.mesh.Resolve(e, r.world)
		t = &resolved
		r.memo[key] = t
	}
	return t
}

// key is false for a pod with so many different starts that remembering its
// trust would help no other.
func (r *Resolver) key(e Evidence) (resolved, bool) {
	key := resolved{claim: e.Claim}
	if e.Knowledge != Known {
		return key, true
	}
	for _, start := range e.Starts {
		s, why := r.world.History.span(r.mesh.window(e.CreatedAt, start, r.world.Now))
		switch {
		case why != "":
			return resolved{claim: Claim{Why: why}}, true
		case key.starts > 0 && key.spans[key.starts-1] == s:
		case key.starts == len(key.spans):
			return resolved{}, false
		default:
			key.spans[key.starts] = s
			key.starts++
		}
	}
	return key, true
}
