package lifecycle

import (
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// Next decides what is done about a mesh's anchors at a time, with a rotation
// or without.
func Next(f Facts, now time.Time) Decision {
	p := &planner{facts: f, now: now, view: look(&f), state: &State{}}
	if f.Run != nil {
		p.decision.State = f.Run.State.clone()
		p.state = &p.decision.State
		p.claim()
	}
	unread := f.unread()
	switch {
	case f.Policy.Suspend:
		p.decide(v1alpha1.Suspended, "spec.suspend of the MeshTrust is true: nothing is written")
		p.decision.Exposed = p.exposed() // that nothing is done about it makes it no better
		return p.decision
	case f.Run != nil && f.Run.Deleting:
		p.release()
	case unread.Reason != "":
		p.again(now.Add(recheck))
		p.block(unread.Reason, unread.Message)
	case f.Run == nil:
		p.decide(v1alpha1.Standing, "no rotation runs")
	case p.state.Outcome != "":
		p.decide(outcomeReason(p.state), "the rotation has ended")
	case f.Run.Suspend:
		p.paused = true
		p.decide(v1alpha1.Suspended, "spec.suspend is true: the rotation goes no further, and the mesh is only protected")
		p.rescueSuspended()
	default:
		p.run()
	}
	if unread.Reason == "" {
		p.stand()
	}
	return p.finish()
}

// claim makes own what the run took note of, whoever has lost it since.
func (p *planner) claim() {
	for _, r := range []*Replaced{p.state.From, p.state.To} {
		if r.known() {
			p.view.own = p.view.own.Union(bundle.FromAnchors(r.Anchor))
		}
	}
}

// planner holds one decision in the making.
type planner struct {
	facts Facts
	view  view
	now   time.Time

	decision Decision
	state    *State
	// standing are the writes that are due with or without a run, actions those
	// of the run's phase, drop the anchors that it drops.
	standing, actions []Action
	drop              bundle.Set
	// paused says that the run is suspended: what protects the mesh goes on, and
	// nothing of it is given up.
	paused bool
}

func (p *planner) decide(reason v1alpha1.Reason, message string) {
	p.decision.Reason, p.decision.Message = reason, message
}

// wait says what the phase waits for.
func (p *planner) wait(reason v1alpha1.Reason, message string) bool {
	p.decide(reason, message)
	return false
}

// block says what is in the way and does not go by itself.
func (p *planner) block(reason v1alpha1.Reason, message string, by ...Blocked) bool {
	p.decide(reason, message)
	p.decision.Blocked, p.decision.BlockedBy = true, by
	return false
}

// act adds a write and says what it is for.
func (p *planner) act(a Action, reason v1alpha1.Reason, message string) bool {
	p.actions = append(p.actions, a)
	return p.wait(reason, message)
}

// live reports whether the facts are fit for a gate, and asks for such if not.
func (p *planner) live() bool {
	if p.facts.Read.Live {
		return true
	}
	p.decision.NeedLive = true
	return false
}

// again asks to decide again at t at the latest.
func (p *planner) again(t time.Time) {
	if t.After(p.now) && (p.decision.Again.IsZero() || t.Before(p.decision.Again)) {
		p.decision.Again = t
	}
}

// active reports whether a run is under way.
func (p *planner) active() bool {
	return p.facts.Run != nil && p.state.Outcome == "" && !p.facts.Run.Deleting
}

// aborting reports whether it is on its way back.
func (p *planner) aborting() bool { return p.active() && p.state.AbortedFrom != "" }

// run goes through the phases as far as the facts let it.
func (p *planner) run() {
	if p.state.Phase == "" {
		p.state.Path = v1alpha1.PathRotate
		p.state.enter(v1alpha1.PhasePreflight, p.now)
	}
	p.acknowledge()
	if p.facts.Run.Abort {
		p.beginAbort()
	}
	if p.aborting() || p.state.Outcome != "" {
		p.abort()
		return
	}
	if !p.choosePath() {
		return
	}
	p.retarget()
	// A phase may lead back to an earlier one, each once in a decision.
	for range 2 * len(order(p.state.Path)) {
		phase := p.state.Phase
		if !p.phases()[phase]() {
			return
		}
		if p.state.Phase == phase && !p.leave() {
			return
		}
	}
}

// leave enters the phase that follows; false at the end.
func (p *planner) leave() bool {
	all := order(p.state.Path)
	for i, phase := range all {
		if phase != p.state.Phase {
			continue
		}
		if next := all[i+1]; next != v1alpha1.PhaseComplete {
			p.state.enter(next, p.now)
			return true
		}
	}
	p.state.end(Complete, p.now)
	p.decide(v1alpha1.RotationComplete, "the mesh is on the new anchor")
	return false
}

// phases are the steps; each returns true when there is nothing left of it.
func (p *planner) phases() map[v1alpha1.Phase]func() bool {
	return map[v1alpha1.Phase]func() bool{
		v1alpha1.PhasePreflight:     p.preflight,
		v1alpha1.PhaseNewAnchor:     p.newAnchor,
		v1alpha1.PhaseWiden:         func() bool { return p.widen() || p.rescued() },
		v1alpha1.PhaseRolling:       p.rolling,
		v1alpha1.PhaseSwitchIssuer:  p.switchIssuer,
		v1alpha1.PhaseConfirmIssuer: p.confirmIssuer,
		v1alpha1.PhaseDrainLeaves:   p.drainLeaves,
		v1alpha1.PhaseNarrow:        p.narrow,
		v1alpha1.PhaseVerify:        p.verify,
		v1alpha1.PhaseComplete:      func() bool { return false },
		v1alpha1.PhaseAborting:      func() bool { return false },
	}
}

// finish adds what follows from all the rest.
func (p *planner) finish() Decision {
	d := &p.decision
	d.Actions = append(p.standing, p.actions...)
	if p.active() {
		p.again(p.now.Add(recheck))
		p.overdue()
	}
	if p.state.Outcome == Failed && d.Reason == "" {
		p.decide(outcomeReason(p.state), "the rotation has ended")
	}
	d.Exposed = p.exposed()
	return *d
}

func outcomeReason(s *State) v1alpha1.Reason {
	switch {
	case s.Outcome == Complete:
		return v1alpha1.RotationComplete
	case s.AbortedFrom != "":
		return v1alpha1.Aborted
	default:
		return v1alpha1.IssuanceFailed
	}
}
