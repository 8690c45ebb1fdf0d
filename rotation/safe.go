package rotation

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// switchCondition tells a foreign pipeline whether an issuer under any anchor
// of the bundle would be trusted by every pod, and by those still to come.
func switchCondition(o *observation, now time.Time) metav1.Condition {
	const kind = v1alpha1.ConditionSafeToSwitchIssuer
	fence, fencedAt := o.facts.Fence, o.facts.State.FencedAt
	switch {
	case o.bundle.Reason != v1alpha1.BundleUsable:
		return condition(kind, false, o.bundle.Reason, o.bundle.Message)
	case o.unfit > 0:
		return condition(kind, false, v1alpha1.Missing, fmt.Sprintf("pods that do not provably trust the whole bundle: %d", o.unfit))
	case now.Before(o.facts.Bundle.SurelyRead(o.mesh.EnvDelay)):
		return condition(kind, false, v1alpha1.WaitingForPropagation, "a pod that starts now may still read an older bundle")
	case fence.Needed && !fence.Known && (fencedAt.IsZero() || fencedAt.Before(o.facts.Bundle.SeenAt)):
		return condition(kind, false, v1alpha1.WaitingForInjector, "an injector may still write an older bundle into new pods")
	case fence.Needed && now.Before(fencedAt.Add(lifecycle.AfterFence+o.spec.Admission.ClockSkew.Duration)):
		return condition(kind, false, v1alpha1.WaitingForInjector, "pods that were being injected while the injector changed bundles must show first")
	default:
		return condition(kind, true, v1alpha1.EveryPodTrusts, "every pod trusts every anchor of the bundle")
	}
}

// narrowCondition tells a foreign pipeline whether a live leaf may chain to an
// anchor that does not verify the issuer in use. An identity replica that missed
// the change goes on signing with the issuer before until that ends; what is
// known of that one is in status.issuer.earlier. Of issuers before the MeshTrust
// nothing is known: they are taken to have lived as long as the present one.
//
// A pipeline asks as soon as it has had the issuer switched, which Reanchor may
// not have seen yet. So the answer is no from when an anchor is added until an
// issuer under other anchors than before is seen.
func narrowCondition(mt *v1alpha1.MeshTrust, o *observation, now time.Time) metav1.Condition {
	const kind = v1alpha1.ConditionSafeToNarrow
	issuer := mt.Status.Issuer
	switch {
	case o.issuer.None || issuer == nil || len(o.issuer.Chain) == 0 || issuer.SignedSince == nil:
		return condition(kind, false, v1alpha1.IssuerUnknown, "what signed the live leaves is not known")
	case o.gate.Reason != "":
		return condition(kind, false, o.gate.Reason, o.gate.Message)
	case issuer.EarlierTotal > 0:
		return condition(kind, false, v1alpha1.IssuerUnknown, fmt.Sprintf(
			"leaves of earlier issuers may live on: %d; see status.issuer.earlier", issuer.EarlierTotal))
	}
	if added := addedSince(&mt.Status, issuer); added != "" {
		return condition(kind, false, v1alpha1.IssuerUnknown,
			"the bundle holds the anchor "+added+", and the issuer was not switched since that was added")
	}
	life := o.issuer.Chain[0].NotAfter.Sub(o.issuer.Chain[0].NotBefore)
	end := mt.CreationTimestamp.Add(max(leafLifetime(&o.spec), life) + o.spec.Admission.ClockSkew.Duration)
	if now.Before(end) {
		return condition(kind, false, v1alpha1.IssuerUnknown,
			"leaves of an issuer before this MeshTrust may live until "+end.UTC().Format(time.RFC3339))
	}
	return condition(kind, true, v1alpha1.NoOldLeaf, "every live leaf chains to an anchor that also verifies the issuer in use")
}

// addedSince returns an anchor of the bundle that does not verify the issuer and
// came after the first issuer that the same anchors verify; "" when there is
// none.
func addedSince(s *v1alpha1.MeshTrustStatus, issuer *v1alpha1.IssuerStatus) string {
	if len(s.History) == 0 {
		return ""
	}
	for _, anchor := range s.History[0].Fingerprints {
		since := s.History[0].FirstSeen
		for _, record := range s.History {
			if !slices.Contains(record.Fingerprints, anchor) {
				break
			}
			since = record.FirstSeen
		}
		if !slices.Contains(issuer.VerifiedBy, anchor) && !issuer.SignedSince.After(since.Time) {
			return anchor[:min(8, len(anchor))]
		}
	}
	return ""
}
