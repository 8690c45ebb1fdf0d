package review

import "github.com/reanchor/reanchor/mesh"

// volumes reads the volumes that show objects as files.
func (p *Parser) volumes() error {
	if p.null() {
		return nil
	}
	return p.array(func() error {
		v, err := p.volume()
		if len(v.Objects) > 0 {
			p.Pod.Volumes = append(p.Pod.Volumes, v)
		}
		return err
	})
}

func (p *Parser) volume() (v mesh.Volume, err error) {
	var configMap, secret source
	var projected []mesh.Object
	err = p.optionalObject(func(name string) (err error) {
		switch name {
		case "name":
			v.Name, err = p.optional()
		case "configMap":
			return p.named(&configMap, "name")
		case "secret":
			return p.named(&secret, "secretName")
		case "projected":
			return p.optionalObject(func(name string) error {
				if name != "sources" {
					return p.skip()
				}
				return p.projections(&projected)
			})
		default:
			return p.skip()
		}
		return err
	})
	switch {
	case configMap.present:
		v.Objects = configMap.appendTo(nil, mesh.ConfigMap)
	case secret.present:
		v.Objects = secret.appendTo(nil, mesh.Secret)
	default:
		v.Objects = projected
	}
	return v, err
}

// projections reads the sources of a projected volume; of each the first kind
// that is set counts.
func (p *Parser) projections(into *[]mesh.Object) error {
	if p.null() {
		return nil
	}
	return p.array(func() error {
		var configMap, secret, trust source
		err := p.optionalObject(func(name string) error {
			switch name {
			case "configMap":
				return p.named(&configMap, "name")
			case "secret":
				return p.named(&secret, "name")
			case "clusterTrustBundle":
				return p.named(&trust, "name")
			default:
				return p.skip()
			}
		})
		switch {
		case configMap.present:
			*into = configMap.appendTo(*into, mesh.ConfigMap)
		case secret.present:
			*into = secret.appendTo(*into, mesh.Secret)
		case trust.named:
			*into = trust.appendTo(*into, mesh.ClusterTrustBundle)
		}
		return err
	})
}
