package inventory

import (
	"iter"
	"slices"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
)

// Question is the world in which the pods of a mesh are judged.
type Question struct {
	// Current is the published bundle.
	Current bundle.Set
	// History is that of the published object, Current included.
	History mesh.History
	// Now is the present, by the API server's clock as far as known.
	Now time.Time
}

// Workload is an owner of member pods and their state.
type Workload struct {
	Key Key
	// Counts counts its pods by class.
	Counts Counts
	// Ready are those that are ready and not terminating; Terminating those
	// that have begun to terminate.
	Ready, Terminating int
	// NewestPod is the creation time of its newest pod; zero when unknown.
	NewestPod time.Time
	// ControlPlane says that a pod of it is part of the mesh's own control
	// plane, Injector that one writes the bundle into other pods.
	ControlPlane, Injector bool

	pods []verdict
}

// Counts counts pods by class, as in the status of a MeshTrust: Exempt pods are
// in Total and in no class. Terminating pods count like others: they still run.
type Counts struct{ Total, Current, Missing, Expired, Retired, Unknown, Exempt int }

// Stale is how many pods lack something.
func (c Counts) Stale() int { return c.Missing + c.Expired }

// Plus returns the sum.
func (c Counts) Plus(o Counts) Counts {
	return Counts{
		Total: c.Total + o.Total, Current: c.Current + o.Current, Missing: c.Missing + o.Missing, Expired: c.Expired + o.Expired,
		Retired: c.Retired + o.Retired, Unknown: c.Unknown + o.Unknown, Exempt: c.Exempt + o.Exempt,
	}
}

// Pod is a member pod and its verdict.
type Pod struct {
	Namespace, Name string
	UID             types.UID
	// CreatedAt is the API server's creation time.
	CreatedAt time.Time
	// Node is empty while the pod is not scheduled.
	Node string
	// Revision is the template revision that its owner's controller labelled it
	// with, or "".
	Revision string
	// RestartedFor is the mark that its owner's template had when it was made.
	RestartedFor string
	// Ordinal is that of a StatefulSet's pod, -1 for others.
	Ordinal int
	// Phase is Pending, Running or Unknown: a pod that has ended is no member.
	Phase              corev1.PodPhase
	Ready, Terminating bool
	// Mirror says that a kubelet runs it from a file; OptedOut that its template
	// is annotated reanchor.dev/opt-out for the rollout or for everything.
	Mirror, OptedOut bool
	// RunsToEnd says that its restartPolicy is not Always: it is meant to end by
	// itself, whoever owns it.
	RunsToEnd              bool
	ControlPlane, Injector bool
	// Trust is its effective trust and Class what that is worth. Pods that trust
	// the same have the same pointer, so that what is derived from it can be
	// remembered by it. It must not be modified.
	Trust *mesh.Trust
	Class mesh.Class
}

// Exempt reports whether the pod is never touched, by its own word.
func (p Pod) Exempt() bool { return p.Mirror || p.OptedOut }

// Pods yields the pods of the workload, sorted by name.
func (w *Workload) Pods() iter.Seq[Pod] {
	return func(yield func(Pod) bool) {
		// Sorted here and not before, since few workloads are looked into.
		for _, v := range slices.SortedFunc(slices.Values(w.pods), compareNames) {
			if !yield(v.pod(w.Key.Namespace)) {
				return
			}
		}
	}
}

// Workloads returns the owners of all members of the mesh, sorted by Key, as
// they are judged in the light of the question. It is false when the mesh is
// not synced: then nothing is known, least of all that there are no pods.
//
// The answer is a snapshot and independent of later events. For 100,000 pods it
// takes some tens of milliseconds and a few megabytes.
func (x *Index) Workloads(name string, q Question) ([]Workload, bool) {
	x.mu.RLock()
	m := x.meshes[name]
	if m == nil || !m.synced {
		x.mu.RUnlock()
		return nil, false
	}
	config, records := m.mesh, make([]*record, 0, len(m.pods))
	for _, r := range m.pods {
		records = append(records, r)
	}
	x.mu.RUnlock()

	j := newJudge(config, q, x.texts)
	workloads := group(records)
	for i := range workloads {
		workloads[i].judge(j)
	}
	return workloads, true
}

// group returns the owners of the records with their pods, sorted by Key and not
// judged yet. All share one array of verdicts: an owner has few pods, and there
// are many owners.
func group(records []*record) []Workload {
	type place struct {
		key          Key
		count, begin int
	}
	places := map[unique.Handle[ownerKey]]*place{}
	var sorted []*place
	of := make([]*place, len(records))
	for i, r := range records {
		p := places[r.owner]
		if p == nil {
			p = &place{key: r.owner.Value().key()}
			places[r.owner] = p
			sorted = append(sorted, p)
		}
		p.count++
		of[i] = p
	}
	slices.SortFunc(sorted, func(a, b *place) int { return a.key.Compare(b.key) })
	workloads := make([]Workload, len(sorted))
	verdicts, end := make([]verdict, len(records)), 0
	for i, p := range sorted {
		p.begin, end = end, end+p.count
		workloads[i] = Workload{Key: p.key, pods: verdicts[p.begin:end:end]}
	}
	for i, r := range records {
		verdicts[of[i].begin].record = r
		of[i].begin++
	}
	return workloads
}

// judge fills in everything that follows from the pods.
func (w *Workload) judge(j *judge) {
	newest := int64(0)
	for i := range w.pods {
		v := &w.pods[i]
		v.judgement = j.judge(v.record)
		w.Counts.add(v)
		f := v.record.flags
		if f.has(terminating) {
			w.Terminating++
		} else if f.has(ready) {
			w.Ready++
		}
		newest = max(newest, v.record.created)
		w.ControlPlane = w.ControlPlane || f.has(controlPlane)
		w.Injector = w.Injector || f.has(injector)
	}
	if newest > 0 {
		w.NewestPod = time.Unix(newest, 0)
	}
}

func (c *Counts) add(v *verdict) {
	c.Total++
	switch {
	case v.record.flags.has(isMirror | optedOut):
		c.Exempt++
	case v.class == mesh.ClassCurrent:
		c.Current++
	case v.class == mesh.ClassMissing:
		c.Missing++
	case v.class == mesh.ClassExpired:
		c.Expired++
	case v.class == mesh.ClassRetired:
		c.Retired++
	default:
		c.Unknown++
	}
}
