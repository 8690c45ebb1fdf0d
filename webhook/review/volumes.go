package review

import (
	"cmp"

	"github.com/reanchor/reanchor/mesh"
)

// volumes reads the volumes that show objects as files.
func (p *Parser) volumes() error {
	if p.null() {
		return nil
	}
	return p.array(func() error {
		v, err := p.volume()
		if err != nil || len(v.Objects) == 0 {
			return err
		}
		return add(&p.Pod.Volumes, v, most{MaxVolumes, "volumes"})
	})
}

func (p *Parser) volume() (v mesh.Volume, err error) {
	var configMap, secret source
	first := len(p.objects)
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
				return p.projections()
			})
		default:
			return p.skip()
		}
		return err
	})
	if configMap.present || secret.present {
		p.objects = p.objects[:first] // what is projected, too, does not count
	}
	if secret.present = secret.present && !configMap.present; err == nil {
		err = cmp.Or(p.refer(configMap, mesh.ConfigMap), p.refer(secret, mesh.Secret))
	}
	v.Objects = since(p.objects, first)
	return v, err
}

// projections reads the sources of a projected volume; of each the first kind
// that is set counts.
func (p *Parser) projections() error {
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
		case err != nil:
			return err
		case configMap.present:
			return p.refer(configMap, mesh.ConfigMap)
		case secret.present:
			return p.refer(secret, mesh.Secret)
		case trust.named:
			return p.refer(trust, mesh.ClusterTrustBundle)
		default:
			return nil
		}
	})
}
