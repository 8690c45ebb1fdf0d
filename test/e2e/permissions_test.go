package e2e

import (
	"slices"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/test/audit"
)

// leastPrivilege returns an error when the manifests permit the controller what
// it used in no scenario. That they permit all it needs is shown by the
// scenarios themselves, which it runs under these roles.
func leastPrivilege(log *audit.Log) error {
	roles, err := audit.Granted("../../manifests/controller/rbac.yaml")
	if err != nil {
		return err
	}
	linkerd, err := audit.Granted("../../manifests/controller/linkerd-rbac.yaml")
	if err != nil {
		return err
	}
	const cluster, role = "ClusterRole reanchor-controller", "Role reanchor-controller"
	rotations, outages := "test/rotation runs the rotations that need it", "test/recovery runs the outage that needs it"
	return log.Check(slices.Concat(roles, linkerd), map[audit.Permission]string{
		{Role: cluster, Group: v1alpha1.GroupVersion.Group, Resource: "anchorrotations", Verb: "get"}:                    rotations,
		{Role: cluster, Group: v1alpha1.GroupVersion.Group, Resource: "anchorrotations", Verb: "create"}:                 rotations,
		{Role: cluster, Group: v1alpha1.GroupVersion.Group, Resource: "anchorrotations", Verb: "patch"}:                  rotations,
		{Role: cluster, Group: v1alpha1.GroupVersion.Group, Resource: "anchorrotations", Verb: "delete"}:                 rotations,
		{Role: cluster, Group: v1alpha1.GroupVersion.Group, Resource: "anchorrotations/status", Verb: "update"}:          rotations,
		{Role: cluster, Group: v1alpha1.GroupVersion.Group, Resource: "meshtrusts/status", Verb: "patch"}:                rotations,
		{Role: role, Resource: "configmaps", Verb: "get"}:                                                                rotations,
		{Role: role, Resource: "secrets", Verb: "get"}:                                                                   rotations,
		{Role: cluster, Group: "apps", Resource: "replicasets", Verb: "patch"}:                                           outages,
		{Role: cluster, Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations", Verb: "get"}: outages,
	})
}
