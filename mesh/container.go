package mesh

// variable returns the variable that the process sees: of several with one
// name the last counts.
func (c *Container) variable(name string) (EnvVar, bool) {
	for i := len(c.Env) - 1; i >= 0; i-- {
		if c.Env[i].Name == name {
			return c.Env[i], true
		}
	}
	return EnvVar{}, false
}

// refersTo reports whether a reference of a pod in the namespace points to the
// mesh's published bundle. References always stay in the pod's own namespace.
func (m *Mesh) refersTo(ref Reference, namespace string) bool {
	return namespace == m.Namespace && ref == m.Bundle
}

// mountsBundle reports whether the container has a volume with the published
// bundle among its files.
func (m *Mesh) mountsBundle(p *Pod, c *Container) bool {
	if m.Bundle.Kind != ClusterTrustBundle && p.Namespace != m.Namespace {
		return false
	}
	for _, mount := range c.Mounts {
		for i := range p.Volumes {
			if p.Volumes[i].Name == mount.Volume && p.Volumes[i].shows(m.Bundle.Object) {
				return true
			}
		}
	}
	return false
}

func (v *Volume) shows(o Object) bool {
	for _, object := range v.Objects {
		if object == o {
			return true
		}
	}
	return false
}

// container returns the running container (not a plain init container) with
// the name.
func (p *Pod) container(name string) *Container {
	for i := range p.Containers {
		if c := &p.Containers[i]; c.Name == name && c.Kind != Init {
			return c
		}
	}
	return nil
}
