package v1alpha1

import "strings"

// Group is the API group, and the prefix of every key below.
const Group = "reanchor.dev"

// The stamp: annotations that the stamping webhook writes on a meshed pod.
// They are for people, kubectl and audits. No decision reads them, since
// annotations can be edited after admission.
const (
	// TrustBundleHashAnnotation holds the hash of the pod's effective trust at
	// admission, for example "v1:5f3c...".
	TrustBundleHashAnnotation = Group + "/trust-bundle-hash"
	// TrustBundleNotAfterAnnotation holds, in RFC 3339, when the last anchor of
	// that bundle expires.
	TrustBundleNotAfterAnnotation = Group + "/trust-bundle-not-after"
	// StampedByAnnotation holds the name of the MeshTrust.
	StampedByAnnotation = Group + "/stamped-by"
)

// Keys that users set.
const (
	// MeshLabel on a pod template makes the pods members of the Generic mesh
	// whose MeshTrust has the label's value as its name.
	MeshLabel = Group + "/mesh"
	// OptOutAnnotation on a namespace holds OptOutAll, or a comma list of
	// OptOutAdmission and OptOutRollout; on a workload OptOutRollout; on a pod
	// template OptOutAdmission.
	OptOutAnnotation = Group + "/opt-out"
	// ProbeForLabel on a namespace makes it the one in which the injector of
	// the MeshTrust that it names is probed by dry runs, in place of the
	// controller's own. Needed where several meshes share a cluster: each probe
	// must pass through the right injector.
	ProbeForLabel = Group + "/probe-for"
	// RolloutStrategyAnnotation on a workload or a namespace chooses how pods
	// are replaced: RolloutStrategyRestart or RolloutStrategyEvict.
	RolloutStrategyAnnotation = Group + "/rollout-strategy"
)

// Values of OptOutAnnotation.
const (
	OptOutAll       = "true"
	OptOutAdmission = "admission"
	OptOutRollout   = "rollout"
)

// Values of RolloutStrategyAnnotation.
const (
	// RolloutStrategyRestart patches the pod template: the workload's own
	// update strategy sets the pace.
	RolloutStrategyRestart = "Restart"
	// RolloutStrategyEvict uses the Eviction API and leaves the template alone.
	RolloutStrategyEvict = "Evict"
)

// AdmissionLabel with the value AdmissionDisabled on a namespace lets the API
// server skip the webhooks by namespaceSelector, even when no replica of them
// is alive. A namespaceSelector cannot read annotations, so the controller
// mirrors OptOutAnnotation to this label, as field manager FieldManager, and
// only then: one that a human set is never removed.
const (
	AdmissionLabel    = Group + "/admission"
	AdmissionDisabled = "disabled"
)

// Keys that the controller writes.
const (
	// RestartedForAnnotation on a pod template holds the bundle hash that the
	// workload was rolled for, "v1:<hash>", or "v1:<hash>.2" for a second
	// attempt. It is deterministic, so that patching twice is one roll.
	RestartedForAnnotation = Group + "/restarted-for"
	// RestartedForIssuerAnnotation on the pod template of the mesh's signing
	// service says for which rotation it was restarted, so that its pods show
	// that they read the issuer after it was switched.
	RestartedForIssuerAnnotation = Group + "/restarted-for-issuer"
	// PointedByAnnotation on a ClusterIssuer says which rotation moved it last,
	// and to which end. Every rotation that turns back changes it, so that a
	// write decided before fails on the resourceVersion.
	PointedByAnnotation = Group + "/pointed-by"
	// NudgedAnnotation on a ReplicaSet or StatefulSet holds the bundle hash
	// under which its controller was woken from back-off after a denial ended.
	NudgedAnnotation = Group + "/nudged-for"
	// AnchorOfLabel on a Secret says that it holds an anchor generation of the
	// mesh whose MeshTrust has the label's value as its name, and is a source of
	// its bundle; on a Certificate that it is such a generation.
	AnchorOfLabel = Group + "/anchor-of"
	// KeptAnchorAnnotation on the copy of an anchor's Secret that a rotation in
	// place keeps is the fingerprint of its certificate, so that what is kept can
	// be told without reading the key.
	KeptAnchorAnnotation = Group + "/kept-anchor"
	// TriggerLabel on an AnchorRotation says what opened it; see Trigger.
	TriggerLabel = Group + "/trigger"
	// RotationFinalizer on an AnchorRotation lets the controller release what
	// the rotation holds (paused renewals) before the object goes.
	RotationFinalizer = Group + "/rotation"
)

// FieldManager is the owner of every field that the controller applies to an
// object that is not its own.
const FieldManager = "reanchor"

// OptsOut reports whether a value of OptOutAnnotation covers what, one of
// OptOutAdmission and OptOutRollout. Spaces around the parts do not matter;
// parts that are not known cover nothing.
// The match conditions of the webhooks read a template's value in the same way.
func OptsOut(value, what string) bool {
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part == OptOutAll || part == what {
			return true
		}
	}
	return false
}
