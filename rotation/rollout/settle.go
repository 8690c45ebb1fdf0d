package rollout

import (
	"cmp"
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
		// Its last member pod is gone, or the workload is.
		p.end(r, "its pods are gone")
		return
	}
	p.follow(w, r)
	switch {
	case r.For != p.facts.Bundle.Hash:
		p.settleOlder(w, r)
	case w.Block.Reason != "" && p.quiet(w):
		p.state.endRoll(r.Key)
	case w.Block.Reason != "":
		r.Message = "blocked: " + w.Block.Message
	case p.finished(w, r):
		p.end(r, "all its pods carry the bundle")
	case p.cameBackStale(w, r):
		p.retry(w, r)
	case !p.mayWrite(w) && !r.Applied:
		r.ProgressAt = p.now // no time runs out while nothing may be written
		p.act(w, r)
	case p.stuck(r):
		p.fail(w, cmp.Or(evictionBlocked(w), v1alpha1.ProgressDeadlineExceeded), r.Attempt)
	default:
		p.act(w, r)
	}
}

// follow notes what was observed of a roll since the last decision.
func (p *planner) follow(w *Workload, r *Roll) {
	if n := left(w); n != r.Left {
		r.Left, r.ProgressAt = n, p.now
	}
	if r.Verb == v1alpha1.VerbEvict || w.Owner.Lags {
		return
	}
	switch {
	case r.shownOn(w):
		r.Applied = true
	case r.Applied:
		// Somebody took the mark away, which is a rollout of its own.
		r.Applied = false
		a := p.state.attempts(r.Key)
		a.Count, a.LastAt = max(a.Count, r.Attempt), p.now
		a.Reverts++
		if a.Reverts >= maxReverts {
			r.Verb, r.Before = v1alpha1.VerbEvict, w.NewestPod
		}
	}
}

// shownOn reports whether the owner carries what the roll writes.
func (r *Roll) shownOn(w *Workload) bool {
	if r.Verb == v1alpha1.VerbRestartAt {
		return w.RestartAt.Equal(r.restartAt())
	}
	return w.RestartedFor == r.mark()
}

// left counts the pods that a workload still has to replace or to bring up.
func left(w *Workload) int {
	return len(w.StalePods) + w.Terminating + max(0, w.Owner.Desired-w.Owner.Unreachable-w.Owner.Available)
}

// settleOlder lets a roll towards an earlier bundle come to rest before the
// workload is looked at again. One whose mark never showed was not begun, once
// the cache has had time to show it.
func (p *planner) settleOlder(w *Workload, r *Roll) {
	shown := r.Verb == v1alpha1.VerbEvict || r.Applied || p.now.Sub(r.StartedAt) > forgetUnseen
	if shown && p.quiet(w) || p.now.Sub(r.ProgressAt) > p.facts.Policy.ProgressDeadline {
		p.state.endRoll(r.Key)
		return
	}
	r.Message = "its roll towards an earlier bundle comes to rest first"
	p.again(p.now.Add(recheck))
}

// forgetUnseen is how long a write may take to show in the cache.
const forgetUnseen = time.Minute

// quiet reports whether none of the workload's pods is being replaced.
func (p *planner) quiet(w *Workload) bool {
	return !w.Owner.rolling() && w.Terminating == 0
}

// finished reports whether the roll did what it was for: nothing of the
// workload is stale, nothing terminates, and its rollout is complete.
func (p *planner) finished(w *Workload, r *Roll) bool {
	done := len(w.StalePods) == 0 && w.Terminating == 0 && w.Owner.complete()
	if !done || p.retires(w) && len(older(w.RetiredPods, r.Before)) > 0 {
		return false
	}
	// A mark that is gone does no harm now: the pods are as they should be.
	return true
}

// cameBackStale reports whether the roll is over and its own pods are stale:
// the workload is quiet, nothing older is left, and something newer is stale.
// While the index of pods lags behind the owner's status, older pods are still
// seen, and it is waited for.
func (p *planner) cameBackStale(w *Workload, r *Roll) bool {
	settled := w.Owner.complete() && w.Terminating == 0 && (r.Applied || r.Verb == v1alpha1.VerbEvict)
	return settled && len(w.StalePods) > 0 && len(older(w.StalePods, r.Before)) == 0
}

func older(pods []Pod, before time.Time) []Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(x Pod) bool { return x.CreatedAt.After(before) })
}

// retry begins the next attempt of a roll whose new pods are stale too.
func (p *planner) retry(w *Workload, r *Roll) {
	if r.Attempt >= p.facts.Policy.MaxAttempts {
		p.fail(w, v1alpha1.StillStale, r.Attempt)
		return
	}
	if !p.mayWrite(w) {
		r.Message = "its new pods are stale too; the next attempt waits until writing is allowed"
		return
	}
	r.Attempt++
	r.Applied, r.StartedAt, r.ProgressAt, r.Before = false, p.now, p.now, w.NewestPod
	a := p.state.attempts(r.Key)
	a.Count, a.LastAt = r.Attempt, p.now
	p.act(w, r)
}

