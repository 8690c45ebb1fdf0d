package e2e

import (
	"slices"

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
	used, err := log.Used()
	if err != nil {
		return err
	}
	const cluster, outages = "ClusterRole reanchor-controller", "test/recovery runs the outage that needs it"
	except := map[audit.Permission]string{
		{Role: cluster, Group: "apps", Resource: "replicasets", Verb: "patch"}:                                           outages,
		{Role: cluster, Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations", Verb: "get"}: outages,
	}
	for _, p := range audit.OfRotations() {
		except[p] = "test/rotation runs the rotations that need it, and counts it"
	}
	return audit.Check(used, slices.Concat(roles, linkerd), except)
}
