package mesh

import "slices"

// genericEvidence: of all containers that hold anchors. Which those are is
// configured, or else all that use the published bundle.
func genericEvidence(m *Mesh, p *Pod) Evidence {
	if m.Reloads {
		return reloads()
	}
	found := false
	all := reloads() // the neutral element of and
	for i := range p.Containers {
		c := &p.Containers[i]
		if c.Kind == Init || (len(m.Containers) > 0 && !slices.Contains(m.Containers, c.Name)) {
			continue
		}
		if e, uses := genericContainer(m, p, c); uses {
			found = true
			all = all.and(e)
		} else if len(m.Containers) > 0 {
			return noEvidence("its container " + c.Name + " does not use the published bundle")
		}
	}
	if !found {
		return noEvidence("none of its containers uses the published bundle")
	}
	return all
}

// genericContainer returns the evidence of one container and whether it uses
// the bundle at all. A container that takes the bundle in two ways trusts what
// both give.
func genericContainer(m *Mesh, p *Pod, c *Container) (Evidence, bool) {
	uses := false
	all := reloads()
	if m.Literal != "" {
		if v, ok := c.variable(m.Literal); ok && v.From == nil {
			uses, all = true, literal(v.Value)
		}
	}
	if m.referencesBundle(p, c) {
		uses, all = true, all.and(readAtStart(c, false))
	}
	if m.mountsBundle(p, c) {
		uses, all = true, all.and(readAtStart(c, true))
	}
	return all, uses
}

// referencesBundle reports whether a variable of the container comes from the
// published bundle, alone or with all keys of the object.
func (m *Mesh) referencesBundle(p *Pod, c *Container) bool {
	if p.Namespace != m.Namespace {
		return false
	}
	for i := range c.Env {
		if from := c.Env[i].From; from != nil && m.refersTo(*from, p.Namespace) {
			return true
		}
	}
	return slices.Contains(c.EnvFrom, m.Bundle.Object)
}
