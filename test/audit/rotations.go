package audit

import "github.com/reanchor/reanchor/api/v1alpha1"

// OfRotations are the permissions of every installation that only rotations use.
// test/e2e, which rotates nothing, leaves them out of its account; test/rotation
// has them in its own.
func OfRotations() []Permission {
	const cluster, role = "ClusterRole reanchor-controller", "Role reanchor-controller"
	group := v1alpha1.GroupVersion.Group
	return []Permission{
		{Role: cluster, Group: group, Resource: "anchorrotations", Verb: "get"},
		{Role: cluster, Group: group, Resource: "anchorrotations", Verb: "create"},
		{Role: cluster, Group: group, Resource: "anchorrotations", Verb: "patch"},
		{Role: cluster, Group: group, Resource: "anchorrotations", Verb: "delete"},
		{Role: cluster, Group: group, Resource: "anchorrotations/status", Verb: "update"},
		{Role: cluster, Group: group, Resource: "meshtrusts/status", Verb: "patch"},
		{Role: role, Resource: "configmaps", Verb: "get"},
	}
}
