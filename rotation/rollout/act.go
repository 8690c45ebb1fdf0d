package rollout

import (
	"cmp"
	"slices"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// act adds the roll's next write, if it has one.
func (p *planner) act(w *Workload, r *Roll) {
	r.Message = "waiting for its pods"
	switch {
	case r.Verb == v1alpha1.VerbEvict:
		p.evict(w, r)
	case w.Owner.Lags:
		r.Message = "waiting for its own write to show"
	case !r.Applied && !p.quiet(w) && !p.stalled(w):
		r.Message = "waiting for its own rollout to end"
	case !r.Applied && len(p.unwanted(w, r)) > 0:
		p.write(w, r, Pod{})
	case r.Applied && w.Owner.Partition > 0 && !w.Owner.rolling():
		p.evictOne(w, r, belowPartition(w, p.unwanted(w, r)))
	}
}

func (p *planner) evict(w *Workload, r *Roll) {
	if w.Owner.rolling() && !p.stalled(w) {
		r.Message = "waiting for its own rollout to end"
		return
	}
	p.evictOne(w, r, p.unwanted(w, r))
}

// unwanted returns the pods that the roll is still to replace.
func (p *planner) unwanted(w *Workload, r *Roll) []Pod {
	pods := pending(w, r, w.StalePods)
	if p.retires(w) {
		pods = append(pods, pending(w, r, w.RetiredPods)...)
	}
	return pods
}

// evictOne evicts the next pod, one at a time. A ready one goes only while all
// others are there and ready; one that is not ready serves nobody.
func (p *planner) evictOne(w *Workload, r *Roll, pods []Pod) {
	if len(pods) == 0 || w.Owner.Lags || w.Terminating > 0 {
		return
	}
	next := nextPod(pods)
	if next.Ready && (w.Ready < w.Pods || w.Pods < w.Owner.Desired-w.Owner.Unreachable) {
		r.Message = "waiting for its other pods to be ready"
		return
	}
	if w.EvictionRefused != "" {
		r.Message = "eviction refused by " + w.EvictionRefused
	}
	p.write(w, r, next)
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

// nextPod returns the pod to evict first: one that is not ready, since it
// serves nobody, else the one with the highest ordinal.
func nextPod(pods []Pod) Pod {
	return slices.MinFunc(pods, func(a, b Pod) int {
		return cmp.Or(compareReady(a, b), cmp.Compare(b.Ordinal, a.Ordinal), cmp.Compare(a.Name, b.Name))
	})
}
