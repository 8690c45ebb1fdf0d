package review

import (
	"cmp"
	"slices"

	"github.com/reanchor/reanchor/mesh"
)

// These functions read what mesh.ViewOf takes from a typed pod; the fuzz test
// holds the two against each other.

func (p *Parser) spec(name string) error {
	switch name {
	case "containers":
		return p.containers(p.container)
	case "initContainers":
		return p.initContainers()
	case "volumes":
		return p.volumes()
	default:
		return p.skip()
	}
}

// list reads an array, or a null for an empty one, and appends its elements; a
// null among them is a zero element.
func list[T any](p *Parser, to *[]T, bound most, read func(into *T) error) error {
	if p.null() {
		return nil
	}
	return p.array(func() error {
		var zero T
		if err := add(to, zero, bound); err != nil {
			return err
		}
		if p.null() {
			return nil
		}
		return read(&(*to)[len(*to)-1])
	})
}

func (p *Parser) containers(read func(into *mesh.Container) error) error {
	return list(p, &p.Pod.Containers, most{MaxContainers, "containers"}, read)
}

// initContainers puts them before the others, as mesh.ViewOf does, in whatever order
// the text has the two lists. The API server writes these first, too.
func (p *Parser) initContainers() error {
	regulars := len(p.Pod.Containers)
	err := p.containers(p.initContainer)
	all := p.Pod.Containers
	for i := range all[regulars:] {
		if c := &all[regulars+i]; c.Kind == mesh.Regular {
			c.Kind = mesh.Init
		}
	}
	if regulars > 0 {
		slices.Reverse(all[:regulars])
		slices.Reverse(all[regulars:])
		slices.Reverse(all)
	}
	return err
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
		first := len(p.env)
		err = list(p, &p.env, most{MaxVariables, "environment variables"}, p.variable)
		c.Env = since(p.env, first)
	case "envFrom":
		return p.envFrom(c)
	case "volumeMounts":
		first := len(p.mounts)
		err = list(p, &p.mounts, most{MaxMounts, "volume mounts"}, p.mount)
		c.Mounts = since(p.mounts, first)
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
	first := len(p.objects)
	err := p.array(func() error {
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
		return cmp.Or(err, p.refer(configMap, mesh.ConfigMap), p.refer(secret, mesh.Secret))
	})
	c.EnvFrom = since(p.objects, first)
	return err
}

// source is an object that a volume or a container refers to.
type source struct {
	present, named bool
	name           string
}

// refer appends the object, if there is one.
func (p *Parser) refer(to source, kind mesh.ObjectKind) error {
	if !to.present {
		return nil
	}
	return add(&p.objects, mesh.Object{Kind: kind, Name: to.name}, most{MaxObjects, "ConfigMaps, Secrets and ClusterTrustBundles"})
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
