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
	case w.Owner.Lags:
		r.Message = "waiting for its own write to show"
	case r.Verb == v1alpha1.VerbEvict || r.Applied:
		p.evict(w, r)
	case p.rollsOn(w):
		r.Message = "waiting for its own rollout to end"
	case len(p.unwanted(w, r)) > 0:
		if w.Refused != "" {
			r.Message = "refused: " + w.Refused
		}
		p.write(w, r, Pod{})
	}
}

// unwanted returns the pods that the roll is still to replace.
func (p *planner) unwanted(w *Workload, r *Roll) []Pod {
	return pending(w, r, p.toGo(w))
}

// toGo returns the pods that are to be replaced.
func (p *planner) toGo(w *Workload) []Pod {
	if !p.retires(w) {
		return w.StalePods
	}
	return slices.Concat(w.StalePods, w.RetiredPods)
}

// evict evicts the next pod, or says what it waits for.
func (p *planner) evict(w *Workload, r *Roll) {
	pod, wait := p.nextEviction(w, r)
	switch {
	case wait != "":
		r.Message = wait
	case pod.Name == "":
	default:
		if w.Refused != "" {
			r.Message = "eviction refused by " + w.Refused
		}
		p.write(w, r, pod)
	}
}

// nextEviction returns the pod to evict now, or what is waited for first. Pods
// go one at a time: a ready one only while all others are there and ready, those
// that are no members by the word of their owner; one that is not ready serves
// nobody, but may be ready again in a moment (see mayRecover). Of a roll by template
// only those pods are evicted that its controller does not replace (see leftBehind),
// and one that holds up the roll does not wait for the end of it.
func (p *planner) nextEviction(w *Workload, r *Roll) (Pod, string) {
	pods := p.toEvict(w, r)
	if len(pods) == 0 || w.Owner.Lags || w.Terminating > 0 {
		return Pod{}, ""
	}
	next := nextPod(pods)
	if wait := p.awaits(w, r, next); wait != "" {
		return Pod{}, wait
	}
	return next, ""
}

// awaits says what the eviction of a pod waits for; empty when it may go.
func (p *planner) awaits(w *Workload, r *Roll, next Pod) string {
	holdsUp := r.Verb != v1alpha1.VerbEvict && !next.Ready
	switch {
	case p.rollsOn(w) && !holdsUp:
		return "waiting for its own rollout to end"
	case next.Ready && !allServe(w, r):
		return "waiting for its other pods to be there and ready"
	case !next.Ready && (holdsUp || !othersServe(w, r)) && p.mayRecover(w, r):
		return "waiting for its pods that are not ready, which may be so for a moment"
	default:
		return ""
	}
}

// mayRecover reports whether the workload's pods that are not ready may yet become
// so by themselves. A member of a quorum is not ready for some seconds whenever
// another is replaced, and evicting it then would take the second of three away. So
// it is given half of the progress deadline without progress, which is the user's
// word on how long a pod may take to become ready, another's replacement included;
// the other half is left for what the eviction leads to. Nothing is lost, and not
// waited for, where no pod is ready, or stale ones fail handshakes provably.
func (p *planner) mayRecover(w *Workload, r *Roll) bool {
	if w.Ready == 0 || w.Broken || w.Expired {
		return false
	}
	until := r.ProgressAt.Add(p.facts.Policy.ProgressDeadline / 2)
	p.again(until)
	return p.now.Before(until)
}

// othersServe reports whether all pods but one that is not ready are there and ready.
func othersServe(w *Workload, r *Roll) bool {
	return w.Ready >= w.Pods-1 && w.Pods >= expected(w, r) && w.Owner.lacking() <= 1
}

// allServe reports whether all pods are there and ready.
func allServe(w *Workload, r *Roll) bool {
	return w.Ready >= w.Pods && w.Pods >= expected(w, r) && available(w)
}

// toEvict returns the pods that the roll is still to evict.
func (p *planner) toEvict(w *Workload, r *Roll) []Pod {
	if r.Verb == v1alpha1.VerbEvict {
		return p.unwanted(w, r)
	}
	return leftBehind(w, p.unwanted(w, r), r.Before)
}

func (p *planner) write(w *Workload, r *Roll, pod Pod) {
	a := Action{Key: w.Key, Verb: r.Verb, Attempt: r.Attempt, Mark: r.mark(), Pod: pod, RunsToEnd: w.RunsToEnd}
	switch {
	case pod.Name != "":
		a.Verb = v1alpha1.VerbEvict
	case r.Verb == v1alpha1.VerbRestartAt:
		a.RestartAt = r.restartAt()
	case r.Verb == v1alpha1.VerbAnnotate:
		a.Value = r.value(w.Annotation)
	}
	p.decision.Actions = append(p.decision.Actions, a)
}

// refusedLast puts the actions on workloads whose last write was refused behind all
// others, in the same order otherwise. A refusal may be seconds of silence, as while
// a PodDisruptionBudget is processed, and a decision is void within seconds: a few
// such workloads at the front would keep all behind them from being written to, in
// every decision anew.
func (p *planner) refusedLast() {
	slices.SortStableFunc(p.decision.Actions, func(a, b Action) int {
		return cmp.Compare(p.refusals(a.Key), p.refusals(b.Key))
	})
}

// refusals is 1 when the last write to a workload was refused, else 0.
func (p *planner) refusals(k Key) int {
	if p.byKey[k].Refused == "" {
		return 0
	}
	return 1
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
