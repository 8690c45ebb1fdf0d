package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// +listMapKey=group
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
