package rotation

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

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
	// whether there is such a thing, and issuerEnds when that ends; zero when it is
	// not known.
	verifiers  bundle.Set
	known      bool
	issuerEnds time.Time
	current    bundle.Set
	restart    restart
	now        time.Time
	// memory is the controller's of its own writes.
	memory remembered

	broken, renewals map[*mesh.Trust]bool
	// underway are the workloads that the state names, with the verb of those that
	// are being rolled: of these every pod counts.
	underway map[rollout.Key]v1alpha1.Verb
	// revisions holds, of each Deployment with a stale or else a retired pod, the
	// revision of one: its ReplicaSet must be the Deployment's own before anything is
	// written.
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

// underway returns the workloads that the state names.
func underway(state rollout.State) map[rollout.Key]v1alpha1.Verb {
	verbs := make(map[rollout.Key]v1alpha1.Verb, len(state.InProgress)+len(state.Failed))
	for _, f := range state.Failed {
		verbs[f.Key] = ""
	}
	for _, r := range state.InProgress {
		verbs[r.Key] = r.Verb
	}
	return verbs
}

// podless adds the workloads that the state names and that have no member pod
// at this moment, such as one whose only pod was just evicted: they are in
// flight all the same. Of a kind that is nothing but its pods that is the end.
func (s *surveyor) podless(ctx context.Context, seen []rollout.Workload) ([]rollout.Workload, error) {
	for i := range seen {
		delete(s.underway, seen[i].Key)
	}
	for key := range s.underway {
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
	key := rollout.Key(w.Key)
	_, named := s.underway[key]
	quiet := idle(w) && !s.restart.any(w) && !named
	if quiet && s.readLive(key) {
		return []rollout.Workload{s.summary(owner.Owner{Spec: rollout.OwnerSpec{Key: key, Found: true}}, w)}, nil
	}
	o, err := s.read(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case !o.Spec.Found && key.BuiltIn() == "Deployment":
		return s.orphans(ctx, key, slices.Collect(w.Pods()))
	case quiet:
		return []rollout.Workload{s.summary(o, w)}, nil
	default:
		return []rollout.Workload{s.describe(o, slices.Collect(w.Pods()))}, nil
	}
}

// orphans returns the ReplicaSets of a Deployment that does not exist any more:
// deleted without its dependents, it leaves them to themselves.
func (s *surveyor) orphans(ctx context.Context, key rollout.Key, pods []inventory.Pod) ([]rollout.Workload, error) {
	deployment := key.Name
	var out []rollout.Workload
	for _, group := range byRevision(pods) {
		key.Kind, key.Name = "ReplicaSet", deployment+"-"+group[0].Revision
		o, err := s.read(ctx, key)
		if err != nil {
			return nil, err
		}
		out = append(out, s.describe(o, group))
	}
	return out, nil
}

// idle reports whether no pod of the workload calls for anything: most do not,
// and then their number is all that matters.
func idle(w *inventory.Workload) bool { return w.Counts.Stale() == 0 && w.Counts.Retired == 0 }

// readLive reports whether owners of the kind are not cached: they are read
// only when their pods call for it, so that reads follow changes.
func (s *surveyor) readLive(key rollout.Key) bool {
	switch key.BuiltIn() {
	case "ReplicaSet", "ReplicationController", "Rollout":
		return true
	default:
		return s.policy.Operators.For(key) != nil
	}
}

// summary describes an idle workload without looking at its pods.
func (s *surveyor) summary(o owner.Owner, w *inventory.Workload) rollout.Workload {
	out := s.begin(o)
	if s.readLive(rollout.Key(w.Key)) {
		out.Owner.Observed = true
	}
	if w.ControlPlane {
		out.Wave = 0
	}
	out.Pods, out.Ready, out.Terminating, out.NewestPod = w.Counts.Total-w.Terminating, w.Ready, w.Terminating, w.NewestPod
	if w.Terminating > 0 {
		for p := range w.Pods() {
			if p.Terminating && s.outlivesNode(p) {
				out.Lost++
			}
		}
		out.Terminating -= out.Lost
	}
	out.Verb, out.Block = rollout.VerbFor(o.Spec, s.policy)
	return out
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
	w := s.begin(o)
	renewals, places := true, s.places(o, pods)
	for _, p := range pods {
		if p.ControlPlane {
			w.Wave = 0
		}
		w.RunsToEnd = w.RunsToEnd || p.RunsToEnd
		s.count(&w, p, places(p))
		if s.mustGo(p) {
			renewals = renewals && p.Class == mesh.ClassMissing && s.lacksRenewalsOnly(p.Trust)
		}
	}
	w.RenewalOnly = renewals && len(w.StalePods) > 0
	spec := o.Spec
	spec.RunsToEnd, spec.Lost = w.RunsToEnd, w.Lost
	w.Verb, w.Block = rollout.VerbFor(spec, s.policy)
	return w
}

// begin describes what follows from the owner alone.
func (s *surveyor) begin(o owner.Owner) rollout.Workload {
	key := o.Spec.Key
	w := rollout.Workload{
		Key: key, Owner: o.State, RestartedFor: o.RestartedFor, RestartAt: o.RestartAt, AskedAt: o.AskedAt,
		Annotation: o.Annotation, Refused: s.memory.refused[key].by,
		Wave: s.waves.of(s.namespaces[key.Namespace]),
	}
	if written := s.memory.written[key]; written.uid == o.UID {
		w.WrittenAt, w.Owner.Lags = written.at, o.Spec.Found && o.Generation < written.generation
	}
	return w
}
