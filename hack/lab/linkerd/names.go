package linkerd

import "cmp"

// Names are those of one mesh's objects. A mesh that is called "linkerd" has the
// documented ones; those of another that are there once in a cluster, or live in
// the trust namespace, end in the mesh's name.
type Names struct {
	// Mesh is that of the control plane's namespace and of the MeshTrust.
	Mesh string
	// Anchor is the anchor's Certificate and its Secret, Previous the Secret with
	// the anchor before; both in TrustNamespace.
	Anchor, Previous string
	// ClusterIssuer is the CA issuer; Issuer is the Certificate that it signs, and
	// its Secret, in the control plane's namespace.
	ClusterIssuer, Issuer string
	// Bundle is trust-manager's, and the ConfigMap that it writes.
	Bundle string
	// Probe is the namespace of dry runs; RootIssuer signs anchors.
	Probe, RootIssuer string
}

const (
	// TrustNamespace holds anchors and the Bundle's sources.
	TrustNamespace = "cert-manager"
	// DefaultName is the mesh with the documented names.
	DefaultName = "linkerd"
	// ControlPlaneLabel tells the pods of one mesh from those of another.
	ControlPlaneLabel = "linkerd.io/control-plane-ns"
	// ComponentLabel names a part of the control plane: "identity", for one.
	ComponentLabel = "linkerd.io/control-plane-component"
	// AppLabel is a workload's name on its pods.
	AppLabel = "app"
)

// NamesOf returns the names of a mesh's objects.
func NamesOf(mesh string) Names {
	mesh = cmp.Or(mesh, DefaultName)
	suffix, probe := "", "reanchor-probe"
	if mesh != DefaultName {
		suffix, probe = "-"+mesh, mesh+"-probe"
	}
	return Names{
		Mesh:          mesh,
		Anchor:        "linkerd-trust-anchor" + suffix,
		Previous:      "linkerd-previous-anchor" + suffix,
		ClusterIssuer: "linkerd-identity-issuer" + suffix,
		Issuer:        "linkerd-identity-issuer",
		Bundle:        "linkerd-identity-trust-roots" + suffix,
		Probe:         probe,
		RootIssuer:    "linkerd-trust-root-issuer",
	}
}
