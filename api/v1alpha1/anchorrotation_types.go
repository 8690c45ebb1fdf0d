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
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// kind of the workload, or Pod.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// name of the workload or pod.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// node whose pods are meant, instead of a workload.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
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

// AnchorRotationStatus is how far a run is. What cannot be observed again is
// stored here before it is acted upon.
type AnchorRotationStatus struct {
	// observedGeneration is the generation of the spec that this status is of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// fromAnchor is the anchor to be replaced.
	// +optional
	FromAnchor *RotationCertificate `json:"fromAnchor,omitempty"`
	// toAnchor is the anchor that replaces it.
	// +optional
	ToAnchor *RotationCertificate `json:"toAnchor,omitempty"`
	// issuerBefore is the issuer that was in use before the switch.
	// +optional
	IssuerBefore *RotationCertificate `json:"issuerBefore,omitempty"`
	// path is the order of the phases, chosen from the facts when the run began
	// or when the mesh was found broken.
	// +optional
	Path Path `json:"path,omitempty"`
	// switchIntendedAt is when it was decided to switch the issuer, stored
	// before it is done.
	// +optional
	SwitchIntendedAt *metav1.Time `json:"switchIntendedAt,omitempty"`
	// issuerSwitchedAt is when the issuer was first seen to be signed by the
	// anchor that the run leads to.
	// +optional
	IssuerSwitchedAt *metav1.Time `json:"issuerSwitchedAt,omitempty"`
	// issuerInUseAt is when leaves were proven to come from the new issuer.
	// +optional
	IssuerInUseAt *metav1.Time `json:"issuerInUseAt,omitempty"`
	// abortedFrom is the phase that an abort ended.
	// +optional
	AbortedFrom Phase `json:"abortedFrom,omitempty"`
	// progress of the phase, for people: "12/40 workloads".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Progress string `json:"progress,omitempty"`
	// steps are the phases that were entered, in order.
	// +optional
	// +listType=map
	// +listMapKey=phase
	// +kubebuilder:validation:MaxItems=16
	Steps []RotationStep `json:"steps,omitempty"`
	// stepsTotal is how many there are.
	// +optional
	StepsTotal int32 `json:"stepsTotal,omitempty"`
	// blockedBy is what the phase waits for.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=50
	BlockedBy []BlockedWorkload `json:"blockedBy,omitempty"`
	// blockedByTotal is how many there are.
	// +optional
	BlockedByTotal int32 `json:"blockedByTotal,omitempty"`
	// acknowledged is when each entry of spec.acknowledge was first seen.
	// +optional
	// +listType=map
	// +listMapKey=entry
	// +kubebuilder:validation:MaxItems=100
	Acknowledged []AcknowledgedAt `json:"acknowledged,omitempty"`
	// acknowledgedTotal is how many there are.
	// +optional
	AcknowledgedTotal int32 `json:"acknowledgedTotal,omitempty"`
	// conditions are Complete, Failed, Progressing and Blocked.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
}

// RotationCertificate is a certificate as it was at some step.
type RotationCertificate struct {
	// fingerprint is the SHA-256 of the certificate's DER, in hexadecimal.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint"`
	// subject is the distinguished name.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Subject string `json:"subject,omitempty"`
	// notBefore is when the certificate becomes valid.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// notAfter is when the certificate expires.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// certificateRef names the cert-manager Certificate.
	// +optional
	CertificateRef *ObjectRef `json:"certificateRef,omitempty"`
	// certificateUID is that Certificate's UID.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	CertificateUID string `json:"certificateUID,omitempty"`
	// revision is that Certificate's status.revision.
	// +optional
	Revision int64 `json:"revision,omitempty"`
	// secretName is the Secret that the Certificate is written to.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
}

// RotationStep is one phase of a run.
type RotationStep struct {
	// phase that was entered.
	// +required
	Phase Phase `json:"phase"`
	// startedAt is when it was entered.
	// +required
	StartedAt metav1.Time `json:"startedAt"`
	// completedAt is when it was left; absent while it runs.
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// message says what was done.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// AcknowledgedAt is when an entry of spec.acknowledge was first seen; pods
// created later are not covered by it.
type AcknowledgedAt struct {
	// entry is "node/<name>" or "<namespace>/<kind>/<name>".
	// +required
	// +kubebuilder:validation:MaxLength=400
	Entry string `json:"entry"`
	// at is when it was first seen.
	// +required
	At metav1.Time `json:"at"`
}
