package v1alpha1

// Reason is one word of Reanchor's vocabulary: a condition's reason, an
// event's reason, a metric's label value and a heading of the runbook are all
// of this type, so that one can be searched by the other.
type Reason string

// Reasons of an end that is wished for.
const (
	// Converged says that no pod that Reanchor may roll is stale.
	Converged Reason = "Converged"
	// BundleUsable says that the published bundle was read and is in force.
	BundleUsable Reason = "BundleUsable"
	// IssuerTrusted says that the published bundle verifies the issuer in use.
	IssuerTrusted Reason = "IssuerTrusted"
	// RolloutHealthy says that rolls succeed and will be done in time.
	RolloutHealthy Reason = "RolloutHealthy"
	// EveryPodTrusts says that every pod provably trusts every anchor published.
	EveryPodTrusts Reason = "EveryPodTrusts"
	// NoOldLeaf says that no live leaf may chain to an anchor that is not needed.
	NoOldLeaf Reason = "NoOldLeaf"
)

// Reasons of a bundle or an issuer that cannot be used. Nothing is rolled.
const (
	// BundleNotFound says that the object that should hold the bundle is missing.
	BundleNotFound Reason = "BundleNotFound"
	// BundleKeyMissing says that the object exists without the key.
	BundleKeyMissing Reason = "BundleKeyMissing"
	// BundleEmpty says that the text holds no certificate.
	BundleEmpty Reason = "BundleEmpty"
	// BundleInvalid says that the text is not a PEM bundle, or too large.
	BundleInvalid Reason = "BundleInvalid"
	// BundleExpired says that every anchor of the bundle has expired.
	BundleExpired Reason = "BundleExpired"
	// BundleDoesNotTrustIssuer says that rolling would break handshakes, because
	// the bundle does not verify the issuer in use or a live leaf's anchor.
	BundleDoesNotTrustIssuer Reason = "BundleDoesNotTrustIssuer"
	// IssuerNotFound says that the object that should hold the issuer is missing.
	IssuerNotFound Reason = "IssuerNotFound"
	// IssuerInvalid says that the object holds no issuer certificate.
	IssuerInvalid Reason = "IssuerInvalid"
	// IssuerExpired says that the issuer in use has expired.
	IssuerExpired Reason = "IssuerExpired"
	// IssuerUnknown says that the mesh has no issuer that could be checked.
	IssuerUnknown Reason = "IssuerUnknown"
	// InvalidSpec says that a field of the spec cannot be understood.
	InvalidSpec Reason = "InvalidSpec"
	// ProfileUnsupported says that this version does not know how members of
	// the profile hold their anchors.
	ProfileUnsupported Reason = "ProfileUnsupported"
	// Conflict says that an older MeshTrust claims the same pods.
	Conflict Reason = "Conflict"
	// StampOrder says that an injector's webhook runs after the stamp.
	StampOrder Reason = "StampOrder"
)

// Reasons of a rollout that runs, waits or is stopped as a whole.
const (
	// Rolling says that workloads are being rolled.
	Rolling Reason = "Rolling"
	// Restarted says that a workload's roll was started by its template.
	Restarted Reason = "Restarted"
	// Evicted says that a pod was evicted to be replaced.
	Evicted Reason = "Evicted"
	// Nudged says that an owner was woken from back-off after a denial ended.
	Nudged Reason = "Nudged"
	// Suspended says that spec.suspend stops every write.
	Suspended Reason = "Suspended"
	// Paused says that spec.rollout.paused stops new rolls.
	Paused Reason = "Paused"
	// OutsideWindow says that no window is open.
	OutsideWindow Reason = "OutsideWindow"
	// WaitingForPropagation says that readers may still see the older bundle.
	WaitingForPropagation Reason = "WaitingForPropagation"
	// WaitingForInjector says that an injector may still serve the older bundle.
	WaitingForInjector Reason = "WaitingForInjector"
	// ProbeRefused says that a probe of an injector was not answered by an
	// injected pod, so that what it serves is not known.
	ProbeRefused Reason = "ProbeRefused"
	// CanaryInFlight says that a wave's first workload rolls alone.
	CanaryInFlight Reason = "CanaryInFlight"
	// BudgetExhausted says that as many workloads roll as may.
	BudgetExhausted Reason = "BudgetExhausted"
	// FailureThresholdExceeded says that too many workloads failed to roll.
	FailureThresholdExceeded Reason = "FailureThresholdExceeded"
	// DeadlineAtRisk says that pods will break before their turn comes.
	DeadlineAtRisk Reason = "DeadlineAtRisk"
)

