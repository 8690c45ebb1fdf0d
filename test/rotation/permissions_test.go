package rotation

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/reanchor/reanchor/test/audit"
)

// renames are the roles of all scenarios: as they are installed for a mesh, and
// what the manifests call them.
type renames struct {
	sync.Mutex
	names map[string]string
}

var installed renames

func (r *renames) note(as, original string) {
	r.Lock()
	defer r.Unlock()
	if r.names == nil {
		r.names = map[string]string{}
	}
	r.names[as] = original
}

// original gives every permission the name of its role in the manifests.
func (r *renames) original(used map[audit.Permission]bool) map[audit.Permission]bool {
	r.Lock()
	defer r.Unlock()
	out := map[audit.Permission]bool{}
	for p := range used {
		if name, ok := r.names[p.Role]; ok {
			p.Role = name
		}
		out[p] = true
	}
	return out
}

// leastPrivilege returns an error when the manifests permit for rotations what
// none of the scenarios used.
func leastPrivilege() error {
	granted := audit.OfRotations()
	for _, file := range []string{"generations", "inplace", "bundlewriter"} {
		roles, err := audit.Granted("../../manifests/controller/rotation/" + file + "/rbac.yaml")
		if err != nil {
			return err
		}
		granted = append(granted, roles...)
	}
	used := map[audit.Permission]bool{}
	for _, c := range clusters {
		more, err := c.audit.Used()
		if err != nil {
			return err
		}
		maps.Copy(used, more)
	}
	used = installed.original(used)
	share(used)
	except := map[audit.Permission]string{}
	for _, layout := range []string{"generations", "inplace"} {
		role := "ClusterRole reanchor-rotation-" + layout
		except[audit.Permission{Role: role, Group: "trust-manager.io", Resource: "clusterbundles", Verb: "get"}] =
			"the lab's trust-manager does not have what takes the place of Bundles one day"
	}
	return audit.Check(used, granted, except)
}

// share counts what all meshes have in common for both layouts: the archive is
// created once, by whichever rotates first, and of two cluster roles that allow
// the same the log names either.
func share(used map[audit.Permission]bool) {
	for _, p := range slices.Collect(maps.Keys(used)) {
		kind, name, _ := strings.Cut(p.Role, " ")
		if !strings.HasPrefix(name, "reanchor-rotation-") || kind == "Role" && p.Resource != "configmaps" {
			continue
		}
		for _, layout := range []string{"generations", "inplace"} {
			p.Role = kind + " reanchor-rotation-" + layout
			used[p] = true
		}
	}
}
