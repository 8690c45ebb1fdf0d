package rollout

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// settleRolls follows every roll in flight: it ends, fails, takes its next step
// or waits.
func (p *planner) settleRolls() {
	for _, r := range slices.Clone(p.state.InProgress) {
		p.settle(p.state.roll(r.Key))
	}
}

func (p *planner) settle(r *Roll) {
	w := p.byKey[r.Key]
	if w == nil {
		p.settleAbsent(r)
		return
	}
	p.follow(w, r)
	switch {
	case r.For != p.facts.Bundle.Hash || w.Block.Reason != "" || turned(w, r):
		p.settleUnwanted(w, r)
	case p.finished(w, r):
		p.end(w, r)
	case p.cameBackStale(w, r):
		p.comeBack(w, r)
	case p.writes(w, r) && !p.mayWrite(w):
		p.putBack(w, r)
	case p.stuck(w, r):
		p.giveUp(w, r)
	default:
		p.act(w, r)
	}
}

// settleAbsent ends the roll of a workload that is not there any more. The
// facts may lack one for a moment, after its last pod went and before its
// replacement is seen, so this takes a while.
func (p *planner) settleAbsent(r *Roll) {
	if r.Message != unseen {
		r.Left, r.ProgressAt, r.Message = 0, p.now, unseen
	}
	if p.now.Sub(r.ProgressAt) > forgetUnseen {
		key := r.Key
		p.state.endRoll(key)
		p.state.clearFailure(key)
	}
}

const unseen = "it is not seen any more"

// forgetUnseen is how long a write may take to show in the cache.
const forgetUnseen = time.Minute

// follow notes what was observed of a roll since the last decision.
func (p *planner) follow(w *Workload, r *Roll) {
	p.followPods(w, r)
	if r.Verb == v1alpha1.VerbEvict || w.Owner.Lags {
		return
	}
	switch {
	case r.Verb == v1alpha1.VerbAnnotate:
		p.followAnnotation(w, r)
	case r.shownOn(w):
		if !r.Applied {
			r.Applied, r.ProgressAt = true, p.now
			r.Left = p.left(w, r)
		}
	case r.Applied || p.wroteSince(w, r):
		p.reverted(w, r)
	case w.Verb == v1alpha1.VerbEvict:
		// Nothing was written yet, and the user prefers eviction by now.
		r.Verb = w.Verb
	}
}

// followPods notes how far a roll has come, and how many pods it answers for.
func (p *planner) followPods(w *Workload, r *Roll) {
	switch n := p.left(w, r); {
	case n < r.Left:
		r.Left, r.ProgressAt = n, p.now
	case n/toReplace > r.Left/toReplace:
		// More pods are to go than were left, as when a node came back: each that
		// goes is progress again.
		r.Left = n
	}
	if r.Degraded {
		// A pod that was not ready for a moment when it began was no reason.
		r.Available = max(r.Available, countReady(p.unwanted(w, r)))
	}
	if !w.Owner.ByPods { // of the others see reckon
		r.Pods = max(r.Pods, w.Pods)
	}
}

// wroteSince reports whether this controller wrote the mark after the roll
// began and after the last revert was counted. When the mark does not show
// although the object seen is no older than that, somebody was quicker.
func (p *planner) wroteSince(w *Workload, r *Roll) bool {
	return w.WrittenAt.After(r.StartedAt) && w.WrittenAt.After(p.state.counted(r.Key).LastAt)
}

// reverted counts that somebody took the mark away, which is a rollout of its
// own.
func (p *planner) reverted(w *Workload, r *Roll) {
	r.Applied, r.ProgressAt = false, p.now
	a := p.state.attempts(r.Key)
	a.Count, a.LastAt = max(a.Count, 1), p.now
	a.Reverts++
	if a.Reverts >= maxReverts && r.Verb == v1alpha1.VerbRestart {
		r.Verb, r.Before = v1alpha1.VerbEvict, w.NewestPod
	}
	r.Left = p.left(w, r)
}

// turned reports whether pods are being evicted of an owner whose operator is by
// now configured to restart them itself (I5).
func turned(w *Workload, r *Roll) bool {
	return r.Verb == v1alpha1.VerbEvict && w.Verb == v1alpha1.VerbAnnotate
}