// Reasons why one workload or pod is not rolled, or not rolled well.
const (
	// RolloutInFlight says that the workload's own rollout must end first.
	RolloutInFlight Reason = "RolloutInFlight"
	// ProgressDeadlineExceeded says that a roll makes no progress.
	ProgressDeadlineExceeded Reason = "ProgressDeadlineExceeded"
	// StillStale says that the new pods do not carry the bundle either.
	StillStale Reason = "StillStale"
	// RevertedTwice says that somebody removes the template annotation again
	// and again, so that pods are evicted instead.
	RevertedTwice Reason = "RevertedTwice"
	// WorkloadPaused says that the Deployment is paused.
	WorkloadPaused Reason = "WorkloadPaused"
	// ManuallyInjected says that the template itself holds the proxy and its
	// bundle, so that only its author can change them.
	ManuallyInjected Reason = "ManuallyInjected"
	// EvictionBlocked says that a PodDisruptionBudget allows no eviction.
	EvictionBlocked Reason = "EvictionBlocked"
	// BarePod says that nothing would replace the pod.
	BarePod Reason = "BarePod"
	// JobPod says that the pod is meant to end by itself.
	JobPod Reason = "JobPod"
	// UnknownOwner says that it is not known how the owner's kind is restarted.
	UnknownOwner Reason = "UnknownOwner"
	// MirrorPod says that the kubelet runs the pod from a file.
	MirrorPod Reason = "MirrorPod"
	// OptedOut says that the user asked for it to be left alone.
	OptedOut Reason = "OptedOut"
	// ScaledToZero says that the workload has no pods now.
	ScaledToZero Reason = "ScaledToZero"
	// NodeNotReady says that the pod's node cannot start a replacement, or end the pod.
	NodeNotReady Reason = "NodeNotReady"
)

// Reasons of what a pod trusts, and of what admission decided.
const (
	// Current says that the pod trusts exactly what is published.
	Current Reason = "Current"
	// Missing says that the pod lacks an anchor that is published.
	Missing Reason = "Missing"
	// Retired says that the pod trusts all that is published, and more.
	Retired Reason = "Retired"
	// TrustExpired says that the pod has no unexpired anchor.
	TrustExpired Reason = "TrustExpired"
	// TrustUnknown says that what the pod trusts cannot be told.
	TrustUnknown Reason = "TrustUnknown"
	// NoCertificate says that the pod's bundle holds no certificate at all.
	NoCertificate Reason = "NoCertificate"
	// IssuerNotTrusted says that the pod provably cannot verify the issuer in use.
	IssuerNotTrusted Reason = "IssuerNotTrusted"
	// NotMeshed says that the pod is no member of any mesh known here.
	NotMeshed Reason = "NotMeshed"
	// BadRequest says that the admission request could not be read.
	BadRequest Reason = "BadRequest"
	// Unavailable says that the admission request came when it could not be judged:
	// before the cluster was read, or among too many large ones.
	Unavailable Reason = "Unavailable"
)

