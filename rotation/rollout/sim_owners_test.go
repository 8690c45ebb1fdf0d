package rollout_test

import (
	"cmp"
	"slices"

	"github.com/reanchor/reanchor/rotation/rollout"
)

// workOwner lets the controller of an owner take one step, as
// kube-controller-manager would, and write its status.
func (w *world) workOwner(i int) {
	o := &w.owners[i]
	switch {
	case o.key.Kind == "Pod": // one that is gone stays gone
	case o.op == byArgo:
		w.workArgo(i)
	case o.op != notOperated:
		w.workOperator(i)
	case o.key.Kind == "Deployment":
		w.workDeployment(i)
	case o.key.Kind == "StatefulSet":
		w.workStatefulSet(i)
	default:
		w.workDaemonSet(i)
	}
	w.sync(i)
}

// sync writes the owner's status from its pods as they are.
func (w *world) sync(i int) {
	o := &w.owners[i]
	var updated, total, available int
	for _, n := range w.podsOf(i) {
		p := &w.pods[n]
		if p.terminating && o.key.Kind == "Deployment" {
			continue
		}
		total++
		if p.rev == o.rev {
			updated++
		}
		if p.ready && !p.terminating {
			available++
		}
	}
	if o.key.Kind == "StatefulSet" && updated == o.desired && total == o.desired {
		o.stable = o.rev
	}
	if o.observed != o.gen || o.updated != updated || o.total != total || o.available != available {
		o.observed, o.updated, o.total, o.available = o.gen, updated, total, available
		w.dirty = true
	}
}

// split returns an owner's pods that do not terminate, of its template and of
// others, and how many of both are ready.
func (w *world) split(i int) (news, olds []int, ready, terminating int) {
	for _, n := range w.podsOf(i) {
		p := &w.pods[n]
		switch {
		case p.lost: // its place is taken by another, but in a StatefulSet
			continue
		case p.terminating:
			terminating++
			continue
		case p.rev == w.owners[i].rev:
			news = append(news, n)
		default:
			olds = append(olds, n)
		}
		if p.ready {
			ready++
		}
	}
	byReady := func(a, b int) int { return cmp.Compare(btoi(w.pods[a].ready), btoi(w.pods[b].ready)) }
	slices.SortStableFunc(news, byReady)
	slices.SortStableFunc(olds, byReady)
	return news, olds, ready, terminating
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (w *world) workDeployment(i int) {
	o := &w.owners[i]
	news, olds, ready, terminating := w.split(i)
	total := len(news) + len(olds)
	switch {
	case o.paused:
		w.workPaused(i, olds, total)
	case o.strategy == rollout.Recreate && len(olds) > 0:
		w.terminate(&w.pods[olds[0]])
	case o.strategy == rollout.Recreate && terminating > 0:
	case total > o.desired+o.surge && len(olds) > 0:
		w.terminate(&w.pods[olds[0]])
	case len(news) < o.desired && total < o.desired+o.surge:
		w.create(i, 0, o.rev, o.mark)
	case len(olds) > 0 && (!w.pods[olds[0]].ready || ready > o.desired-o.least()):
		w.terminate(&w.pods[olds[0]])
	case len(news) > o.desired:
		w.terminate(&w.pods[news[0]])
	}
}

// least is maxUnavailable, which cannot be 0 together with the surge.
func (o *simOwner) least() int {
	if o.surge == 0 {
		return max(1, o.unavail)
	}
	return o.unavail
}

// workPaused keeps the count of pods without replacing any.
func (w *world) workPaused(i int, olds []int, total int) {
	o := &w.owners[i]
	switch {
	case total < o.desired && len(olds) > 0:
		w.create(i, 0, w.pods[olds[0]].rev, w.pods[olds[0]].mark)
	case total < o.desired:
		w.create(i, 0, o.rev, o.mark)
	case total > o.desired:
		for _, n := range w.podsOf(i) {
			if !w.pods[n].terminating {
				w.terminate(&w.pods[n])
				return
			}
		}
	}
}

func (w *world) workStatefulSet(i int) {
	o := &w.owners[i]
	at := map[int]int{}
	allReady := true
	for _, n := range w.podsOf(i) {
		p := &w.pods[n]
		at[p.ordinal] = n
		if p.ordinal >= o.desired {
			w.terminate(p)
		}
		allReady = allReady && p.ready && !p.terminating
	}
	for ordinal := range o.desired {
		n, ok := at[ordinal]
		if !ok {
			w.createOrdinal(i, ordinal)
			return
		}
		if o.ordered && (!w.pods[n].ready || w.pods[n].terminating) {
			return // as processReplica of the policy OrderedReady
		}
	}
	if o.strategy == rollout.OnDelete {
		return
	}
	for ordinal := o.desired - 1; ordinal >= o.partition; ordinal-- {
		p := &w.pods[at[ordinal]]
		if p.rev != o.rev {
			if allReady || !p.ready {
				w.terminate(p)
			}
			return
		}
	}
}

func (w *world) createOrdinal(i, ordinal int) {
	o := &w.owners[i]
	if o.strategy == rollout.OnDelete || ordinal >= o.partition {
		w.create(i, ordinal, o.rev, o.mark)
		return
	}
	w.create(i, ordinal, o.stable, markIn(o.stable))
}

// markIn reads the mark back from a revision.
func markIn(rev string) string {
	for n := range rev {
		if rev[n] == '/' {
			return rev[n+1:]
		}
	}
	return ""
}

func (w *world) workDaemonSet(i int) {
	o := &w.owners[i]
	at := map[int]int{}
	unavailable := 0
	for _, n := range w.podsOf(i) {
		p := &w.pods[n]
		at[p.node] = n
		if !p.ready || p.terminating {
			unavailable++
		}
	}
	for node := range o.desired {
		if _, ok := at[node]; !ok {
			w.create(i, node, o.rev, o.mark)
			return
		}
	}
	if o.strategy == rollout.OnDelete {
		return
	}
	for node := range o.desired {
		n, ok := at[node]
		if !ok || node == w.down || w.pods[n].rev == o.rev || w.pods[n].terminating {
			continue
		}
		if !w.pods[n].ready || unavailable < 1+btoi(w.down >= 0) {
			w.terminate(&w.pods[n])
			return
		}
	}
}
