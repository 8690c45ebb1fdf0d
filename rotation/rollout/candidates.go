package rollout

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// candidate is a workload that needs a roll: how, with which number in its
// mark, the how many-eth try for this bundle it would be, and whether it has
// failed before and is tried again.
type candidate struct {
	w              *Workload
	verb           v1alpha1.Verb
	attempt, tries int
	again          bool
	// counted says that it has its place in the budget already: a pod of it
	// terminates.
	counted bool
	// marked says that its owner carries the roll's mark: it goes on with the
	// evictions of the pods that its controller leaves behind.
	marked bool
}

// rank orders candidates: the most urgent first, what failed before last.
func (c candidate) rank() int {
	switch {
	case c.again:
		return 4
	case c.w.Expired:
		return 0
	case len(c.w.StalePods) == 0:
		return 3
	case c.w.RenewalOnly && !c.w.Broken:
		return 2
	default:
		return 1
	}
}

// maxReverts is how often the mark may be removed by somebody else before pods
// are evicted instead.
const maxReverts = 2

// sortWorkloads tells for every workload without a roll in flight whether it is
// busy with a rollout of its own, blocked, or a candidate.
func (p *planner) sortWorkloads() {
	rolls := make(map[Key]bool, len(p.state.InProgress))
	for i := range p.state.InProgress {
		r := &p.state.InProgress[i]
		rolls[r.Key] = true
		p.count(r.Key.Namespace)
		// What failed and is tried again holds up no later wave a second time.
		if w := p.byKey[r.Key]; w != nil && (w.Wave == 0 || p.state.failure(r.Key) == nil) {
			p.reach(w.Wave)
		}
	}
	for i := range p.workloads {
		if w := &p.workloads[i]; !rolls[w.Key] {
			p.sortOne(w)
		}
	}
}

func (p *planner) sortOne(w *Workload) {
	needs, failure := p.needs(w), p.state.failure(w.Key)
	counted := p.takesPlace(w, needs || failure != nil)
	if counted {
		p.count(w.Key.Namespace)
	}
	switch {
	case needs && w.Block.Reason != "":
		p.blocked(w)
	case failure != nil && !p.mayTryAgain(w, failure):
		p.reachControlPlane(w)
	case needs:
		p.sortNeedy(w, counted)
	case w.Stranded > 0:
		p.block(w, Hold{v1alpha1.NodeNotReady, count(w.Stranded, "stale pod") + " on nodes that cannot replace or end them now"})
	}
}

// takesPlace reports whether pods of the workload are being replaced, whoever
// asked for it, so that it counts in the budget. Of one that is no concern of
// ours a pod that terminates is none. A rollout that came to a halt replaces
// nothing: if it counted, a few of them, such as of an image that does not exist,
// would keep all others from being rolled, and from being healed, for ever.
func (p *planner) takesPlace(w *Workload, concern bool) bool {
	if w.Terminating > 0 && concern {
		return true
	}
	return p.rollsOn(w) && (w.Terminating > 0 || !p.halted(w))
}

// blocked reports a workload that is not to be rolled. In the control plane it
// holds up all that follows, unless its user said that it may be left behind.
func (p *planner) blocked(w *Workload) {
	p.block(w, w.Block)
	if w.Block.Reason != v1alpha1.OptedOut {
		p.reachControlPlane(w)
	}
}

func (p *planner) reachControlPlane(w *Workload) {
	if w.Wave == 0 {
		p.reach(0)
	}
}

// sortNeedy tells of a workload with pods to be replaced whether that has
// begun, waits for another rollout, or may be begun.
func (p *planner) sortNeedy(w *Workload, counted bool) {
	begun := p.begun(w)
	switch {
	case begun && len(leftBehind(w, w.StalePods, w.NewestPod)) == 0:
		p.adopt(w, counted)
	case p.rollsOn(w):
		p.awaitOwn(w)
	default:
		p.consider(w, counted, begun)
	}
}

// needs reports whether the workload has pods to be replaced.
func (p *planner) needs(w *Workload) bool {
	return len(w.StalePods) > 0 || p.retires(w) && !p.tended(w)
}

// retires reports whether a workload is rolled although its pods merely trust
// too much.
func (p *planner) retires(w *Workload) bool {
	if len(w.RetiredPods) == 0 {
		return false
	}
	switch p.facts.Policy.Retired {
	case v1alpha1.RetiredAlways:
		return true
	case v1alpha1.RetiredInWindow:
		p.again(p.change)
		return len(p.facts.Policy.Windows) > 0 && p.open
	default:
		return false
	}
}

// tended reports whether the workload was rolled for this bundle already. Pods
// that come back trusting too much are left alone: it harms nobody (I3).
func (p *planner) tended(w *Workload) bool {
	return attemptOf(w.RestartedFor, p.facts.Bundle.Hash) > 0 || p.state.counted(w.Key).Count > 0
}