// Reasons of an anchor rotation.
const (
	// RotationOpened says that an AnchorRotation was created, and why.
	RotationOpened Reason = "RotationOpened"
	// RotationComplete says that the rotation has ended on the new anchor.
	RotationComplete Reason = "RotationComplete"
	// Aborted says that the rotation was aborted and has ended on the old anchor.
	Aborted Reason = "Aborted"
	// Standing says that no rotation runs and nothing of one is left.
	Standing Reason = "Standing"
	// AnotherRotation says that an older rotation of the same mesh must end first.
	AnotherRotation Reason = "AnotherRotation"
	// NotObserved says that something that the step depends on could not be read.
	NotObserved Reason = "NotObserved"
	// PermissionMissing says that the controller lacks a right that the rotation needs.
	PermissionMissing Reason = "PermissionMissing"
	// BundleNotOurs says that the bundle is written by somebody else, or does not take its anchors from where Reanchor puts them.
	BundleNotOurs Reason = "BundleNotOurs"
	// TemplateInvalid says that a Certificate is not fit for a rotation.
	TemplateInvalid Reason = "TemplateInvalid"
	// IssuanceInFlight says that a Certificate is being issued and must be waited for.
	IssuanceInFlight Reason = "IssuanceInFlight"
	// IssuanceFailed says that a certificate could not be issued.
	IssuanceFailed Reason = "IssuanceFailed"
	// IssuerRenewsTooSoon says that the issuer would renew itself before every pod trusts the new anchor.
	IssuerRenewsTooSoon Reason = "IssuerRenewsTooSoon"
	// HoldingRenewals says that renewals by themselves are being held back.
	HoldingRenewals Reason = "HoldingRenewals"
	// KeepingOldAnchor says that the old anchor is being put where it survives its renewal.
	KeepingOldAnchor Reason = "KeepingOldAnchor"
	// AnchorIssuing says that the new anchor is being issued.
	AnchorIssuing Reason = "AnchorIssuing"
	// AnchorUnfit says that the new anchor is not valid, no CA, or has the old key.
	AnchorUnfit Reason = "AnchorUnfit"
	// WaitingForBundle says that the published bundle does not hold old and new anchor yet.
	WaitingForBundle Reason = "WaitingForBundle"
	// CarryOverExceeded says that the bundle would hold more earlier anchors than allowed.
	CarryOverExceeded Reason = "CarryOverExceeded"
	// WaitingForRollout says that pods do not trust the new anchor yet and are being rolled.
	WaitingForRollout Reason = "WaitingForRollout"
	// PodsDoNotTrust says that pods that are not being rolled do not provably trust the anchor.
	PodsDoNotTrust Reason = "PodsDoNotTrust"
	// ApprovalRequired says that a human must approve the next step.
	ApprovalRequired Reason = "ApprovalRequired"
	// SwitchingIssuer says that the issuer is being signed by the other anchor.
	SwitchingIssuer Reason = "SwitchingIssuer"
	// SwitchedTooEarly says that somebody switched the issuer before every pod trusted its anchor.
	SwitchedTooEarly Reason = "SwitchedTooEarly"
	// ConfirmingIssuer says that the signing service is being restarted, to show that it signs with the new issuer.
	ConfirmingIssuer Reason = "ConfirmingIssuer"
	// DrainingLeaves says that leaves of the old issuer are still alive.
	DrainingLeaves Reason = "DrainingLeaves"
	// LeafLifetimeUnknown says that it is not known how long leaves live.
	LeafLifetimeUnknown Reason = "LeafLifetimeUnknown"
	// Narrowing says that the old anchor is being dropped from the bundle.
	Narrowing Reason = "Narrowing"
	// NoWayBack says that the old anchor cannot sign any more, so that there is no way back.
	NoWayBack Reason = "NoWayBack"
)

// Reasons returns the whole vocabulary, so that metrics can be preset and the
// runbook can be checked against it.
func Reasons() []Reason {
	return []Reason{
		Converged, BundleUsable, IssuerTrusted, RolloutHealthy, EveryPodTrusts, NoOldLeaf,
		BundleNotFound, BundleKeyMissing, BundleEmpty, BundleInvalid, BundleExpired,
		BundleDoesNotTrustIssuer, IssuerNotFound, IssuerInvalid, IssuerExpired, IssuerUnknown,
		InvalidSpec, ProfileUnsupported, Conflict, StampOrder,
		Rolling, Restarted, Evicted, Nudged, Suspended, Paused, OutsideWindow,
		WaitingForPropagation, WaitingForInjector, ProbeRefused, CanaryInFlight, BudgetExhausted,
		FailureThresholdExceeded, DeadlineAtRisk,
		RolloutInFlight, ProgressDeadlineExceeded, StillStale, RevertedTwice, WorkloadPaused,
		ManuallyInjected, EvictionBlocked, BarePod, JobPod, UnknownOwner, MirrorPod, OptedOut,
		ScaledToZero, NodeNotReady,
		Current, Missing, Retired, TrustExpired, TrustUnknown, NoCertificate, IssuerNotTrusted,
		NotMeshed, BadRequest, Unavailable,
		RotationOpened, RotationComplete, Aborted, Standing, AnotherRotation, NotObserved, PermissionMissing,
		BundleNotOurs, TemplateInvalid, IssuanceInFlight, IssuanceFailed, IssuerRenewsTooSoon,
		HoldingRenewals, KeepingOldAnchor, AnchorIssuing, AnchorUnfit, WaitingForBundle,
		CarryOverExceeded, WaitingForRollout, PodsDoNotTrust, ApprovalRequired, SwitchingIssuer,
		SwitchedTooEarly, ConfirmingIssuer, DrainingLeaves, LeafLifetimeUnknown, Narrowing,
		NoWayBack,
	}
}
