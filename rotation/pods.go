package rotation

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// lacksRenewalsOnly remembers the answer for each trust: many pods share one.
func (s *surveyor) lacksRenewalsOnly(t *mesh.Trust) bool {
	only, ok := s.renewals[t]
	if !ok {
		only = mesh.LacksRenewalsOnly(*t, s.current, s.now)
		s.renewals[t] = only
	}
	return only
}

// count adds one pod to its workload.
func (s *surveyor) count(w *rollout.Workload, p inventory.Pod) {
	w.NewestPod = latest(w.NewestPod, p.CreatedAt)
	switch {
	case w.Key.BuiltIn() == "DaemonSet" && s.cannotReplace(p.Node):
		w.Owner.Unreachable++
		if s.mustGo(p) && !p.Exempt() {
			w.Stranded++
		}
		return
	case p.Terminating:
		w.Terminating++
		return
	}
	s.countRunning(w, p)
	switch {
	case p.Exempt():
	case s.mustGo(p):
		s.addStale(w, p)
	case p.Class == mesh.ClassRetired:
		w.RetiredPods = append(w.RetiredPods, podOf(p))
	}
}

// countRunning counts a pod that has not begun to terminate.
func (s *surveyor) countRunning(w *rollout.Workload, p inventory.Pod) {
	if s.memory.evicted[w.Key] == string(p.UID) {
		w.Owner.Lags = true // its eviction was granted and does not show yet
	}
	w.Pods++
	if w.OldestPod.IsZero() || p.CreatedAt.Before(w.OldestPod) {
		w.OldestPod = p.CreatedAt
	}
	if p.Ready {
		w.Ready++
	}
	if outdated(w, p) {
		w.Outdated++
	}
}

// outdated reports whether a pod is not of the owner's last roll.
func outdated(w *rollout.Workload, p inventory.Pod) bool {
	if until := w.AskedUpTo(); !until.IsZero() {
		return p.CreatedAt.Before(until)
	}
	return p.RestartedFor != w.RestartedFor
}

// mustGo reports whether a pod is to be replaced, if it may be.
func (s *surveyor) mustGo(p inventory.Pod) bool {
	return p.Class.Stale() || s.restart.wanted(p, s.current)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (s *surveyor) addStale(w *rollout.Workload, p inventory.Pod) {
	pod := podOf(p)
	pod.LeafOnly = !p.Class.Stale() && s.restart.outlived(p)
	w.StalePods = append(w.StalePods, pod)
	s.revisions[w.Key] = p.Revision
	w.Expired = w.Expired || p.Class == mesh.ClassExpired
	w.Broken = w.Broken || s.isBroken(p.Trust)
}

func podOf(p inventory.Pod) rollout.Pod {
	return rollout.Pod{
		Name: p.Name, UID: string(p.UID), CreatedAt: p.CreatedAt, Ready: p.Ready, Ordinal: max(p.Ordinal, 0),
		RestartedFor: p.RestartedFor,
	}
}

// cannotReplace reports whether a DaemonSet's pod on the node cannot be
// replaced now. A node that is not in the cache is taken for a good one.
func (s *surveyor) cannotReplace(name string) bool {
	node := s.nodes[name]
	if node == nil {
		return false
	}
	if node.Spec.Unschedulable {
		return true
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status != corev1.ConditionTrue
		}
	}
	return false
}

// isBroken reports whether a pod with this trust provably fails handshakes
// now: none of the anchors that verify the issuer in use can be among its own.
// Proxies do not check an anchor's own dates (facts, "Identity").
func (s *surveyor) isBroken(t *mesh.Trust) bool {
	if !s.known || t.Knowledge != mesh.Known {
		return false
	}
	broken, ok := s.broken[t]
	if !ok {
		broken = t.Maybe.Intersect(s.verifiers).Empty()
		s.broken[t] = broken
	}
	return broken
}
