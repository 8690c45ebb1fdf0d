package anchorrotation

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
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
	narrowed := s.AbortedFrom == "" && slices.ContainsFunc(s.Steps, func(x v1alpha1.RotationStep) bool { return x.Phase == v1alpha1.PhaseNarrow })
	if s.IssuerInUseAt == nil || !narrowed && outcomeOf(run) == "" {
		return time.Time{}
	}
	return s.IssuerInUseAt.Time
}

// RestartBefore asks for pods to be replaced that were created before a time:
// they may hold leaves of an earlier issuer and spec.rotation.leaves is Restart.
// Zero when no run asks for it, and until a pod that is created now is surely
// later than that, however far the clocks of controller and API server are
// apart: else it would be replaced again.
func RestartBefore(spec *v1alpha1.MeshTrustSpec, runs []v1alpha1.AnchorRotation, now time.Time) time.Time {
	run := oldestActive(runs)
	if run == nil || spec.Rotation == nil || spec.Rotation.Leaves != v1alpha1.LeavesRestart || run.Status.IssuerInUseAt == nil {
		return time.Time{}
	}
	if n := len(run.Status.Steps); n == 0 || run.Status.Steps[n-1].Phase != v1alpha1.PhaseDrainLeaves {
		return time.Time{}
	}
	skew := spec.Admission.ClockSkew.Duration
	before := run.Status.IssuerInUseAt.Add(skew + time.Second)
	if now.Before(before.Add(skew + time.Second)) { // creation times are cut to the second
		return time.Time{}
	}
	return before
}

// Active reports whether a run of the mesh is under way.
func Active(runs []v1alpha1.AnchorRotation) bool { return oldestActive(runs) != nil }