// settleUnwanted lets a roll come to rest that is not wanted any more, since
// the bundle changed or the workload is to be left alone.
func (p *planner) settleUnwanted(w *Workload, r *Roll) {
	if p.atRest(w, r) || p.stuck(w, r) {
		p.state.endRoll(r.Key)
		return
	}
	r.Message = "a roll that is not wanted any more comes to rest first"
	if w.Block.Reason != "" {
		r.Message = "blocked: " + w.Block.Message
	}
}

// comeBack ends a roll whose new pods are stale too. The workload is a
// candidate again, for the next attempt under all the rules for a start.
func (p *planner) comeBack(w *Workload, r *Roll) {
	if onlyLeaves(w) { // it is the age of leaves that counts since
		p.state.endRoll(r.Key)
		return
	}
	a := p.state.attempts(r.Key)
	a.Count, a.LastAt = max(a.Count, 1), p.now
	p.state.endRoll(r.Key)
	if a.Count >= p.facts.Policy.MaxAttempts {
		p.fail(w, v1alpha1.StillStale, a.Count)
	}
}

// putBack takes back a roll whose next step may not be written now: it is begun
// again when it may, and until then it holds no place. A partition's roll is
// kept, since its mark is written. No time runs out.
func (p *planner) putBack(w *Workload, r *Roll) {
	r.Left, r.ProgressAt, r.Message = p.left(w, r), p.now, "waiting until writing is allowed"
	p.unfenced = p.unfenced || w.Wave > 0 && p.frozen.Reason == "" && !p.fenced()
	if r.Verb != v1alpha1.VerbEvict && r.Applied || !p.atRest(w, r) {
		return
	}
	p.withdraw(r)
}

// withdraw ends a roll as if it had not been begun.
func (p *planner) withdraw(r *Roll) {
	if r.Attempt > 1 {
		if a := p.state.attempts(r.Key); a.Count > 0 {
			a.Count--
		}
	}
	p.state.endRoll(r.Key)
}

// stuck reports whether the roll made no progress for too long. What was just
// written and is not seen yet may be progress.
func (p *planner) stuck(w *Workload, r *Roll) bool {
	deadline := r.ProgressAt.Add(p.facts.Policy.ProgressDeadline)
	p.again(deadline)
	return !w.Owner.Lags && !p.now.Before(deadline)
}

// giveUp ends a roll that makes no progress.
func (p *planner) giveUp(w *Workload, r *Roll) {
	switch {
	case p.enough(w, r):
		p.end(w, r)
	case p.asBefore(w, r):
		p.endAsBefore(w, r)
	case w.Refused != "" && evicts(r):
		p.fail(w, v1alpha1.EvictionBlocked, r.Attempt)
	case p.forestalled(w, r):
		p.withdraw(r)
	default:
		p.fail(w, v1alpha1.ProgressDeadlineExceeded, r.Attempt)
	}
}

// evicts reports whether what a roll writes are evictions: from the first, or
// after its template, for the pods that its controller leaves behind.
func evicts(r *Roll) bool {
	return r.Verb == v1alpha1.VerbEvict || r.Verb != v1alpha1.VerbAnnotate && r.Applied
}

// forestalled reports whether somebody else's rollout came first, which is
// waited for.
func (p *planner) forestalled(w *Workload, r *Roll) bool {
	return r.Verb != v1alpha1.VerbEvict && !r.Applied && w.Owner.rolling() && !w.Owner.Lags && !p.stalled(w)
}

// settleFailures forgets the failures of workloads that are in order again, or
// not to be rolled any more.
func (p *planner) settleFailures() {
	for _, f := range slices.Clone(p.state.Failed) {
		w := p.byKey[f.Key]
		switch {
		case p.state.roll(f.Key) != nil: // it is tried again
		case w == nil || w.Block.Reason != "":
			p.state.clearFailure(f.Key)
		case len(w.StalePods) == 0 && p.inOrder(w, &f):
			p.state.clearFailure(f.Key)
			p.completed(w)
		}
	}
}

// inOrder reports whether a workload that failed is as it should be. Where there
// are fewer member pods than its owner should have, those that are missing may be
// no members, as of a workload that left the mesh, or still to come: only time
// can tell.
func (p *planner) inOrder(w *Workload, f *Failure) bool {
	switch {
	case w.Terminating > 0 || !w.Owner.complete():
		return false
	case w.Ready >= w.Owner.Desired-w.Owner.Unreachable:
		return true
	case w.Ready < w.Pods:
		return false
	}
	at := f.Since.Add(p.facts.Policy.ProgressDeadline)
	p.again(at)
	return !p.now.Before(at)
}
