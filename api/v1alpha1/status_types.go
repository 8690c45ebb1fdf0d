package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MeshTrustStatus is what Reanchor sees and does. Numbers in it are of the
// moment of the last write; writes are coalesced.
type MeshTrustStatus struct {
	// observedGeneration is the generation of the spec that this status is of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// bundle is the published trust bundle, the last good one while the
	// published text cannot be used.
	// +optional
	Bundle *BundleStatus `json:"bundle,omitempty"`
	// issuer is the intermediate in use. The webhook reads it here, so that it
	// needs no access to any Secret.
	// +optional
	Issuer *IssuerStatus `json:"issuer,omitempty"`
	// expires is, in RFC 3339, when the bundle stops verifying the issuer in
	// use or, where none is known, when its last anchor expires. It is text
	// because kubectl prints a future time in a date column as invalid.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Expires string `json:"expires,omitempty"`
	// earliestTrustExpiry is when the first of the running pods will have no
	// unexpired anchor left.
	// +optional
	EarliestTrustExpiry *metav1.Time `json:"earliestTrustExpiry,omitempty"`
	// history holds the bundles seen so far, newest first. It tells what a
	// container read that started then.
	// A bundle that comes back is a record of its own.
	// +optional
	// +listType=map
	// +listMapKey=hash
	// +listMapKey=publishedAt
	// +kubebuilder:validation:MaxItems=20
	History []BundleRecord `json:"history,omitempty"`
	// historyTotal counts the bundles seen, including those dropped above.
	// +optional
	HistoryTotal int32 `json:"historyTotal,omitempty"`
	// pods counts the mesh's pods.
	// +optional
	Pods PodCounts `json:"pods,omitempty,omitzero"`
	// workloads counts the owners of these pods.
	// +optional
	Workloads WorkloadCounts `json:"workloads,omitempty,omitzero"`
	// rollout is what the roller does.
	// +optional
	Rollout RolloutStatus `json:"rollout,omitempty,omitzero"`
	// lastScheduleTime is the last time of spec.rotation.schedule that started a
	// rotation.
	// +optional
	LastScheduleTime *metav1.Time `json:"lastScheduleTime,omitempty"`
	// conditions are of the types in conditions.go.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
}

// BundleStatus describes the published trust bundle.
type BundleStatus struct {
	// hash is the bundle hash, "v1:" and 64 hexadecimal digits.
	// +required
	// +kubebuilder:validation:MaxLength=128
	Hash string `json:"hash"`
	// source is where the bundle is published, for people: "ConfigMap
	// linkerd/linkerd-identity-trust-roots, key ca-bundle.crt".
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Source string `json:"source,omitempty"`
	// publishedAt is when the bundle object got this set of anchors.
	// +optional
	PublishedAt *metav1.Time `json:"publishedAt,omitempty"`
	// anchorCount is how many anchors the bundle holds: the total of anchors.
	// +optional
	AnchorCount int32 `json:"anchorCount,omitempty"`
	// anchors are the bundle's anchors.
	// +optional
	// +listType=map
	// +listMapKey=fingerprint
	// +kubebuilder:validation:MaxItems=64
	Anchors []AnchorStatus `json:"anchors,omitempty"`
}

// AnchorStatus describes one anchor.
type AnchorStatus struct {
	// fingerprint is the SHA-256 of the certificate's DER, in hexadecimal.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint"`
	// subject is the distinguished name; absent when it is not known.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Subject string `json:"subject,omitempty"`
	// keyFingerprint is the SHA-256 of the certificate's public key
	// (SubjectPublicKeyInfo in DER), in hexadecimal; absent when it is not known.
	// An anchor that was renewed with the same key and subject verifies the same
	// certificates as the one before.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	KeyFingerprint string `json:"keyFingerprint,omitempty"`
	// notBefore is when the anchor becomes valid; absent when it is not known.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// notAfter is when the anchor expires; absent when it is not known, and an
	// anchor whose validity is not known never counts as expired.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// own says that this mesh's own anchor Certificate issued it. An anchor
	// that is not own is never dropped.
	// +optional
	Own bool `json:"own,omitempty"`
}

