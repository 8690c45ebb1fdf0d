package rollout

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// shownOn reports whether the owner carries what the roll writes.
func (r *Roll) shownOn(w *Workload) bool {
	if r.Verb == v1alpha1.VerbRestartAt {
		return !w.RestartAt.Before(r.restartAt())
	}
	return w.RestartedFor == r.mark()
}

// toReplace is how much a pod that the roll is to replace adds to left: more than
// all other pods of a workload are expected to, so that one that goes is progress
// whatever happens to them meanwhile.
const toReplace = 100

// left tells how far the pods still have to go: toReplace for each that the roll
// is to replace, one for each that terminates, and one for each that is missing
// or not available. So every step of a pod (it goes, is gone, is made up for) is
// progress, and an eviction that is granted late has the whole deadline. So has a
// restart of all pods that takes those first that carry the bundle.
func (p *planner) left(w *Workload, r *Roll) int {
	n := toReplace*len(p.unwanted(w, r)) + w.Terminating + max(0, w.Owner.lacking())
	if r.Applied && r.restartsAll() {
		n += w.Outdated
	}
	return n
}

// atRest reports whether nothing of the roll is under way. One whose mark never
// showed was not begun, once the cache has had time to show it; one whose mark
// was taken away was. How often it was is not known any more when the bundle has
// changed: then the workload must be seen to be whole, too.
func (p *planner) atRest(w *Workload, r *Roll) bool {
	if r.Verb != v1alpha1.VerbEvict && !r.Applied && p.state.counted(r.Key).Reverts == 0 {
		return p.quiet(w) && p.now.Sub(r.StartedAt) > forgetUnseen && (r.For == p.facts.Bundle.Hash || whole(w, r) && !lagging(w))
	}
	return through(w, r)
}

// through reports whether the workload is whole and nothing shows that the roll
// goes on.
func through(w *Workload, r *Roll) bool { return whole(w, r) && !lagging(w) && replaced(w, r) }

// quiet reports whether none of the workload's pods is being replaced.
func (p *planner) quiet(w *Workload) bool {
	return !w.Owner.rolling() && w.Terminating == 0
}

// whole reports whether the workload is as it should be, by what its owner says
// and, since that may be older than its pods, by the pods themselves.
func whole(w *Workload, r *Roll) bool {
	return w.Terminating == 0 && w.Owner.complete() && w.Ready >= expected(w, r)
}

// expected is how many pods a roll answers for: as many as there should be, but no
// more than there were since it began, for only members of the mesh are seen. Of a
// StatefulSet with a partition those below it may be none, and of pods that are
// injected by their namespace those that are older than that.
func expected(w *Workload, r *Roll) int { return min(w.Owner.Desired-w.Owner.Unreachable, r.Pods) }

// available reports whether as many pods serve as the owner should have.
func available(w *Workload) bool { return w.Owner.lacking() <= 0 }

// lagging reports whether the pods seen are older than the owner's status,
// which says that its rollout is complete: there are more of them, or some that
// are not of its present template.
func lagging(w *Workload) bool {
	if w.Owner.ByTemplate && w.Owner.Partition == 0 && w.Outdated > 0 {
		return true
	}
	return w.Owner.ByTemplate && w.Pods > w.Owner.Total
}

// finished reports whether the roll did what it was for: nothing of the
// workload is stale, nothing terminates, and its rollout is complete. A mark
// that is gone by then does no harm. A workload may also have left the mesh
// with the roll: then it has no member pods.
func (p *planner) finished(w *Workload, r *Roll) bool {
	if len(w.StalePods) > 0 || w.Terminating > 0 || !w.Owner.complete() {
		return false
	}
	if left := r.Applied && r.Verb == v1alpha1.VerbRestart && w.Pods == 0; !left && !through(w, r) {
		return false
	}
	return !p.retires(w) || len(pending(w, r, w.RetiredPods)) == 0
}

// cameBackStale reports whether the roll is over and its own pods are stale:
// the workload is quiet, and no stale pod is left that the roll was to replace.
// While the index of pods lags behind the owner's status, older pods are still
// seen, and it is waited for.
func (p *planner) cameBackStale(w *Workload, r *Roll) bool {
	return len(w.StalePods) > 0 && settled(w, r) && len(pending(w, r, w.StalePods)) == 0
}

func settled(w *Workload, r *Roll) bool {
	return w.Owner.complete() && w.Terminating == 0 && (r.Applied || r.Verb == v1alpha1.VerbEvict) && replaced(w, r)
}

// pending returns those of the pods that the roll is still to replace. A pod
// shows by its mark that it is of the roll. Where no mark can show, it must
// have been created later than the newest pod there was when the roll began.
func pending(w *Workload, r *Roll, pods []Pod) []Pod {
	byMark := r.Verb == v1alpha1.VerbRestart
	return slices.DeleteFunc(slices.Clone(pods), func(x Pod) bool {
		if byMark && !w.Owner.keeps(x) {
			return x.RestartedFor == r.mark()
		}
		return x.CreatedAt.After(r.Before)
	})
}

// leftBehind returns those of the pods that a StatefulSet's controller does not
// replace although the template is marked: those below the partition, and those
// that are not ready. Of the policy OrderedReady it replaces none while any pod
// is not Running and Ready (processReplica in Kubernetes' stateful_set_control.go
// ends before the step that updates), and what such a pod lacks may be the very
// bundle. One that came later than before is the roll's own, if it is stale: it
// is none that another eviction would help.
func leftBehind(w *Workload, pods []Pod, before time.Time) []Pod {
	ordered := w.Key.BuiltIn() == "StatefulSet"
	return slices.DeleteFunc(slices.Clone(pods), func(x Pod) bool {
		return !w.Owner.keeps(x) && (!ordered || x.Ready || x.CreatedAt.After(before))
	})
}

// writes reports whether the roll's next step is a write.
func (p *planner) writes(w *Workload, r *Roll) bool {
	if r.Verb != v1alpha1.VerbEvict && !r.Applied {
		return true
	}
	pod, _ := p.nextEviction(w, r)
	return pod.Name != ""
}