func (p *planner) stuck(r *Roll) bool {
	deadline := r.ProgressAt.Add(p.facts.Policy.ProgressDeadline)
	p.again(deadline)
	return !p.now.Before(deadline)
}

func evictionBlocked(w *Workload) v1alpha1.Reason {
	if w.EvictionRefused != "" {
		return v1alpha1.EvictionBlocked
	}
	return ""
}

// end ends a roll that went well.
func (p *planner) end(r *Roll, how string) {
	p.state.Measured++
	p.state.MeasuredTotal += p.now.Sub(r.StartedAt)
	p.state.Completed++
	p.decision.Ended = append(p.decision.Ended, Ended{Key: r.Key, Reason: v1alpha1.Converged, Message: how})
	p.state.endRoll(r.Key)
}

// fail ends a roll that did not go well; it counts against the threshold until
// the workload is in order.
func (p *planner) fail(w *Workload, reason v1alpha1.Reason, attempt int) {
	message := failureMessage(w, reason, p.facts.Policy)
	p.state.endRoll(w.Key)
	p.state.fail(Failure{Key: w.Key, Reason: reason, Message: message, Attempt: attempt, Since: p.now})
	p.decision.Ended = append(p.decision.Ended, Ended{Key: w.Key, Reason: reason, Message: message, Failed: true})
}

// settleFailures forgets the failures of workloads that are in order again.
func (p *planner) settleFailures() {
	for _, f := range slices.Clone(p.state.Failed) {
		w := p.byKey[f.Key]
		if w != nil && w.Block.Reason != "" {
			p.state.clearFailure(f.Key)
			continue
		}
		if w == nil || len(w.StalePods) == 0 && w.Terminating == 0 && w.Owner.complete() {
			p.state.clearFailure(f.Key)
			p.state.Completed++
		}
	}
}

// act adds the roll's next write, if it has one.
func (p *planner) act(w *Workload, r *Roll) {
	r.Message = "waiting for its pods"
	if !p.mayWrite(w) {
		r.Message = "waiting until writing is allowed"
		return
	}
	if r.Verb == v1alpha1.VerbEvict {
		p.evict(w, r)
	} else {
		p.restart(w, r)
	}
}

// restart applies the mark, or when that is done evicts the pods that a
// partition keeps from being updated.
func (p *planner) restart(w *Workload, r *Roll) {
	switch {
	case w.Owner.Lags:
		r.Message = "waiting for its own write to show"
	case !r.Applied && (p.quiet(w) || p.state.counted(w.Key).Reverts == 0):
		p.write(w, r, Pod{})
	case r.Applied && w.Owner.Partition > 0 && !w.Owner.rolling():
		p.evictBelow(w, r)
	}
}

func (p *planner) evictBelow(w *Workload, r *Roll) {
	below := slices.DeleteFunc(older(w.StalePods, r.Before), func(x Pod) bool { return x.Ordinal >= w.Owner.Partition })
	p.evictOne(w, r, below)
}

func (p *planner) evict(w *Workload, r *Roll) {
	pods := older(w.StalePods, r.Before)
	if p.retires(w) {
		pods = append(pods, older(w.RetiredPods, r.Before)...)
	}
	p.evictOne(w, r, pods)
}

// evictOne evicts the next pod: one that is not ready first, since it serves
// nobody, else the highest ordinal, and only while all others are ready.
func (p *planner) evictOne(w *Workload, r *Roll, pods []Pod) {
	p.again(p.now.Add(recheck))
	if len(pods) == 0 || w.Owner.Lags || w.Terminating > 0 {
		return
	}
	next := slices.MinFunc(pods, func(a, b Pod) int {
		return cmp.Or(compareReady(a, b), cmp.Compare(b.Ordinal, a.Ordinal), cmp.Compare(a.Name, b.Name))
	})
	if next.Ready && w.Ready < w.Pods || w.Pods < w.Owner.Desired-w.Owner.Unreachable {
		r.Message = "waiting for its other pods to be ready"
		return
	}
	if w.EvictionRefused != "" {
		r.Message = "eviction refused by " + w.EvictionRefused
	}
	p.write(w, r, next)
}

func compareReady(a, b Pod) int {
	switch {
	case a.Ready == b.Ready:
		return 0
	case b.Ready:
		return -1
	default:
		return 1
	}
}

func (p *planner) write(w *Workload, r *Roll, pod Pod) {
	a := Action{Key: w.Key, Verb: r.Verb, Attempt: r.Attempt, Mark: r.mark(), Pod: pod}
	switch {
	case pod.Name != "":
		a.Verb = v1alpha1.VerbEvict
	case r.Verb == v1alpha1.VerbRestartAt:
		a.RestartAt = r.restartAt()
	}
	p.decision.Actions = append(p.decision.Actions, a)
}
