package rollout

import (
	"cmp"
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Next decides what the roller does at a time.
func Next(f Facts, now time.Time) Decision {
	p := newPlanner(f, now)
	p.settleFailures()
	p.settleRolls()
	p.sortWorkloads()
	p.start()
	return p.finish()
}

// planner holds one decision in the making.
type planner struct {
	facts Facts
	now   time.Time
	// workloads are sorted by key, byKey finds them.
	workloads []Workload
	byKey     map[Key]*Workload

	decision Decision
	state    *State
	// frozen is why nothing may be written at all; empty when something may.
	frozen Hold
	// open says that a window is open, or that there is none; change is when
	// one next opens or closes.
	open   bool
	change time.Time
	// candidates may start a roll; busy counts the workloads in flight, whoever
	// rolls them, per namespace and in all.
	candidates []candidate
	busy       map[string]int
	inFlight   int
	// lowest is the first wave with something in flight or to start; -1 for none.
	lowest int
	// unfenced says that a roll in flight waits for the fence.
	unfenced bool
}

func newPlanner(f Facts, now time.Time) *planner {
	p := &planner{
		facts: f, now: now, byKey: make(map[Key]*Workload, len(f.Workloads)), busy: map[string]int{}, lowest: -1,
		open: anyOpen(f.Policy.Windows, now), change: nextChange(f.Policy.Windows, now),
	}
	p.workloads = slices.Clone(f.Workloads)
	slices.SortFunc(p.workloads, func(a, b Workload) int { return a.Key.compare(b.Key) })
	for i := range p.workloads {
		p.byKey[p.workloads[i].Key] = &p.workloads[i]
	}
	p.decision.State, p.decision.Until = f.State.forBundle(f.Bundle.Hash), p.change
	p.state = &p.decision.State
	p.state.sort()
	for i := range p.workloads {
		p.reckon(&p.workloads[i])
	}
	p.frozen = p.freeze()
	return p
}

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Namespace, o.Namespace), cmp.Compare(k.Kind, o.Kind), cmp.Compare(k.Name, o.Name), cmp.Compare(k.Group, o.Group))
}

// freeze says why nothing may be written at this moment, the gravest first.
func (p *planner) freeze() Hold {
	switch {
	case p.facts.Policy.Suspend:
		return Hold{v1alpha1.Suspended, "spec.suspend is true: nothing is written"}
	case p.facts.Hold.Reason != "":
		return p.facts.Hold
	case p.facts.Policy.Paused:
		return Hold{v1alpha1.Paused, "spec.rollout.paused is true: no roll is started"}
	default:
		return Hold{}
	}
}

// tooManyFailed reports whether the threshold is reached. What failed may be
// tried again even then: nothing else would lead out of it.
func (p *planner) tooManyFailed() bool {
	return len(p.state.Failed) >= p.facts.Policy.FailureThreshold
}

// mayWrite reports whether a workload may be written to now.
func (p *planner) mayWrite(w *Workload) bool {
	switch {
	case p.frozen.Reason != "" || p.tooEarly(w.Wave):
		return false
	case p.tooManyFailed() && p.state.failure(w.Key) == nil:
		return false
	default:
		return p.open || p.facts.Policy.WhenBroken && (w.Broken || w.Expired)
	}
}

// tooEarly reports whether a pod of the wave that starts now may still get an
// older bundle.
func (p *planner) tooEarly(wave int) bool {
	return p.now.Before(p.facts.Bundle.SurelyRead(p.facts.Policy.EnvDelay)) || wave > 0 && !p.fenced()
}

// fenced reports whether every injector was seen to serve the bundle since it
// was published.
func (p *planner) fenced() bool {
	if !p.facts.Fence.Needed || p.facts.Policy.NoFence {
		return true
	}
	return !p.state.FencedAt.IsZero() && !p.state.FencedAt.Before(p.facts.Bundle.SeenAt)
}

// again asks to decide again at t at the latest.
func (p *planner) again(t time.Time) {
	if t.After(p.now) && (p.decision.Again.IsZero() || t.Before(p.decision.Again)) {
		p.decision.Again = t
	}
}

// start chooses the rolls to begin.
func (p *planner) start() {
	if p.lowest >= 0 && p.state.Wave != p.lowest {
		p.state.Wave, p.state.Completed = p.lowest, 0
	}
	switch {
	case p.lowest < 0 && len(p.candidates) == 0:
		p.rest()
	case p.frozen.Reason != "":
		p.decide(p.frozen.Reason, p.frozen.Message)
	case p.held():
	default:
		p.choose()
	}
}

// rest is when there is nothing to start. A rotation asks for the fence all the
// same: pods may still come that an injector gives an older bundle.
func (p *planner) rest() {
	if p.facts.WantFence && p.frozen.Reason == "" && !p.fenced() && p.awaitFence() {
		return
	}
	p.describeRest()
}

