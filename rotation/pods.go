package rotation

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/owner"
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

// count adds one pod to its workload. A cordoned node keeps no pod of a DaemonSet
// from being replaced, so whoever waits for the DaemonSet waits for that too.
func (s *surveyor) count(w *rollout.Workload, p inventory.Pod, place place) {
	w.NewestPod = latest(w.NewestPod, p.CreatedAt)
	switch {
	case place == lost:
		w.Owner.Unreachable++
		s.strand(w, p)
		return
	case p.Terminating && s.outlivesNode(p):
		w.Lost++
		s.strand(w, p)
		return
	case p.Terminating:
		w.Terminating++
		return
	}
	s.countRunning(w, p)
	switch {
	case p.Exempt():
	case place == cordoned:
		s.strand(w, p)
	case s.mustGo(p):
		s.addStale(w, p)
	case p.Class == mesh.ClassRetired:
		w.RetiredPods = append(w.RetiredPods, podOf(p))
		s.revisions[w.Key] = cmp.Or(s.revisions[w.Key], p.Revision)
	}
}

// outlivesNode reports whether a pod that was told to end stays for as long as its
// node is out: only the kubelet there can end it, and until the node is back or its
// object is deleted nobody knows whether it did. Such a pod does not come back, and
// no built-in controller waits for it but that of a StatefulSet (see
// rollout.OwnerSpec). If it counted, one node that is dead would keep its workloads'
// places in the budget for ever, and fail all their rolls. So what is bounded (I4) is
// what a roll takes away: a replacement that is missing counts, by its owner's status.
// Nothing passes a gate on trust by this (I8): the pod is named as stranded, if it is
// stale, and counts in the inventory.
//
// The pods of a node whose object is gone are deleted by force within a minute (by
// PodGC, in gcOrphaned), and one that the cache lacks may merely be new.
func (s *surveyor) outlivesNode(p inventory.Pod) bool {
	ready, _ := s.nodeOf(p)
	return !ready
}

// strand counts a pod that stays as it is because of its node.
func (s *surveyor) strand(w *rollout.Workload, p inventory.Pod) {
	if s.mustGo(p) && !p.Exempt() {
		w.Stranded++
	}
}

// countRunning counts a pod that has not begun to terminate.
func (s *surveyor) countRunning(w *rollout.Workload, p inventory.Pod) {
	if _, evicted := s.memory.evicted[p.UID]; evicted {
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
	if p.Class.Stale() {
		w.Breaks = earliest(w.Breaks, s.breaksAt(p.Trust))
	}
}

func podOf(p inventory.Pod) rollout.Pod {
	return rollout.Pod{
		Name: p.Name, UID: string(p.UID), CreatedAt: p.CreatedAt, Ready: p.Ready, Ordinal: max(p.Ordinal, 0),
		RestartedFor: p.RestartedFor,
	}
}

// place is what the node of a pod means to a roll.
type place uint8

const (
	// within: the roll replaces the pod.
	within place = iota
	// cordoned: the pod alone is no reason for a roll, but one of its owner's would
	// replace it.
	cordoned
	// lost: it cannot be replaced now.
	lost
)

// places returns what the nodes mean to the owner's pods, of which only those of
// DaemonSets are bound to them. A node that is not ready starts no pod. One that
// is cordoned does: the controller of a DaemonSet that replaces its pods by its
// template goes on there, while Reanchor neither evicts pods there nor begins a
// roll for them.
func (s *surveyor) places(o owner.Owner, pods []inventory.Pod) func(inventory.Pod) place {
	if o.Spec.Key.BuiltIn() != "DaemonSet" {
		return func(inventory.Pod) place { return within }
	}
	onCordoned, verb := lost, s.underway[o.Spec.Key]
	if o.State.ByTemplate && !o.Spec.EvictOnly && verb != v1alpha1.VerbEvict {
		onCordoned = cordoned
		if verb == v1alpha1.VerbRestart || slices.ContainsFunc(pods, s.callsForRoll) {
			onCordoned = within
		}
	}
	return func(p inventory.Pod) place {
		switch ready, unschedulable := s.nodeOf(p); {
		case !ready:
			return lost
		case unschedulable:
			return onCordoned
		default:
			return within
		}
	}
}

// callsForRoll reports whether the pod is to be replaced, on a node that is as it
// should be.
func (s *surveyor) callsForRoll(p inventory.Pod) bool {
	ready, unschedulable := s.nodeOf(p)
	return ready && !unschedulable && s.mustGo(p) && !p.Exempt() && !p.Terminating
}

// nodeOf tells of the pod's node. One that is not in the cache is taken for a good
// one.
func (s *surveyor) nodeOf(p inventory.Pod) (ready, unschedulable bool) {
	node := s.nodes[p.Node]
	if node == nil {
		return true, false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue, node.Spec.Unschedulable
		}
	}
	return true, node.Spec.Unschedulable
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
