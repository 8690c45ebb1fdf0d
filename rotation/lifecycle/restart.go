package lifecycle

import (
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// RestartBefore returns the time before which a pod must have been created, by
// the API server's clock, for the roller to replace it because of its leaf
// (spec.rotation.leaves: Restart). It is zero when none is to be replaced.
//
// A pod that is created afterwards is new to LeafGate. And it is never replaced
// for that again: the answer is zero until, however far the clocks of controller
// and API server are apart, a pod that is created now is dated later. So each
// pod is replaced at most once while leaves drain.
func RestartBefore(s *State, p Policy, now time.Time) time.Time {
	if p.Leaves != v1alpha1.LeavesRestart || s.Outcome != "" || s.Phase != v1alpha1.PhaseDrainLeaves || s.InUseAt.IsZero() {
		return noTime
	}
	before := s.InUseAt.Add(p.Skew + time.Second)
	if now.Before(before.Add(p.Skew + time.Second)) { // dates are cut to the second
		return noTime
	}
	return before
}
