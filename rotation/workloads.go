package rotation

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// surveyor turns the owners in the inventory into the planner's workloads.
type surveyor struct {
	reader owner.Reader
	policy rollout.Policy
	waves  waves
	// namespaces and nodes are those of the cache.
	namespaces map[string]*corev1.Namespace
	nodes      map[string]*corev1.Node
	// verifiers are the anchors that verify the issuer in use; known says
	// whether there is such a thing.
	verifiers bundle.Set
	known     bool
	current   bundle.Set
	now       time.Time
	// memory is the controller's of its own writes.
	memory remembered

	broken map[*mesh.Trust]bool
	// revisions holds, of each Deployment with a stale pod, the revision of one:
	// its ReplicaSet must be the Deployment's own before anything is written.
	revisions map[rollout.Key]string
}

// survey returns the planner's view of every owner.
func (s *surveyor) survey(ctx context.Context, owners []inventory.Workload) ([]rollout.Workload, error) {
	out := make([]rollout.Workload, 0, len(owners))
	for i := range owners {
		workloads, err := s.one(ctx, &owners[i])
		if err != nil {
			return nil, err
		}
		out = append(out, workloads...)
	}
	return out, nil
}

// podless adds the workloads that the state names and that have no member pod
// at this moment, such as one whose only pod was just evicted: they are in
// flight all the same. Of a kind that is nothing but its pods that is the end.
func (s *surveyor) podless(ctx context.Context, seen []rollout.Workload, state rollout.State) ([]rollout.Workload, error) {
	there := make(map[rollout.Key]bool, len(seen))
	for i := range seen {
		there[seen[i].Key] = true
	}
	var keys []rollout.Key
	for _, r := range state.InProgress {
		keys = append(keys, r.Key)
	}
	for _, f := range state.Failed {
		keys = append(keys, f.Key)
	}
	for _, key := range keys {
		if there[key] {
			continue
		}
		there[key] = true
		o, err := s.read(ctx, key)
		if err != nil {
			return nil, err
		}
		if o.Spec.Found {
			seen = append(seen, s.describe(o, nil))
		}
	}
	return seen, nil
}

// one returns the workload; several when its pods turn out to be owned by the
// ReplicaSets of a Deployment that is gone.
func (s *surveyor) one(ctx context.Context, w *inventory.Workload) ([]rollout.Workload, error) {
	var all []inventory.Pod
	for p := range w.Pods() {
		all = append(all, p)
	}
	o, err := s.read(ctx, rollout.Key(w.Key))
	if err != nil {
		return nil, err
	}
	if o.Spec.Found || w.Key.Kind != "Deployment" {
		return []rollout.Workload{s.describe(o, all)}, nil
	}
	var out []rollout.Workload
	for _, group := range byRevision(all) {
		key := rollout.Key(w.Key)
		key.Kind, key.Name = "ReplicaSet", key.Name+"-"+group[0].Revision
		if o, err = s.read(ctx, key); err != nil {
			return nil, err
		}
		out = append(out, s.describe(o, group))
	}
	return out, nil
}

func (s *surveyor) read(ctx context.Context, key rollout.Key) (owner.Owner, error) {
	var annotations map[string]string
	if ns := s.namespaces[key.Namespace]; ns != nil {
		annotations = ns.Annotations
	}
	o, err := s.reader.Read(ctx, key, owner.SurroundingsOf(annotations))
	if err != nil {
		return o, fmt.Errorf("surveying: %w", err)
	}
	return o, nil
}

