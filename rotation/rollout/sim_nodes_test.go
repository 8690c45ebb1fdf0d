package rollout_test

import "slices"

// loseNode is a node that is not ready any more, and was tainted for so long that
// its pods are to end: they stay, since nobody there can end them. Those of
// DaemonSets, which tolerate that, go down with a node of their own.
func (w *world) loseNode() {
	for i := range w.pods {
		p := &w.pods[i]
		if p.lost || p.outside || w.owners[p.owner].key.Kind == "DaemonSet" || w.rng.IntN(4) > 0 {
			continue
		}
		w.terminate(p)
		w.logf("pod %d of %s is lost with its node", p.id, w.owners[p.owner].key)
		p.lost, p.ready, p.endsSince, w.dirty = true, false, w.now, true
		w.tally["pods that were lost"]++
	}
}

// nodeBack lets the pods of lost nodes end.
func (w *world) nodeBack() {
	for i := range w.pods {
		if p := &w.pods[i]; p.lost {
			w.logf("pod %d of %s ends with its node back", p.id, w.owners[p.owner].key)
			p.lost, p.endsSince, w.dirty = false, w.now, true
		}
	}
}

// lost is how many pods of an owner cannot end.
func (w *world) lost(o *simOwner) int {
	n := 0
	for i := range w.pods {
		n += btoi(w.pods[i].lost && w.owners[w.pods[i].owner].key == o.key)
	}
	return n
}

func countLost(pods []simPod) int {
	n := 0
	for i := range pods {
		n += btoi(pods[i].lost)
	}
	return n
}

// lostLong says whether a pod of the owner was lost so long ago that this was seen.
func (w *world) lostLong(i int) bool {
	return slices.ContainsFunc(w.pods, func(p simPod) bool { return p.owner == i && p.lost && w.now.Sub(p.endsSince) > lately })
}