// held applies what must be waited for before a wave begins.
func (p *planner) held() bool {
	turn := p.turn()
	if len(turn) == 0 && !p.unfenced {
		return false
	}
	if at := p.facts.Bundle.SurelyRead(p.facts.Policy.EnvDelay); p.now.Before(at) {
		p.again(at)
		p.decide(v1alpha1.WaitingForPropagation, "a pod that starts now may still read the older bundle, until "+clock(at))
		return true
	}
	later := slices.ContainsFunc(turn, func(c candidate) bool { return c.w.Wave > 0 })
	return (later || p.unfenced) && !p.fenced() && p.awaitFence()
}

// awaitFence sets the fence or says what it waits for, and asks for probes.
func (p *planner) awaitFence() bool {
	fence := p.facts.Fence
	switch {
	case !fence.Known:
		p.again(fence.KnownAt)
		p.decide(v1alpha1.WaitingForInjector, "an injector may still write the older bundle into new pods"+until(fence.KnownAt))
	case fence.Probe == AllFresh:
		// Another controller's clock, which may be ahead, told when it was seen.
		p.state.FencedAt = latest(p.now, p.facts.Bundle.SeenAt)
		return false
	case fence.Probe == Refused:
		p.decision.Probe = true
		p.decide(v1alpha1.ProbeRefused, cmp.Or(fence.Message, "a probe was not answered by an injected pod"))
	default:
		p.decision.Probe = true
		p.decide(v1alpha1.WaitingForInjector, cmp.Or(fence.Message, "the injectors are being probed"))
	}
	p.again(p.now.Add(recheck))
	return true
}

// turn returns the candidates whose turn it is: those of the lowest wave, the
// most urgent first, and then what failed there or earlier and is tried again.
func (p *planner) turn() []candidate {
	var out []candidate
	for _, c := range p.candidates {
		if c.w.Wave == p.lowest || c.again && (p.lowest < 0 || c.w.Wave < p.lowest) {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), a.w.Key.compare(b.w.Key))
	})
	return out
}

// choose starts as many rolls as may be.
func (p *planner) choose() {
	limit := p.limit()
	var shut, full bool
	for _, c := range p.turn() {
		switch {
		case !p.mayWrite(c.w):
			shut = true
		case !c.again && p.rolling() >= limit || !p.fits(c):
			full = true
		default:
			p.begin(c)
		}
	}
	p.describe(shut, full, limit)
}

// rolling counts the rolls in flight that the ramp bounds: what failed and is
// tried again does not take the canary's place.
func (p *planner) rolling() int {
	n := 0
	for i := range p.state.InProgress {
		if p.state.failure(p.state.InProgress[i].Key) == nil {
			n++
		}
	}
	return n
}

// limit is how many rolls may be in flight: a canary, then the largest
// power of two not above one more than are done, up to the budget. When the
// rolls would otherwise end too late, the budget at once.
func (p *planner) limit() int {
	budget := p.facts.Policy.MaxConcurrent
	p.estimate(budget)
	if p.decision.AtRisk && p.state.Completed > 0 {
		return budget
	}
	ramp := 1
	for ramp*2 <= p.state.Completed+1 {
		ramp *= 2
	}
	return min(ramp, budget)
}

// estimate tells when the last roll will end when limit roll at a time.
func (p *planner) estimate(limit int) {
	left := len(p.candidates) + len(p.state.InProgress)
	if p.state.Measured == 0 || left == 0 {
		return
	}
	limit = max(limit, 1)
	each := p.state.MeasuredTotal / time.Duration(p.state.Measured)
	rounds := (left + limit - 1) / limit
	p.decision.ETA = p.now.Add(time.Duration(rounds) * each)
	p.decision.AtRisk = !p.facts.Breaks.IsZero() && p.decision.ETA.After(p.facts.Breaks)
}

// begin starts one roll.
func (p *planner) begin(c candidate) {
	if !c.counted {
		p.count(c.w.Key.Namespace)
	}
	r := Roll{
		Key: c.w.Key, Attempt: c.attempt, Verb: c.verb, For: p.facts.Bundle.Hash, Applied: c.marked,
		StartedAt: p.now, ProgressAt: p.now, Before: c.w.NewestPod, Pods: c.w.Pods + c.w.Terminating,
	}
	first, distrust := !c.marked && !c.again && c.attempt == 1, c.w.Broken || c.w.Expired
	if first && !distrust && c.w.Owner.lacking() > 0 {
		r.Degraded, r.Available = true, c.w.Owner.Available
	}
	r.Left = p.left(c.w, &r)
	p.state.InProgress = append(p.state.InProgress, r)
	if c.attempt > 1 || c.tries > 1 {
		a := p.state.attempts(c.w.Key)
		a.Count, a.LastAt = c.tries, p.now
	}
	p.act(c.w, p.state.roll(c.w.Key))
}

// finish adds what follows from all the rest.
func (p *planner) finish() Decision {
	if p.decision.ETA.IsZero() {
		p.estimate(p.facts.Policy.MaxConcurrent)
	}
	p.state.sort()
	p.refusedLast()
	if len(p.state.InProgress) > 0 {
		p.again(p.now.Add(recheck))
	}
	return p.decision
}