func byRevision(pods []inventory.Pod) [][]inventory.Pod {
	var groups [][]inventory.Pod
	index := map[string]int{}
	for _, p := range pods {
		i, ok := index[p.Revision]
		if !ok {
			i = len(groups)
			index[p.Revision], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

// describe puts together what is known of the owner and of its pods.
func (s *surveyor) describe(o owner.Owner, pods []inventory.Pod) rollout.Workload {
	key := o.Spec.Key
	w := rollout.Workload{
		Key: key, Owner: o.State, RestartedFor: o.RestartedFor, RestartAt: o.RestartAt,
		EvictionRefused: s.memory.refused[key],
		Wave:            s.waves.of(s.namespaces[key.Namespace]),
	}
	written := s.memory.written[key]
	w.WrittenAt, w.Owner.Lags = written.at, o.Spec.Found && o.Generation < written.generation
	runsToEnd := key.Kind == "Job"
	renewals := true
	for _, p := range pods {
		if p.ControlPlane {
			w.Wave = 0
		}
		runsToEnd = runsToEnd || p.RunsToEnd
		s.count(&w, p)
		if p.Class.Stale() {
			renewals = renewals && p.Class == mesh.ClassMissing && mesh.LacksRenewalsOnly(*p.Trust, s.current, s.now)
		}
	}
	w.RenewalOnly = renewals && len(w.StalePods) > 0
	spec := o.Spec
	if runsToEnd {
		spec.Key.Kind = "Job"
	}
	w.Verb, w.Block = rollout.VerbFor(spec, s.policy)
	return w
}

// count adds one pod to its workload.
func (s *surveyor) count(w *rollout.Workload, p inventory.Pod) {
	w.NewestPod = latest(w.NewestPod, p.CreatedAt)
	if p.Terminating {
		w.Terminating++
		return
	}
	if s.memory.evicted[w.Key] == string(p.UID) {
		w.Owner.Lags = true // its eviction was granted and does not show yet
	}
	w.Pods++
	if p.Ready {
		w.Ready++
	}
	switch {
	case p.Exempt():
	case w.Key.Kind == "DaemonSet" && p.Class.Stale() && s.cannotReplace(p.Node):
		w.Owner.Unreachable++
	case p.Class.Stale():
		s.addStale(w, p)
	case p.Class == mesh.ClassRetired:
		w.RetiredPods = append(w.RetiredPods, podOf(p))
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (s *surveyor) addStale(w *rollout.Workload, p inventory.Pod) {
	w.StalePods = append(w.StalePods, podOf(p))
	s.revisions[w.Key] = p.Revision
	w.Expired = w.Expired || p.Class == mesh.ClassExpired
	w.Broken = w.Broken || s.isBroken(p.Trust)
}

func podOf(p inventory.Pod) rollout.Pod {
	return rollout.Pod{Name: p.Name, UID: string(p.UID), CreatedAt: p.CreatedAt, Ready: p.Ready, Ordinal: max(p.Ordinal, 0)}
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

// waves assigns namespaces to waves. The control plane is the first, whatever
// the spec says; what no wave selects is rolled with the last.
type waves struct {
	names        []string
	selectors    []labels.Selector
	controlPlane string
}

func newWaves(spec *v1alpha1.MeshTrustSpec) (waves, error) {
	out := waves{names: []string{v1alpha1.WaveControlPlane}, selectors: []labels.Selector{labels.Nothing()}}
	if spec.Profile != v1alpha1.ProfileGeneric {
		out.controlPlane = spec.ControlPlaneNamespace
	}
	for _, w := range spec.Rollout.Waves {
		selector, err := metav1.LabelSelectorAsSelector(w.NamespaceSelector)
		if err != nil {
			return waves{}, fmt.Errorf("reading spec.rollout.waves, wave %s: %w", w.Name, err)
		}
		if w.Name == v1alpha1.WaveControlPlane {
			out.selectors[0] = selector
			continue
		}
		out.names, out.selectors = append(out.names, w.Name), append(out.selectors, selector)
	}
	if out.names[len(out.names)-1] != v1alpha1.WaveRest {
		out.names, out.selectors = append(out.names, v1alpha1.WaveRest), append(out.selectors, labels.Everything())
	}
	return out, nil
}

// of returns the index of the namespace's wave.
func (w waves) of(ns *corev1.Namespace) int {
	last := len(w.names) - 1
	if ns == nil {
		return last
	}
	if w.controlPlane != "" && ns.Name == w.controlPlane {
		return 0
	}
	for i, selector := range w.selectors {
		if selector.Matches(labels.Set(ns.Labels)) {
			return i
		}
	}
	return last
}
