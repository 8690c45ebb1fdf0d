package mesh

import "slices"

// genericTrust: what all containers trust that hold anchors. Which those are
// is configured, or else all that use the published bundle.
func genericTrust(m *Mesh, p *Pod, w World) Trust {
	if m.Reloads {
		return Trust{Knowledge: Reloads}
	}
	found := false
	trust := Trust{Knowledge: Reloads} // the neutral element of and
	for i := range p.Containers {
		c := &p.Containers[i]
		if c.Kind == Init || (len(m.Containers) > 0 && !slices.Contains(m.Containers, c.Name)) {
			continue
		}
		if t, uses := genericContainer(m, p, c, w); uses {
			found = true
			trust = trust.and(t)
		} else if len(m.Containers) > 0 {
			return unknown("its container " + c.Name + " does not use the published bundle")
		}
	}
	if !found {
		return unknown("none of its containers uses the published bundle")
	}
	return trust
}

// genericContainer returns what one container trusts and whether it uses the
// bundle at all. A container that takes the bundle in two ways trusts what
// both give.
func genericContainer(m *Mesh, p *Pod, c *Container, w World) (Trust, bool) {
	uses := false
	trust := Trust{Knowledge: Reloads}
	if m.Literal != "" {
		if v, ok := c.variable(m.Literal); ok && v.From == nil {
			uses, trust = true, m.genericLiteral(v, w)
		}
	}
	if m.referencesBundle(p, c) {
		uses, trust = true, trust.and(m.atStart(p, c, w, environment))
	}
	if m.mountsBundle(p, c) {
		uses, trust = true, trust.and(m.atStart(p, c, w, file))
	}
	return trust, uses
}

func (m *Mesh) genericLiteral(v EnvVar, w World) Trust {
	if expands(v.Value) {
		return unknown("its bundle refers to other variables")
	}
	return w.literal(v.Value)
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
