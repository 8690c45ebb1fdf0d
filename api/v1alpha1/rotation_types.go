package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Layout says how the generations of an anchor are kept.
//
// +kubebuilder:validation:Enum=Generations;InPlace
type Layout string

// The layouts.
const (
	// LayoutGenerations never renews an anchor: each rotation creates the next
	// Certificate, and a CA ClusterIssuer points at the one that signs.
	LayoutGenerations Layout = "Generations"
	// LayoutInPlace renews one anchor Certificate in place and keeps the
	// previous certificate in a Secret beside it.
	LayoutInPlace Layout = "InPlace"
)

// BundleWriter says who writes the bundle object during a rotation.
//
// +kubebuilder:validation:Enum=TrustManager;Reanchor
type BundleWriter string

// The bundle writers.
const (
	BundleWriterTrustManager BundleWriter = "TrustManager"
	BundleWriterReanchor     BundleWriter = "Reanchor"
)

// LeafPolicy says how the old leaves go before the old anchor is dropped.
//
// +kubebuilder:validation:Enum=Expire;Restart
type LeafPolicy string

// The leaf policies.
const (
	// LeavesExpire waits until every old leaf has ended.
	LeavesExpire LeafPolicy = "Expire"
	// LeavesRestart rolls workloads once more instead of waiting.
	LeavesRestart LeafPolicy = "Restart"
)

// RotationSpec says how the mesh's own anchor is replaced.
//
// +kubebuilder:validation:XValidation:rule="!has(self.anchorTemplate) || !has(self.layout) || self.layout != 'InPlace'",message="anchorTemplate belongs to layout Generations: for InPlace change the Certificate that anchorCertificateRef names"
// +kubebuilder:validation:XValidation:rule="!has(self.previousAnchorSecretRef) || (has(self.layout) && self.layout == 'InPlace')",message="previousAnchorSecretRef belongs to layout InPlace: remove it, Generations keeps earlier anchors as Certificates of their own"
type RotationSpec struct {
	// layout says how the generations of the anchor are kept (Generations).
	// +optional
	Layout Layout `json:"layout,omitempty"`
	// anchorTemplate is what each new generation is made of.
	// +optional
	AnchorTemplate *AnchorTemplate `json:"anchorTemplate,omitempty"`
	// anchorCertificateRef names the anchor's Certificate; with Generations it
	// is the one that becomes generation 0.
	// +optional
	AnchorCertificateRef *ObjectRef `json:"anchorCertificateRef,omitempty"`
	// issuerCertificateRef names the issuer's Certificate.
	// +optional
	IssuerCertificateRef *ObjectRef `json:"issuerCertificateRef,omitempty"`
	// clusterIssuerName names the CA ClusterIssuer that signs the issuer. With
	// Generations its spec.ca.secretName is the pointer to the generation in use.
	// +optional
	ClusterIssuerName ObjectName `json:"clusterIssuerName,omitempty"`
	// bundleWriter says who writes the bundle object (TrustManager).
	// +optional
	BundleWriter BundleWriter `json:"bundleWriter,omitempty"`
	// previousAnchorSecretRef names the Secret with the previous anchor's
	// certificate (InPlace).
	// +optional
	PreviousAnchorSecretRef *ObjectRef `json:"previousAnchorSecretRef,omitempty"`
	// schedule is when rotations start, in five cron fields, UTC. None: only
	// when the anchor is due.
	// +optional
	Schedule CronFields `json:"schedule,omitempty"`
	// rotateBefore is how long before its end an anchor is due (a third of the
	// anchor's lifetime).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s')",message="write a duration longer than zero, such as 2160h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	RotateBefore *metav1.Duration `json:"rotateBefore,omitempty"`
	// leaves says how the old leaves go (Expire).
	// +optional
	Leaves LeafPolicy `json:"leaves,omitempty"`
	// leafLifetime raises the lifetime of leaves above what is read from the
	// mesh; it never lowers it. Needed where nothing can be read.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s')",message="write a duration longer than zero, such as 24h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	LeafLifetime *metav1.Duration `json:"leafLifetime,omitempty"`
	// maxCarryOver is how many earlier own anchors may be needed in the bundle
	// beside the newest (1).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 10",message="write a count from 1 to 10: without a carried-over anchor a rotation breaks handshakes"
	MaxCarryOver *int32 `json:"maxCarryOver,omitempty"`
	// externalTrust says that something outside this cluster trusts these
	// anchors, so that a human approves the steps that could break it.
	// +optional
	ExternalTrust bool `json:"externalTrust,omitempty"`
	// historyLimit is how many finished AnchorRotations are kept (5).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 100",message="write a count from 0 to 100"
	HistoryLimit *int32 `json:"historyLimit,omitempty"`
}

// KeyAlgorithm names a type of private key.
//
// +kubebuilder:validation:Enum=ECDSA;RSA
type KeyAlgorithm string

// The key algorithms that meshes accept for an anchor.
const (
	KeyECDSA KeyAlgorithm = "ECDSA"
	KeyRSA   KeyAlgorithm = "RSA"
)

// AnchorTemplate is what each new generation of the anchor is made of.
// Reanchor adds what may not be chosen: isCA, a new private key for every
// generation, no renewal, and the label AnchorOfLabel on the Secret.
type AnchorTemplate struct {
	// namespace of the Certificate and its Secret: the one in which
	// trust-manager reads its sources.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`
	// commonName of the anchor. It must differ from the issuer's.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	CommonName string `json:"commonName,omitempty"`
	// organizations of the anchor's subject.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Organizations []string `json:"organizations,omitempty"`
	// duration is the anchor's lifetime.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s')",message="write a duration longer than zero, such as 8760h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Duration *metav1.Duration `json:"duration,omitempty"`
	// privateKey says what key is made.
	// +optional
	PrivateKey AnchorKey `json:"privateKey,omitempty,omitzero"`
	// issuerRef names the self-signing Issuer or ClusterIssuer.
	// +optional
	IssuerRef *AnchorIssuerRef `json:"issuerRef,omitempty"`
}

// AnchorKey says what private key an anchor has.
//
// +kubebuilder:validation:XValidation:rule="!has(self.size) || (has(self.algorithm) && self.algorithm == 'RSA' ? self.size in [2048, 4096] : self.size == 256)",message="write size 256 for ECDSA, 2048 or 4096 for RSA"
type AnchorKey struct {
	// algorithm of the key (ECDSA).
	// +optional
	Algorithm KeyAlgorithm `json:"algorithm,omitempty"`
	// size of the key in bits (256 for ECDSA, 4096 for RSA).
	// +optional
	Size int32 `json:"size,omitempty"`
}

// AnchorIssuerRef names the cert-manager issuer that signs anchors.
type AnchorIssuerRef struct {
	// name of the issuer.
	// +required
	Name ObjectName `json:"name"`
	// kind of the issuer: Issuer or ClusterIssuer (Issuer).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z][-A-Za-z0-9]*$')",message="write the kind of an issuer, such as Issuer or ClusterIssuer"
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`
	// group of the issuer (cert-manager.io).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="write an API group without a version, such as cert-manager.io"
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
}
