package lifecycle

import (
	"fmt"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// deadline is how long a phase should take at most. Past it the run counts as
// blocked, and Preflight and NewAnchor fail; all others go on by themselves when
// the cause is gone.
func (p *planner) deadline() time.Duration {
	switch p.state.Phase {
	case v1alpha1.PhaseRolling:
		return 24 * time.Hour
	case v1alpha1.PhaseConfirmIssuer:
		return p.facts.Policy.FileDelay + p.facts.Policy.Skew + 20*time.Minute
	case v1alpha1.PhaseDrainLeaves, v1alpha1.PhaseAborting:
		q := p.leafQuestion()
		return q.Lifetime + q.LeafSkew + 2*q.Skew + time.Hour
	case v1alpha1.PhaseSwitchIssuer:
		return p.facts.Policy.Skew + 15*time.Minute
	default:
		return 10 * time.Minute
	}
}

// late reports whether the phase has taken longer than it should.
func (p *planner) late() bool {
	at := p.state.since().Add(p.deadline())
	p.again(at)
	return p.now.After(at)
}

// overdue turns a wait that lasts too long into a blocked phase.
func (p *planner) overdue() {
	if !p.late() || p.decision.Blocked {
		return
	}
	p.decision.Blocked = true
	p.decision.Message = fmt.Sprintf("for longer than %s: %s", p.deadline(), p.decision.Message)
}
