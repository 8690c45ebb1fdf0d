package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnchorRotation is one run of replacing a mesh's own anchor, as a Job is one
// run of a CronJob. Deleting it stops nothing half-way: if the facts are
// mid-way, a new one opens by itself.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=anr,path=anchorrotations
// +kubebuilder:printcolumn:name="Mesh",type=string,JSONPath=`.spec.meshTrustRef.name`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.conditions[?(@.type=="Progressing")].reason`
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Blocked",type=string,JSONPath=`.status.conditions[?(@.type=="Blocked")].status`
// +kubebuilder:printcolumn:name="Failed",type=string,JSONPath=`.status.conditions[?(@.type=="Failed")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Blocked")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AnchorRotation struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which mesh, and steers the run.
	// +required
	Spec AnchorRotationSpec `json:"spec"`
	// status is how far the run is.
	// +optional
	Status AnchorRotationStatus `json:"status,omitempty,omitzero"`
}

// AnchorRotationList is a list of AnchorRotation.
//
// +kubebuilder:object:root=true
type AnchorRotationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AnchorRotation `json:"items"`
}

// AnchorRotationSpec says which mesh, and steers the run. Only suspend, abort,
// approvals and acknowledge can be changed afterwards.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.abort) || !oldSelf.abort || (has(self.abort) && self.abort)",message="an aborted rotation cannot go on: create another AnchorRotation when it has ended"
type AnchorRotationSpec struct {
	// meshTrustRef names the MeshTrust.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="meshTrustRef cannot be changed: create another AnchorRotation"
	// +kubebuilder:validation:XValidation:rule="self.name.size() <= 253 && self.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="write the name of a MeshTrust, in lower-case letters, digits, hyphens and dots, such as linkerd",fieldPath=".name"
	MeshTrustRef ClusterObjectRef `json:"meshTrustRef"`
	// suspend stops every write of this rotation while true.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
	// abort leads back to the old anchor, from any phase before Narrow.
	// +optional
	Abort bool `json:"abort,omitempty"`
	// approvals open the gates that wait for a human.
	// +optional
	// +listType=map
	// +listMapKey=gate
	// +kubebuilder:validation:MaxItems=2
	Approvals []Approval `json:"approvals,omitempty"`
	// acknowledge lists what no longer blocks a gate. An entry covers only the
	// pods that existed when it was added.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Acknowledge []Acknowledgement `json:"acknowledge,omitempty"`
}

// Gate is a step that cannot be taken back at once.
//
// +kubebuilder:validation:Enum=SwitchIssuer;Narrow
type Gate string

// The gates.
const (
	GateSwitchIssuer Gate = "SwitchIssuer"
	GateNarrow       Gate = "Narrow"
)

// Approval opens a gate that waits for a human.
type Approval struct {
	// gate that is opened.
	// +required
	Gate Gate `json:"gate"`
}

// Acknowledgement names a workload, a pod or a node whose pods no longer block
// a gate.
//
// +kubebuilder:validation:XValidation:rule="has(self.node) ? !has(self.namespace) && !has(self.kind) && !has(self.name) : has(self.namespace) && has(self.kind) && has(self.name)",message="write either node, or namespace, kind and name together"
type Acknowledgement struct {
	// namespace of the workload or pod.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`
	// kind of the workload, or Pod.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z][-A-Za-z0-9]*$')",message="write the kind of a workload, such as Deployment, or Pod"
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// name of the workload or pod.
	// +optional
	Name ObjectName `json:"name,omitempty"`
	// node whose pods are meant, instead of a workload.
	// +optional
	Node ObjectName `json:"node,omitempty"`
}

// Trigger is what opened a rotation: the value of TriggerLabel.
type Trigger string

// The triggers.
const (
	// TriggerManual: somebody created the object.
	TriggerManual Trigger = "manual"
	// TriggerSchedule: spec.rotation.schedule came round.
	TriggerSchedule Trigger = "schedule"
	// TriggerDue: the anchor is near its end.
	TriggerDue Trigger = "due"
	// TriggerObserved: the anchor changed, or is mid-way, without a rotation.
	TriggerObserved Trigger = "observed"
)

// Phase is a step of a rotation.
//
// +kubebuilder:validation:Enum=Preflight;NewAnchor;Widen;Rolling;SwitchIssuer;ConfirmIssuer;DrainLeaves;Narrow;Verify;Complete;Aborting
type Phase string

// The phases, in their order; Aborting may follow any before Narrow.
const (
	PhasePreflight     Phase = "Preflight"
	PhaseNewAnchor     Phase = "NewAnchor"
	PhaseWiden         Phase = "Widen"
	PhaseRolling       Phase = "Rolling"
	PhaseSwitchIssuer  Phase = "SwitchIssuer"
	PhaseConfirmIssuer Phase = "ConfirmIssuer"
	PhaseDrainLeaves   Phase = "DrainLeaves"
	PhaseNarrow        Phase = "Narrow"
	PhaseVerify        Phase = "Verify"
	PhaseComplete      Phase = "Complete"
	PhaseAborting      Phase = "Aborting"
)

// Phases returns every phase, in the order above.
func Phases() []Phase {
	return []Phase{
		PhasePreflight, PhaseNewAnchor, PhaseWiden, PhaseRolling, PhaseSwitchIssuer, PhaseConfirmIssuer,
		PhaseDrainLeaves, PhaseNarrow, PhaseVerify, PhaseComplete, PhaseAborting,
	}
}

// Path is an order of the phases.
//
// +kubebuilder:validation:Enum=Rotate;Recover
type Path string

// The paths.
const (
	// PathRotate rolls every pod before the issuer is switched.
	PathRotate Path = "Rotate"
	// PathRecover switches the issuer first, because nothing new becomes ready
	// under the issuer in use.
	PathRecover Path = "Recover"
)
