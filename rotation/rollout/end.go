package rollout

import (
	"fmt"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// end ends a roll that went well.
func (p *planner) end(w *Workload, r *Roll) {
	p.state.Measured++
	p.state.MeasuredTotal += max(0, p.now.Sub(r.StartedAt))
	p.completed(w)
	p.close(w, r, "all its pods carry the bundle")
}

// endAsBefore ends a roll of a workload that is as far from whole as it was. How long
// that took tells nothing, and where no pod is available it is no canary either.
func (p *planner) endAsBefore(w *Workload, r *Roll) {
	if w.Owner.Available > 0 {
		p.completed(w)
	}
	p.close(w, r, fmt.Sprintf("all its pods carry the bundle; %d of %d are available, no fewer than when the roll began (%d)",
		w.Owner.Available, w.Owner.Desired-w.Owner.Unreachable, r.Available))
}

// close notes the end of a roll that went well.
func (p *planner) close(w *Workload, r *Roll, message string) {
	p.state.clearFailure(r.Key)
	if len(w.RetiredPods) > 0 {
		a := p.state.attempts(r.Key)
		a.Count, a.LastAt = max(a.Count, 1), p.now
	}
	p.decision.Ended = append(p.decision.Ended, Ended{Key: r.Key, Reason: v1alpha1.Converged, Message: message})
	p.state.endRoll(r.Key)
}

// completed counts a workload that is done for the wave that rolls.
func (p *planner) completed(w *Workload) {
	if w.Wave == p.state.Wave {
		p.state.Completed++
	}
}

// fail ends a roll that did not go well; it counts against the threshold until
// the workload is in order.
func (p *planner) fail(w *Workload, reason v1alpha1.Reason, attempt int) {
	message := failureMessage(w, reason, p.facts.Policy)
	known := p.state.failure(w.Key)
	if known == nil || known.Reason != reason {
		p.decision.Ended = append(p.decision.Ended, Ended{Key: w.Key, Reason: reason, Message: message, Failed: true})
	}
	p.state.endRoll(w.Key)
	p.state.fail(Failure{Key: w.Key, Reason: reason, Message: message, Attempt: attempt, Since: p.now})
	p.again(p.now.Add(p.facts.Policy.ProgressDeadline))
}

// asBefore reports whether the roll replaced all that it was to replace, and no fewer
// pods are available than when it began, which were too few then too: what keeps the
// others from it has nothing to do with trust, and only their user can mend it. What
// was whole before is not meant, nor what failed handshakes, nor what was tried for
// this bundle before: its pods may lack something because of that. Nor is the control
// plane: without it no pod of a later wave gets a leaf, so it must be seen to be whole.
func (p *planner) asBefore(w *Workload, r *Roll) bool {
	done := w.Owner.updated() && w.Terminating == 0 && w.Pods >= expected(w, r) && !lagging(w) && replaced(w, r)
	return r.Degraded && w.Wave > 0 && done && w.Owner.Available >= r.Available && len(w.StalePods) == 0 && len(p.unwanted(w, r)) == 0
}

func countReady(pods []Pod) int {
	n := 0
	for i := range pods {
		if pods[i].Ready {
			n++
		}
	}
	return n
}
