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
	p.settleRolls()
	p.settleFailures()
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
	// candidates may start a roll; busy counts the workloads in flight, whoever
	// rolls them, per namespace and in all.
	candidates []candidate
	busy       map[string]int
	inFlight   int
	// lowest is the first wave with something in flight or to start; -1 for none.
	lowest int
}

// candidate is a workload that needs a roll, and which attempt it would be.
type candidate struct {
	w       *Workload
	verb    v1alpha1.Verb
	attempt int
}

func newPlanner(f Facts, now time.Time) *planner {
	p := &planner{facts: f, now: now, byKey: make(map[Key]*Workload, len(f.Workloads)), busy: map[string]int{}, lowest: -1}
	p.workloads = slices.Clone(f.Workloads)
	slices.SortFunc(p.workloads, func(a, b Workload) int { return a.Key.compare(b.Key) })
	for i := range p.workloads {
		p.byKey[p.workloads[i].Key] = &p.workloads[i]
	}
	p.decision.State = f.State.forBundle(f.Bundle.Hash)
	p.state = &p.decision.State
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
	case len(p.state.Failed) >= p.facts.Policy.FailureThreshold:
		return Hold{v1alpha1.FailureThresholdExceeded, p.describeFailures()}
	default:
		return Hold{}
	}
}

// mayWrite reports whether a workload may be written to now.
func (p *planner) mayWrite(w *Workload) bool {
	return p.frozen.Reason == "" && (anyOpen(p.facts.Policy.Windows, p.now) ||
		p.facts.Policy.WhenBroken && (w.Broken || w.Expired))
}

// again asks to decide again at t at the latest.
func (p *planner) again(t time.Time) {
	if t.After(p.now) && (p.decision.Again.IsZero() || t.Before(p.decision.Again)) {
		p.decision.Again = t
	}
}

// sortWorkloads tells for every workload without a roll in flight whether it is
// busy with a rollout of its own, blocked, or a candidate.
func (p *planner) sortWorkloads() {
	for i := range p.state.InProgress {
		r := &p.state.InProgress[i]
		p.count(r.Key.Namespace)
		if w := p.byKey[r.Key]; w != nil {
			p.reach(w.Wave)
		}
	}
	for i := range p.workloads {
		w := &p.workloads[i]
		if p.state.roll(w.Key) == nil {
			p.sortOne(w)
		}
	}
}

func (p *planner) sortOne(w *Workload) {
	needs := len(w.StalePods) > 0 || p.retires(w)
	own := w.Owner.rolling() || needs && w.Terminating > 0
	if own {
		p.count(w.Key.Namespace)
	}
	switch {
	case needs && w.Block.Reason != "":
		p.block(w, w.Block)
		if w.Wave == 0 && w.Block.Reason != v1alpha1.OptedOut {
			p.reach(0)
		}
	case p.state.failure(w.Key) != nil:
		if w.Wave == 0 {
			p.reach(0)
		}
	case needs && own:
		p.reach(w.Wave)
		p.adopt(w)
		p.block(w, Hold{v1alpha1.RolloutInFlight, "its own rollout must end first"})
	case needs:
		p.consider(w)
	}
}

// retires reports whether a workload is rolled although its pods merely trust
// too much.
func (p *planner) retires(w *Workload) bool {
	switch p.facts.Policy.Retired {
	case v1alpha1.RetiredAlways:
		return len(w.RetiredPods) > 0
	case v1alpha1.RetiredInWindow:
		return len(w.RetiredPods) > 0 && len(p.facts.Policy.Windows) > 0 && anyOpen(p.facts.Policy.Windows, p.now)
	default:
		return false
	}
}

// adopt takes up a roll that is under way towards this bundle but is not in
// the state, which may have been lost with the status.
func (p *planner) adopt(w *Workload) {
	if n := attemptOf(w.RestartedFor, p.facts.Bundle.Hash); n > 0 && w.Verb == v1alpha1.VerbRestart {
		p.state.InProgress = append(p.state.InProgress, Roll{
			Key: w.Key, Attempt: n, Verb: w.Verb, For: p.facts.Bundle.Hash, Applied: true,
			StartedAt: p.now, ProgressAt: p.now, Before: w.NewestPod,
		})
	}
}

// consider makes the workload a candidate, or a failure when it has had all its
// attempts.
func (p *planner) consider(w *Workload) {
	counted := p.state.counted(w.Key)
	done := max(counted.Count, attemptOf(w.RestartedFor, p.facts.Bundle.Hash))
	p.reach(w.Wave)
	if done >= p.facts.Policy.MaxAttempts {
		p.fail(w, v1alpha1.StillStale, done)
		return
	}
	verb := w.Verb
	if verb == v1alpha1.VerbRestart && counted.Reverts >= maxReverts {
		verb = v1alpha1.VerbEvict
	}
	p.candidates = append(p.candidates, candidate{w: w, verb: verb, attempt: done + 1})
}

// maxReverts is how often the mark may be removed by somebody else before pods
// are evicted instead.
const maxReverts = 2

