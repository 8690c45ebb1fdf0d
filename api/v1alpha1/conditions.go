package v1alpha1

// Condition types of a MeshTrust.
const (
	// ConditionReady is the sum of the others; its reason is the STATUS column.
	ConditionReady = "Ready"
	// ConditionConverged: no pod that Reanchor may roll is stale.
	ConditionConverged = "Converged"
	// ConditionBundleValid: the published bundle can be used.
	ConditionBundleValid = "BundleValid"
	// ConditionIssuerTrusted: the published bundle verifies the issuer in use.
	ConditionIssuerTrusted = "IssuerTrusted"
	// ConditionRolloutHealthy: rolls succeed, and in time.
	ConditionRolloutHealthy = "RolloutHealthy"
	// ConditionSafeToSwitchIssuer: every pod trusts every anchor of the bundle,
	// so an issuer under any of them breaks nothing (invariant I1).
	ConditionSafeToSwitchIssuer = "SafeToSwitchIssuer"
	// ConditionSafeToNarrow: no live leaf may chain to an own anchor that does
	// not verify the issuer in use (invariant I2).
	ConditionSafeToNarrow = "SafeToNarrow"
)

// MeshTrustConditions lists the condition types of a MeshTrust.
func MeshTrustConditions() []string {
	return []string{
		ConditionReady, ConditionConverged, ConditionBundleValid, ConditionIssuerTrusted,
		ConditionRolloutHealthy, ConditionSafeToSwitchIssuer, ConditionSafeToNarrow,
	}
}

// Condition types of an AnchorRotation.
const (
	// ConditionComplete: the rotation has ended as it should.
	ConditionComplete = "Complete"
	// ConditionFailed: the rotation has ended on the anchor that it began with,
	// before it changed anything or because it was aborted.
	ConditionFailed = "Failed"
	// ConditionProgressing: the rotation runs; its reason is the phase.
	ConditionProgressing = "Progressing"
	// ConditionBlocked: the phase waits for what blockedBy lists.
	ConditionBlocked = "Blocked"
	// ConditionSigningExposed: an issuer that renews itself now would be signed
	// by an anchor that not every pod trusts, and nothing holds it back.
	ConditionSigningExposed = "SigningExposed"
)

// AnchorRotationConditions lists the condition types of an AnchorRotation.
func AnchorRotationConditions() []string {
	return []string{ConditionComplete, ConditionFailed, ConditionProgressing, ConditionBlocked, ConditionSigningExposed}
}
