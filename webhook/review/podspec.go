package review

import "github.com/reanchor/reanchor/mesh"

// These functions read what mesh.ViewOf takes from a typed pod; the fuzz test
// holds the two against each other.

func (p *Parser) spec(name string) error {
	switch name {
	case "containers":
		return p.containers(&p.regulars, mesh.Regular)
	case "initContainers":
		return p.containers(&p.inits, mesh.Init)
	case "volumes":
		return p.volumes()
	default:
		return p.skip()
	}
}

// list reads an array, or a null for an empty one, and appends its elements; a
// null among them is a zero element. grow appends such an element and returns
// it.
func list[T any](p *Parser, grow func() *T, read func(into *T) error) error {
	if p.null() {
		return nil
	}
	return p.array(func() error {
		element := grow()
		if p.null() {
			return nil
		}
		return read(element)
	})
}

// grow appends a zero element.
func grow[T any](to *[]T) *T {
	var zero T
	*to = append(*to, zero)
	return &(*to)[len(*to)-1]
}

func (p *Parser) containers(into *[]mesh.Container, kind mesh.ContainerKind) error {
	growContainers := func() *mesh.Container {
		var old mesh.Container
		if n := len(*into); n < cap(*into) {
			old = (*into)[:n+1][n]
		}
		c := grow(into)
		*c = mesh.Container{Kind: kind, Env: old.Env[:0], Mounts: old.Mounts[:0], EnvFrom: old.EnvFrom[:0]}
		return c
	}
	if kind == mesh.Init {
		return list(p, growContainers, p.initContainer)
	}
	return list(p, growContainers, p.container)
}

func (p *Parser) initContainer(c *mesh.Container) error {
	return p.object(func(name string) error {
		if name != "restartPolicy" {
			return p.containerMember(c, name)
		}
		policy, err := p.optional()
		if policy == "Always" {
			c.Kind = mesh.Sidecar
		}
		return err
	})
}

func (p *Parser) container(c *mesh.Container) error {
	return p.object(func(name string) error { return p.containerMember(c, name) })
}

func (p *Parser) containerMember(c *mesh.Container, name string) (err error) {
	switch name {
	case "name":
		c.Name, err = p.optional()
	case "env":
		return list(p, func() *mesh.EnvVar { return grow(&c.Env) }, p.variable)
	case "envFrom":
		return p.envFrom(c)
	case "volumeMounts":
		return list(p, func() *mesh.Mount { return grow(&c.Mounts) }, p.mount)
	default:
		return p.skip()
	}
	return err
}

func (p *Parser) variable(v *mesh.EnvVar) error {
	return p.object(func(name string) (err error) {
		switch name {
		case "name":
			v.Name, err = p.optional()
		case "value":
			v.Value, err = p.optional()
		case "valueFrom":
			v.From, err = p.valueFrom()
		default:
			return p.skip()
		}
		return err
	})
}

// valueFrom reads the source of a variable; a ConfigMap outranks a Secret, as
// in mesh.ViewOf, should both be given.
func (p *Parser) valueFrom() (*mesh.Reference, error) {
	if p.null() {
		return nil, nil
	}
	from := &mesh.Reference{}
	err := p.object(func(name string) error {
		switch name {
		case "configMapKeyRef":
			return p.keyRef(from, mesh.ConfigMap)
		case "secretKeyRef":
			return p.keyRef(from, mesh.Secret)
		default:
			return p.skip()
		}
	})
	return from, err
}

func (p *Parser) keyRef(into *mesh.Reference, kind mesh.ObjectKind) error {
	if p.null() {
		return nil
	}
	ref := mesh.Reference{Object: mesh.Object{Kind: kind}}
	err := p.object(func(name string) (err error) {
		switch name {
		case "name":
			ref.Name, err = p.optional()
		case "key":
			ref.Key, err = p.optional()
		default:
			return p.skip()
		}
		return err
	})
	if into.Kind != mesh.ConfigMap {
		*into = ref
	}
	return err
}

// envFrom reads the objects whose keys all become variables; of one entry with
// both kinds the ConfigMap comes first.
func (p *Parser) envFrom(c *mesh.Container) error {
	if p.null() {
		return nil
	}
	return p.array(func() error {
		var configMap, secret source
		err := p.optionalObject(func(name string) error {
			switch name {
			case "configMapRef":
				return p.named(&configMap, "name")
			case "secretRef":
				return p.named(&secret, "name")
			default:
				return p.skip()
			}
		})
		c.EnvFrom = configMap.appendTo(c.EnvFrom, mesh.ConfigMap)
		c.EnvFrom = secret.appendTo(c.EnvFrom, mesh.Secret)
		return err
	})
}

// source is an object that a volume or a container refers to.
type source struct {
	present, named bool
	name           string
}

func (s source) appendTo(objects []mesh.Object, kind mesh.ObjectKind) []mesh.Object {
	if !s.present {
		return objects
	}
	return append(objects, mesh.Object{Kind: kind, Name: s.name})
}

// named reads a reference whose member key holds the object's name.
func (p *Parser) named(into *source, key string) error {
	if p.null() {
		return nil
	}
	into.present = true
	return p.object(func(name string) (err error) {
		if name != key {
			return p.skip()
		}
		into.named = !p.null()
		if into.named {
			into.name, err = p.str()
		}
		return err
	})
}

func (p *Parser) mount(m *mesh.Mount) error {
	return p.object(func(name string) (err error) {
		if name != "name" {
			return p.skip()
		}
		m.Volume, err = p.optional()
		return err
	})
}
