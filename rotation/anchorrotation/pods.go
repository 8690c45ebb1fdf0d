package anchorrotation

import (
	"context"
	"fmt"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// observePods fills in the pods of the mesh: from the inventory or, for a gate,
// from a list of all pods of the cluster, without a label selector.
func (r *Reconciler) observePods(ctx context.Context, w *world) error {
	f := &w.facts
	index := r.Inventory
	if f.Read.Live {
		var err error
		if index, err = inventory.Build(ctx, r.PodClient, inventory.Scope{}, mesh.FromMeshTrust(w.mt)); err != nil {
			return fmt.Errorf("reading the pods for a gate: %w", err)
		}
	}
	now := r.Clock.Now()
	workloads, ok := index.Workloads(w.mt.Name, inventory.Question{
		Current: f.Bundle.Set, History: historyOf(&w.mt.Status, f.Bundle, known(f), now), Now: now,
	})
	if !ok {
		w.pending = "the pods are being read"
		f.PodsUnknown = true
		return nil
	}
	f.Pods = podsOf(workloads, heldBack(&w.mt.Status.Rollout))
	return nil
}

// historyOf returns the history as the profiles use it, in as much detail as
// there is. What is published at this moment is in force.
func historyOf(s *v1alpha1.MeshTrustStatus, b lifecycle.Bundle, details bundle.Set, now time.Time) mesh.History {
	history := mesh.HistoryOf(s)
	for i := range history {
		history[i].Set = details.Intersect(history[i].Set).Union(history[i].Set)
	}
	if n := len(history); n > 0 && b.Unusable.Reason == "" && history[n-1].Set.Equal(b.Set) && history[n-1].LastSeen.Before(now) {
		history[n-1].LastSeen = now
	}
	return history
}

// heldBack returns why workloads are not rolled, as the roller reports it.
func heldBack(s *v1alpha1.RolloutStatus) map[v1alpha1.WorkloadRef]v1alpha1.Reason {
	out := make(map[v1alpha1.WorkloadRef]v1alpha1.Reason, len(s.Blocked)+len(s.Failed))
	for _, b := range s.Blocked {
		out[b.WorkloadRef] = b.Reason
	}
	for _, b := range s.Failed {
		out[b.WorkloadRef] = b.Reason
	}
	return out
}

func podsOf(workloads []inventory.Workload, held map[v1alpha1.WorkloadRef]v1alpha1.Reason) []lifecycle.Pod {
	var out []lifecycle.Pod
	for i := range workloads {
		w := &workloads[i]
		ref := v1alpha1.WorkloadRef{Group: w.Key.Group, Kind: w.Key.Kind, Namespace: w.Key.Namespace, Name: w.Key.Name}
		for p := range w.Pods() {
			out = append(out, lifecycle.Pod{
				Workload: ref, Namespace: p.Namespace, Name: p.Name, Node: p.Node, CreatedAt: p.CreatedAt,
				// No process of a pod is older than the pod. Later starts inside of
				// it are not told apart, which makes a gate wait, never open.
				StartedAt: p.CreatedAt,
				Trust:     p.Trust, NotRolled: notRolled(p, held[ref], w.Key.Kind),
			})
		}
	}
	return out
}

// notRolled is why the roller leaves a pod alone; empty when it does not.
func notRolled(p inventory.Pod, held v1alpha1.Reason, kind string) v1alpha1.Reason {
	switch {
	case p.Mirror:
		return v1alpha1.MirrorPod
	case p.OptedOut:
		return v1alpha1.OptedOut
	case held != "":
		return held
	case kind == "Job" || p.RunsToEnd:
		return v1alpha1.JobPod
	case kind == inventory.KindPod:
		return v1alpha1.BarePod
	default:
		return ""
	}
}