// IssuerStatus describes the issuer in use.
type IssuerStatus struct {
	// fingerprint is the SHA-256 of the certificate's DER, in hexadecimal.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint"`
	// subject is the distinguished name.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Subject string `json:"subject,omitempty"`
	// notBefore is when the issuer becomes valid.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// notAfter is when the issuer expires.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// source is where the issuer is kept, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Source string `json:"source,omitempty"`
	// verifiedBy are the fingerprints of the bundle's anchors that verify the
	// issuer: a pod that trusts none of them, nor one with the same subject and
	// key, refuses every new leaf.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	VerifiedBy []string `json:"verifiedBy,omitempty"`
	// verifiedByTotal is how many there are.
	// +optional
	VerifiedByTotal int32 `json:"verifiedByTotal,omitempty"`
	// since is when Reanchor first saw it in use.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// signedSince is since when Reanchor has seen issuers in use that just the
	// anchors in verifiedBy verify; a renewal under the same anchor leaves it.
	// +optional
	SignedSince *metav1.Time `json:"signedSince,omitempty"`
	// earlier are issuers that were in use before and whose leaves may live on.
	// earlierTotal is how many there are.
	// +optional
	// +listType=map
	// +listMapKey=fingerprint
	// +kubebuilder:validation:MaxItems=10
	Earlier []EarlierIssuer `json:"earlier,omitempty"`
	// earlierTotal is how many there are; the list holds the latest.
	// +optional
	EarlierTotal int32 `json:"earlierTotal,omitempty"`
}

// EarlierIssuer is an issuer that was in use before. Until its last leaf has
// ended, the bundle must hold an anchor that verifies it (invariant I9).
type EarlierIssuer struct {
	// fingerprint is the SHA-256 of the certificate's DER, in hexadecimal.
	// +required
	// +kubebuilder:validation:MaxLength=64
	Fingerprint string `json:"fingerprint"`
	// verifiedBy are the fingerprints of the anchors that verified it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	VerifiedBy []string `json:"verifiedBy,omitempty"`
	// verifiedByTotal is how many there are.
	// +optional
	VerifiedByTotal int32 `json:"verifiedByTotal,omitempty"`
	// replacedAt is when another issuer was first seen in use.
	// +optional
	ReplacedAt *metav1.Time `json:"replacedAt,omitempty"`
	// leavesUntil is when the last leaf that it may have signed ends.
	// +required
	LeavesUntil metav1.Time `json:"leavesUntil"`
}

// BundleRecord is one bundle that was published at some time.
type BundleRecord struct {
	// hash is the bundle hash.
	// +required
	// +kubebuilder:validation:MaxLength=128
	Hash string `json:"hash"`
	// fingerprints are those of its anchors, sorted.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	Fingerprints []string `json:"fingerprints,omitempty"`
	// fingerprintsTotal is how many there are. When it is more than the list
	// holds, what a pod read then cannot be told.
	// +optional
	FingerprintsTotal int32 `json:"fingerprintsTotal,omitempty"`
	// publishedAt is when the bundle object got this set of anchors.
	// +required
	PublishedAt metav1.Time `json:"publishedAt"`
	// firstSeen is when Reanchor first saw it.
	// +required
	FirstSeen metav1.Time `json:"firstSeen"`
	// lastSeen is when Reanchor last saw it.
	// +required
	LastSeen metav1.Time `json:"lastSeen"`
}

// PodCounts counts pods by what they trust.
type PodCounts struct {
	// total is every member pod that has not ended.
	Total int32 `json:"total"`
	// current trust exactly what is published.
	Current int32 `json:"current"`
	// stale is missing plus expired: the pods that must be rolled.
	Stale int32 `json:"stale"`
	// missing lack an anchor that is published.
	Missing int32 `json:"missing"`
	// expired have no unexpired anchor left.
	Expired int32 `json:"expired"`
	// retired trust all that is published, and more.
	Retired int32 `json:"retired"`
	// unknown cannot be told.
	Unknown int32 `json:"unknown"`
	// exempt are never touched: opted out, or mirror pods. Not counted above
	// but in total.
	Exempt int32 `json:"exempt"`
}

// WorkloadCounts counts owners of pods by the worst of their pods.
type WorkloadCounts struct {
	// total is every owner of a member pod; a bare pod owns itself.
	Total int32 `json:"total"`
	// current have current pods only.
	Current int32 `json:"current"`
	// stale have a stale pod.
	Stale int32 `json:"stale"`
	// retired have a retired pod and no stale or unknown one.
	Retired int32 `json:"retired"`
	// unknown have a pod that cannot be told, and no stale one.
	Unknown int32 `json:"unknown"`
	// exempt are opted out. Not counted above but in total.
	Exempt int32 `json:"exempt"`
}