func (p *planner) count(namespace string) {
	p.busy[namespace]++
	p.inFlight++
}

// reach notes that wave has something to do, so later waves must wait.
func (p *planner) reach(wave int) {
	if p.lowest < 0 || wave < p.lowest {
		p.lowest = wave
	}
}

func (p *planner) block(w *Workload, h Hold) {
	p.decision.Blocked = append(p.decision.Blocked, Blocked{w.Key, h})
}

// start chooses the rolls to begin.
func (p *planner) start() {
	if p.lowest >= 0 && p.state.Wave != p.lowest {
		p.state.Wave, p.state.Completed = p.lowest, 0
	}
	switch {
	case p.lowest < 0 && len(p.state.Failed) > 0:
		p.decide(p.state.Failed[0].Reason, p.describeFailures())
	case p.lowest < 0:
		p.decide(v1alpha1.Converged, "every pod that may be rolled carries the bundle")
	case p.frozen.Reason != "":
		p.decide(p.frozen.Reason, p.frozen.Message)
	case len(p.state.Failed) >= p.facts.Policy.FailureThreshold:
		p.decide(v1alpha1.FailureThresholdExceeded, p.describeFailures())
	case p.held():
	default:
		p.choose()
	}
}

// held applies what must be waited for before a wave begins.
func (p *planner) held() bool {
	waiting := slices.ContainsFunc(p.candidates, func(c candidate) bool { return c.w.Wave == p.lowest })
	if !waiting {
		return false
	}
	if at := p.facts.Bundle.SurelyRead(p.facts.Policy.EnvDelay); p.now.Before(at) {
		p.again(at)
		p.decide(v1alpha1.WaitingForPropagation, "a pod that starts now may still read the older bundle, until "+clock(at))
		return true
	}
	return p.lowest > 0 && p.fenced()
}

// fenced reports whether the injectors must be waited for, and asks for probes.
func (p *planner) fenced() bool {
	fence := p.facts.Fence
	if !fence.Needed || p.facts.Policy.NoFence || !p.state.FencedAt.IsZero() {
		return false
	}
	switch {
	case !fence.Known:
		p.again(fence.KnownAt)
		p.again(p.now.Add(recheck))
		p.decide(v1alpha1.WaitingForInjector, "an injector may still write the older bundle into new pods"+until(fence.KnownAt))
	case fence.Probe == AllFresh:
		p.state.FencedAt = p.now
		return false
	case fence.Probe == Refused:
		p.decision.Probe = true
		p.again(p.now.Add(recheck))
		p.decide(v1alpha1.ProbeRefused, fence.Message)
	default:
		p.decision.Probe = true
		p.again(p.now.Add(recheck))
		p.decide(v1alpha1.WaitingForInjector, cmp.Or(fence.Message, "the injectors are being probed"))
	}
	return true
}

// choose starts as many rolls of the lowest wave as may be.
func (p *planner) choose() {
	limit, budget := p.limit(), p.facts.Policy.MaxConcurrent
	var shut, full bool
	for _, c := range p.urgent() {
		switch {
		case !p.mayWrite(c.w):
			shut = true
		case len(p.state.InProgress) >= limit || p.inFlight >= budget || p.busy[c.w.Key.Namespace] >= p.facts.Policy.MaxConcurrentPerNamespace:
			full = true
		default:
			p.begin(c)
		}
	}
	p.describe(shut, full, limit)
}

// urgent returns the candidates of the lowest wave, the most urgent first.
func (p *planner) urgent() []candidate {
	var out []candidate
	for _, c := range p.candidates {
		if c.w.Wave == p.lowest {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(urgency(a.w), urgency(b.w)), a.w.Key.compare(b.w.Key))
	})
	return out
}

// urgency ranks a workload: 0 is the most urgent.
func urgency(w *Workload) int {
	switch {
	case w.Expired:
		return 0
	case len(w.StalePods) == 0:
		return 3
	case w.RenewalOnly && !w.Broken:
		return 2
	default:
		return 1
	}
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
	each := p.state.MeasuredTotal / time.Duration(p.state.Measured)
	rounds := (left + limit - 1) / limit
	p.decision.ETA = p.now.Add(time.Duration(rounds) * each)
	p.decision.AtRisk = !p.facts.Breaks.IsZero() && p.decision.ETA.After(p.facts.Breaks)
}

// begin starts one roll.
func (p *planner) begin(c candidate) {
	p.count(c.w.Key.Namespace)
	p.state.InProgress = append(p.state.InProgress, Roll{
		Key: c.w.Key, Attempt: c.attempt, Verb: c.verb, For: p.facts.Bundle.Hash,
		StartedAt: p.now, ProgressAt: p.now, Before: c.w.NewestPod, Left: left(c.w),
	})
	if c.attempt > 1 {
		a := p.state.attempts(c.w.Key)
		a.Count, a.LastAt = c.attempt, p.now
	}
	p.act(c.w, p.state.roll(c.w.Key))
}
