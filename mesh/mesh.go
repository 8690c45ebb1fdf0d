// Package mesh tells, from a pod alone, whether it is a member of a mesh and
// what it trusts.
//
// A profile names the containers of a pod whose processes hold trust anchors
// and how each gets them; the pod's effective trust is what all of them trust.
// There are four ways (design, section 5):
//
//   - an environment literal is exact: it is the text in the pod's own spec;
//   - an environment reference is what the ConfigMap or Secret held when the
//     container started;
//   - a file read at start likewise, and the node shows a new text later;
//   - a process that reloads is never stale.
//
// For the references the answer comes from the history of the published
// bundle. What the history does not cover is Unknown: never a guess.
//
// The package is pure: no clock, no input or output. Annotations are not read,
// least of all Reanchor's own stamp, since anybody may edit them after admission.
package mesh

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/reanchor/reanchor/bundle"
)

// Profile names a kind of mesh.
type Profile string

// The profiles.
const (
	Linkerd      Profile = "Linkerd"
	Istio        Profile = "Istio"
	EnvoyGateway Profile = "EnvoyGateway"
	Generic      Profile = "Generic"
)

// Label keys that profiles read.
const (
	// MeshLabel makes a pod a member of the Generic mesh it names.
	MeshLabel = "reanchor.dev/mesh"
	// LinkerdControlPlaneLabel holds the namespace of the control plane that a
	// pod belongs to; Linkerd's injector sets it (facts, "What a pod carries").
	LinkerdControlPlaneLabel = "linkerd.io/control-plane-ns"
	// LinkerdComponentLabel names a control-plane component.
	LinkerdComponentLabel = "linkerd.io/control-plane-component"
)

// RelevantLabel reports whether a profile reads the label.
func RelevantLabel(key string) bool {
	return key == MeshLabel || key == LinkerdControlPlaneLabel || key == LinkerdComponentLabel
}

// Mesh is one MeshTrust as the profiles see it.
type Mesh struct {
	Name    string
	Profile Profile
	// Namespace is where the published bundle and the control plane are.
	Namespace string
	// Bundle is the published object and its key; Key is empty for a
	// ClusterTrustBundle.
	Bundle Reference
	// EnvDelay and FileDelay are the propagation delays: how long after a write
	// a starting container, and a mounted file, may still see the old object.
	EnvDelay, FileDelay time.Duration
	// ClockSkew is how far a node's clock may be from the API server's.
	ClockSkew time.Duration
	// Literal, for the Generic profile, names an environment variable whose
	// literal value is the bundle; empty when members refer to the object.
	Literal string
	// Containers, for the Generic profile, names the containers that hold
	// anchors; when empty, all that use the bundle do.
	Containers []string
	// Reloads says, for the Generic profile, that members follow the object.
	Reloads bool
}

// World is what is known outside the pod.
type World struct {
	History History
	// Now is the present, by the API server's clock as far as known.
	Now time.Time
	// Parse reads a literal; it may remember earlier results. Nil means
	// bundle.Parse.
	Parse func(text string) (bundle.Set, error)
}

// Member reports whether the pod belongs to the mesh and carries a process
// that holds its anchors. A pod that is meant to be injected but is not yet is
// no member.
func (m *Mesh) Member(p *Pod) bool {
	switch m.Profile {
	case Linkerd:
		return linkerdMember(m, p)
	case Generic:
		return p.Labels[MeshLabel] == m.Name
	case Istio:
		return slices.ContainsFunc(p.Containers, func(c Container) bool { return c.Name == istioProxy })
	default:
		return false
	}
}

// istioProxy names the sidecar. Its agent receives new roots over xDS, so it
// is never stale (facts, "Istio").
const istioProxy = "istio-proxy"

// Trust returns the effective trust of a member of the mesh: Resolve of what
// Inspect finds.
func (m *Mesh) Trust(p *Pod, w World) Trust { return m.Resolve(m.Inspect(p), w) }

// SamePods reports whether both meshes have the same pods: meshes of the Generic
// profile are told apart by their names, those of another by their control plane.
func (m *Mesh) SamePods(o *Mesh) bool {
	return m.Profile != Generic && m.Profile == o.Profile && m.Namespace == o.Namespace
}

// Embeds reports whether a pod template, as a pod, is a member already and holds
// certificates in a variable that the mesh's processes read: then nothing that its
// pods pass through on the way can give them others. It looks at nothing else of
// the containers, since caches of workloads keep nothing else.
func (m *Mesh) Embeds(template *Pod) bool {
	return m.Member(template) && slices.ContainsFunc(template.Containers, m.holdsBundle)
}

func (m *Mesh) holdsBundle(c Container) bool {
	name := m.Literal
	if m.Profile == Linkerd {
		name = linkerdAnchorsEnv
		if c.Name != linkerdProxy {
			return false
		}
	}
	v, ok := c.variable(name)
	return ok && name != "" && v.From == nil && strings.Contains(v.Value, "-----BEGIN")
}

// ControlPlane reports whether the pod is part of the mesh's own control plane.
func (m *Mesh) ControlPlane(p *Pod) bool {
	return m.Profile == Linkerd && p.Namespace == m.Namespace && p.Labels[LinkerdComponentLabel] != ""
}

// Injector reports whether the pod writes the bundle into other pods.
func (m *Mesh) Injector(p *Pod) bool {
	return m.ControlPlane(p) && p.Labels[LinkerdComponentLabel] == "proxy-injector"
}

// literal reads a bundle from the value of a variable. Text without any
// certificate is proof that the process trusts nothing; text that is damaged
// proves nothing, since its reader may be more tolerant.
func (w World) literal(text string) Trust {
	parse := w.Parse
	if parse == nil {
		parse = func(text string) (bundle.Set, error) { return bundle.Parse([]byte(text)) }
	}
	set, err := parse(text)
	switch {
	case err == nil:
		return known(set)
	case errors.Is(err, bundle.ErrNoCertificate):
		return known(bundle.Set{})
	default:
		return unknown("its bundle cannot be read: " + err.Error())
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
