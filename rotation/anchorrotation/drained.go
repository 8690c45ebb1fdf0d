package anchorrotation

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// LiveIssuers returns those of the earlier issuers whose leaves may live on.
// Where nothing else is known an issuer's own end decides, since a replica of
// the signing service that missed a change signs on. A rotation shows more: it
// has seen every replica start with the issuer in use (ConfirmIssuer), and then
// that every leaf of an earlier one has ended (DrainLeaves).
func LiveIssuers(earlier []v1alpha1.EarlierIssuer, runs []v1alpha1.AnchorRotation) []v1alpha1.EarlierIssuer {
	var until time.Time
	for i := range runs {
		if at := drainedAt(&runs[i]); at.After(until) {
			until = at
		}
	}
	return slices.DeleteFunc(slices.Clone(earlier), func(e v1alpha1.EarlierIssuer) bool {
		return e.ReplacedAt != nil && !until.IsZero() && !e.ReplacedAt.After(until)
	})
}

// drainedAt is the time before which every issuer that was replaced has no live
// leaves; zero when the run does not show that. On the way back a run shows it
// by ending.
func drainedAt(run *v1alpha1.AnchorRotation) time.Time {
	s := &run.Status
	if s.IssuerInUseAt == nil {
		return time.Time{}
	}
	// A run that was thrown back from there drains anew.
	narrowed := s.AbortedFrom == "" && slices.ContainsFunc(s.Steps, func(x v1alpha1.RotationStep) bool {
		return x.Phase == v1alpha1.PhaseNarrow && !x.StartedAt.Before(s.IssuerInUseAt)
	})
	if !narrowed && outcomeOf(run) == "" {
		return time.Time{}
	}
	return s.IssuerInUseAt.Time
}

// witness reports whether the MeshTrust's status still lists an issuer of which
// the run shows that its leaves have ended. Were the run gone before that is
// corrected, its anchor would count as needed again, and be put back.
func witness(mt *v1alpha1.MeshTrust, run *v1alpha1.AnchorRotation) bool {
	issuer := mt.Status.Issuer
	return issuer != nil && len(LiveIssuers(issuer.Earlier, []v1alpha1.AnchorRotation{*run})) < len(issuer.Earlier)
}

// RestartBefore is lifecycle.RestartBefore of the run in force: pods that were
// created before that time are to be replaced. Zero for none.
func RestartBefore(spec *v1alpha1.MeshTrustSpec, runs []v1alpha1.AnchorRotation, now time.Time) time.Time {
	run := oldestActive(runs)
	if run == nil || spec.Rotation == nil {
		return time.Time{}
	}
	state := runOf(run, bundle.Set{}).State
	return lifecycle.RestartBefore(&state, policyOf(spec), now)
}

// Active reports whether a run of the mesh is under way.
func Active(runs []v1alpha1.AnchorRotation) bool { return oldestActive(runs) != nil }
