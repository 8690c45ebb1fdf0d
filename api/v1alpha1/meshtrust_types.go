package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MeshTrust tells Reanchor about one mesh: where its trust bundle and issuer
// are published, what admission does with pods that do not fit, and how pods
// are rolled when the bundle changes. `spec: {profile: Linkerd}` is complete.
//
// It is cluster-scoped, because it names objects in several namespaces and
// because writing it is an administrator's right.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=mt,path=meshtrusts
// +kubebuilder:printcolumn:name="Profile",type=string,JSONPath=`.spec.profile`
// +kubebuilder:printcolumn:name="Anchors",type=integer,JSONPath=`.status.bundle.anchorCount`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expires`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.pods.total`
// +kubebuilder:printcolumn:name="Stale",type=integer,JSONPath=`.status.pods.stale`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type MeshTrust struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what the user wants. Everything but the profile has a default.
	// +required
	Spec MeshTrustSpec `json:"spec"`
	// status is what Reanchor sees and does.
	// +optional
	Status MeshTrustStatus `json:"status,omitempty,omitzero"`
}

// MeshTrustList is a list of MeshTrust.
//
// +kubebuilder:object:root=true
type MeshTrustList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MeshTrust `json:"items"`
}

// Profile names a kind of mesh: how its member pods are recognised and what
// they trust.
//
// +kubebuilder:validation:Enum=Linkerd;Istio;EnvoyGateway;Generic
type Profile string

// The profiles.
const (
	ProfileLinkerd      Profile = "Linkerd"
	ProfileIstio        Profile = "Istio"
	ProfileEnvoyGateway Profile = "EnvoyGateway"
	ProfileGeneric      Profile = "Generic"
)

// MeshTrustSpec is what the user wants. EffectiveSpec fills in the defaults,
// which docs/defaults.md lists.
//
// +kubebuilder:validation:XValidation:rule="self.profile != 'Generic' || (has(self.bundle) && (has(self.bundle.configMapRef) || has(self.bundle.secretRef) || has(self.bundle.clusterTrustBundleRef)))",message="profile Generic has no default bundle: set spec.bundle.configMapRef, spec.bundle.secretRef or spec.bundle.clusterTrustBundleRef"
// +kubebuilder:validation:XValidation:rule="self.profile != 'Generic' || has(self.issuer)",message="profile Generic has no default issuer: set spec.issuer.secretRef or spec.issuer.certificateRef, or say spec.issuer: {none: true} if nothing signs leaves under this bundle"
// +kubebuilder:validation:XValidation:rule="self.profile == 'Generic' || !has(self.generic)",message="spec.generic is for profile Generic only: remove it, the other profiles know their containers"
// +kubebuilder:validation:XValidation:rule="!has(self.rotation) || (has(self.issuer) ? !has(self.issuer.none) : self.profile == 'Linkerd')",message="spec.rotation needs an issuer to re-issue: set spec.issuer.secretRef or spec.issuer.certificateRef or remove spec.rotation"
// +kubebuilder:validation:XValidation:rule="self.profile == 'Linkerd' || !has(self.rotation) || (has(self.rotation.issuerCertificateRef) && has(self.rotation.clusterIssuerName))",message="only profile Linkerd has default names for a rotation: set spec.rotation.issuerCertificateRef and spec.rotation.clusterIssuerName"
// +kubebuilder:validation:XValidation:rule="self.profile == 'Linkerd' || !has(self.rotation) || (has(self.rotation.layout) && self.rotation.layout == 'InPlace') || has(self.rotation.anchorTemplate)",message="only profile Linkerd has a default anchor: set spec.rotation.anchorTemplate for layout Generations"
// +kubebuilder:validation:XValidation:rule="self.profile == 'Linkerd' || !has(self.rotation) || !has(self.rotation.layout) || self.rotation.layout != 'InPlace' || (has(self.rotation.anchorCertificateRef) && has(self.rotation.previousAnchorSecretRef))",message="only profile Linkerd has default names for layout InPlace: set spec.rotation.anchorCertificateRef and spec.rotation.previousAnchorSecretRef"
type MeshTrustSpec struct {
	// profile says what kind of mesh this is. It cannot be changed.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="profile cannot be changed: create another MeshTrust and delete this one"
	Profile Profile `json:"profile"`

	// suspend stops every write of Reanchor for this mesh while true, the stamp
	// included: its pods are admitted as they are. To stop rolling alone, use
	// rollout.paused.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// controlPlaneNamespace is where the mesh's control plane runs: rolled
	// before everything else and never seen by the webhooks. Default: the
	// namespace of the bundle object; none for Generic.
	// +optional
	ControlPlaneNamespace NamespaceName `json:"controlPlaneNamespace,omitempty"`

	// bundle says where the mesh's trust bundle is published.
	// +optional
	Bundle BundleSpec `json:"bundle,omitempty,omitzero"`

	// issuer says where the intermediate that signs leaves is kept.
	// +optional
	Issuer IssuerSpec `json:"issuer,omitempty,omitzero"`

	// generic says how members of a Generic mesh consume the bundle.
	// +optional
	Generic *GenericSpec `json:"generic,omitempty"`

	// admission says what the webhooks do.
	// +optional
	Admission AdmissionSpec `json:"admission,omitempty,omitzero"`

	// rollout says how workloads are rolled.
	// +optional
	Rollout RolloutSpec `json:"rollout,omitempty,omitzero"`

	// rotation says how anchors are replaced. Absent: Reanchor only rolls.
	// +optional
	Rotation *RotationSpec `json:"rotation,omitempty"`
}