// mayTryAgain reports whether a failed workload gets another go: not when its
// new pods were stale to the last attempt, else once the progress deadline has
// passed again and nothing moves: it is quiet, or its rollout came to a halt. The
// cause may be gone (a budget that allows a disruption, a pod that became ready
// late), and only trying tells. An operator that was asked and does nothing
// cannot be asked again.
func (p *planner) mayTryAgain(w *Workload, f *Failure) bool {
	still := p.quiet(w) || p.stalled(w)
	if f.Reason == v1alpha1.StillStale || !still || !p.needs(w) || w.Verb == v1alpha1.VerbAnnotate && p.asked(w) {
		return false
	}
	at := f.Since.Add(p.facts.Policy.ProgressDeadline)
	p.again(at)
	return !p.now.Before(at)
}

// begun reports whether a roll is under way towards this bundle that is not in
// the state, which may have been lost with the status: the owner carries its
// mark, and the owner still works on it or no stale pod is of it. As long as
// that is so, nothing shows that a second roll is called for (I3).
func (p *planner) begun(w *Workload) bool {
	switch {
	case w.Verb == v1alpha1.VerbAnnotate:
		return p.asked(w)
	case w.Verb == v1alpha1.VerbRestartAt:
		return slices.ContainsFunc(p.toGo(w), func(x Pod) bool { return x.CreatedAt.Before(w.RestartAt) })
	case w.Verb != v1alpha1.VerbRestart || attemptOf(w.RestartedFor, p.facts.Bundle.Hash) == 0:
		return false
	case p.rollsOn(w) || w.Terminating > 0:
		return true
	default:
		return !slices.ContainsFunc(w.StalePods, func(x Pod) bool { return x.RestartedFor == w.RestartedFor })
	}
}

// adopt takes up a roll that has begun. It goes on by itself. One that has still
// to evict pods does not: its evictions are writes like those of any other, so
// that it passes the rules for a start (see consider).
func (p *planner) adopt(w *Workload, counted bool) {
	r := Roll{
		Key: w.Key, Attempt: attemptOf(w.RestartedFor, p.facts.Bundle.Hash), Verb: w.Verb, For: p.facts.Bundle.Hash, Applied: true,
		StartedAt: p.now, ProgressAt: p.now, Before: w.NewestPod, Pods: w.Pods + w.Terminating, Message: "waiting for its pods",
	}
	if w.Verb != v1alpha1.VerbRestart {
		r.Attempt, r.Before = max(1, r.Attempt, p.state.counted(w.Key).Count), w.AskedUpTo().Add(-time.Second)
	}
	r.Left = p.left(w, &r)
	if w.Wave == 0 || p.state.failure(w.Key) == nil {
		p.reach(w.Wave)
	}
	if !counted {
		p.count(w.Key.Namespace)
	}
	p.state.InProgress = append(p.state.InProgress, r)
}

// awaitOwn lets a rollout of somebody else end first. It holds up the later
// waves while it brings new pods; one that is stuck is not ours to mend, and
// only a control plane that is stale is waited for without end.
func (p *planner) awaitOwn(w *Workload) {
	p.block(w, Hold{v1alpha1.RolloutInFlight, "its own rollout must end first"})
	old := w.NewestPod.Add(p.facts.Policy.ProgressDeadline)
	if w.Wave == 0 && len(w.StalePods) > 0 || !w.Owner.Observed || p.now.Before(old) {
		p.reach(w.Wave)
		p.again(old)
	}
}

// rollsOn reports whether a rollout of the owner's own, or one that was asked
// for, is under way and has not come to a halt.
func (p *planner) rollsOn(w *Workload) bool { return w.Owner.rolling() && !p.stalled(w) }

// stalled reports whether the owner's rollout came to a halt with stale pods
// that do not become ready. It is not waited for: what it lacks may be the very
// bundle that a roll brings.
func (p *planner) stalled(w *Workload) bool {
	return slices.ContainsFunc(w.StalePods, func(x Pod) bool { return !x.Ready }) && p.halted(w)
}

// halted reports whether the owner, which has seen what is asked of it, brought no
// new pod for the progress deadline.
func (p *planner) halted(w *Workload) bool {
	if !w.Owner.Observed || w.Owner.Lags {
		return false
	}
	at := w.NewestPod.Add(p.facts.Policy.ProgressDeadline)
	p.again(at)
	return !p.now.Before(at)
}

// fits reports whether the budget has room for a candidate.
func (p *planner) fits(c candidate) bool {
	all, here := p.inFlight, p.busy[c.w.Key.Namespace]
	if c.counted {
		all, here = all-1, here-1
	}
	return all < p.facts.Policy.MaxConcurrent && here < p.facts.Policy.MaxConcurrentPerNamespace
}

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
