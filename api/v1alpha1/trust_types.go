package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BundleSpec says where the trust bundle is published. At most one reference
// is set; profiles other than Generic have a default.
//
// +kubebuilder:validation:XValidation:rule="[has(self.configMapRef), has(self.secretRef), has(self.clusterTrustBundleRef)].filter(x, x).size() <= 1",message="the bundle is published in one place: keep one of configMapRef, secretRef and clusterTrustBundleRef and remove the others"
type BundleSpec struct {
	// configMapRef names the ConfigMap key that holds the bundle.
	// +optional
	ConfigMapRef *KeyRef `json:"configMapRef,omitempty"`
	// secretRef names the Secret key that holds the bundle.
	// +optional
	SecretRef *KeyRef `json:"secretRef,omitempty"`
	// clusterTrustBundleRef names the ClusterTrustBundle that is the bundle. The
	// name of one with a signer begins with the signer's. Kubernetes serves the
	// kind from 1.37 on, and before only where v1beta1 is enabled.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.name.split(':').size() in [1, 3] && self.name.split(':').all(part, part.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",message="write the name of a ClusterTrustBundle, such as mesh-roots, or example.com:signer:mesh-roots for one with the signer example.com/signer",fieldPath=".name"
	ClusterTrustBundleRef *ClusterObjectRef `json:"clusterTrustBundleRef,omitempty"`
	// propagation says how long a change needs until a reader surely sees it.
	// +optional
	Propagation PropagationSpec `json:"propagation,omitempty,omitzero"`
}

// PropagationSpec bounds the time from a write of the bundle object until a
// kubelet surely gives the new value to a container it starts.
type PropagationSpec struct {
	// environment is the bound for an env variable with a reference (10s).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('0s')",message="write a duration such as 10s, 2m30s or 0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Environment *metav1.Duration `json:"environment,omitempty"`
	// file is the bound for a mounted file (150s).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('0s')",message="write a duration such as 150s, 2m30s or 0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	File *metav1.Duration `json:"file,omitempty"`
}

// IssuerSpec says where the issuer's certificate is read.
//
// +kubebuilder:validation:XValidation:rule="[has(self.secretRef), has(self.certificateRef), has(self.none)].filter(x, x).size() == 1",message="name one issuer: set exactly one of secretRef, certificateRef and none: true"
type IssuerSpec struct {
	// secretRef names the Secret with the issuer's certificate. Without a key,
	// tls.crt is read, else crt.pem.
	// +optional
	SecretRef *KeyRef `json:"secretRef,omitempty"`
	// certificateRef names the cert-manager Certificate of the issuer; its
	// certificate is read from the CertificateRequest, which needs no access to
	// any Secret.
	// +optional
	CertificateRef *ObjectRef `json:"certificateRef,omitempty"`
	// none says that this mesh has no issuer that Reanchor could check.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self",message="none can only be true: remove it and set secretRef or certificateRef instead"
	None bool `json:"none,omitempty"`
}

// Reload says whether a process notices a changed bundle by itself.
//
// +kubebuilder:validation:Enum=Restart;HotReload
type Reload string

// The ways of reloading.
const (
	// ReloadRestart: the process reads the bundle once, at start.
	ReloadRestart Reload = "Restart"
	// ReloadHot: the process reads a changed bundle by itself and is never stale.
	ReloadHot Reload = "HotReload"
)

// ContainerName is the name of a container.
//
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write the name of a container, such as rabbitmq"
// +kubebuilder:validation:MaxLength=63
type ContainerName = string

// GenericSpec says how the pods of a Generic mesh consume the bundle. Members
// are the pods that carry MeshLabel with this MeshTrust's name. A member reads
// the bundle object of spec.bundle by an env variable or by a mounted file
// (ConfigMap, Secret or projected volume), which Reanchor finds in the pod's
// spec; nothing need be said about it here.
type GenericSpec struct {
	// containers are the names of the containers that use the bundle. Default:
	// every container, native sidecars included, that reads the bundle object
	// or has literalEnvVar.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	Containers []ContainerName `json:"containers,omitempty"`
	// literalEnvVar is an env variable whose literal value is the PEM bundle,
	// as an injector writes it. It outranks a reference.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z_][A-Za-z0-9_.-]*$')",message="write the name of an environment variable, such as CA_BUNDLE"
	// +kubebuilder:validation:MaxLength=253
	LiteralEnvVar string `json:"literalEnvVar,omitempty"`
	// reload says whether the process notices a changed bundle by itself.
	// +optional
	Reload Reload `json:"reload,omitempty"`
}

// AdmissionMode says what happens to a pod that admission would deny.
//
// +kubebuilder:validation:Enum=Enforce;Warn;Audit
type AdmissionMode string

// The admission modes.
const (
	// AdmissionEnforce denies the pod.
	AdmissionEnforce AdmissionMode = "Enforce"
	// AdmissionWarn admits it with a warning to the client.
	AdmissionWarn AdmissionMode = "Warn"
	// AdmissionAudit admits it and only counts.
	AdmissionAudit AdmissionMode = "Audit"
)

// IssuerTrust says whether a pod must be able to verify the issuer in use.
//
// +kubebuilder:validation:Enum=Ignore;Require
type IssuerTrust string

// The values of issuerTrust.
const (
	// IssuerTrustIgnore admits a pod whatever it thinks of the issuer.
	IssuerTrustIgnore IssuerTrust = "Ignore"
	// IssuerTrustRequire denies a pod that provably cannot verify the issuer in
	// use, as long as the published bundle itself can.
	IssuerTrustRequire IssuerTrust = "Require"
)

// AdmissionSpec says what the webhooks do.
type AdmissionSpec struct {
	// mode says what happens to a pod that would be denied.
	// +optional
	Mode AdmissionMode `json:"mode,omitempty"`
	// issuerTrust says whether a pod must be able to verify the issuer in use.
	// +optional
	IssuerTrust IssuerTrust `json:"issuerTrust,omitempty"`
	// clockSkew is how far clocks may be apart: an anchor counts as expired
	// only when it is so on every clock (5m).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('0s')",message="write a duration such as 5m, 90s or 0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	ClockSkew *metav1.Duration `json:"clockSkew,omitempty"`
}
