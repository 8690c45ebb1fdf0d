package rotation

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/anchorrotation"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/published"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// observation is everything that one reconcile has read.
type observation struct {
	spec   v1alpha1.MeshTrustSpec
	mesh   mesh.Mesh
	bundle published.Bundle
	issuer published.Issuer
	// gate is the outcome of I9, held back by a bundle that cannot be used.
	gate rollout.Hold
	// current is the bundle in force: the last good one while the published
	// text cannot be used, then known by summary.
	current bundle.Set
	owners  []inventory.Workload
	facts   rollout.Facts
	writer  owner.Writer
	// decidedAt is when it was decided what follows from this.
	decidedAt time.Time
	// until is when that holds no more, since a window opens or closes; zero without.
	until time.Time
	// probeNamespace is the namespace that is labelled for this mesh's probes.
	probeNamespace string
	stampOrder     stampOrder
	// runs are the mesh's AnchorRotations, the oldest first.
	runs []v1alpha1.AnchorRotation
	// unfit counts the pods, exempt ones included, that do not provably trust
	// the whole bundle.
	unfit int
	// unknown counts the pods of which it cannot be told.
	unknown int
}

// pending says why a reconcile cannot go on yet; a watch will wake it.
type pending string

// observe reads the world. It brings the status up to date as far as it merely
// records what was read; with a specError, too, it returns that.
func (r *Reconciler) observe(ctx context.Context, mt *v1alpha1.MeshTrust, now time.Time) (*observation, pending, error) {
	o := &observation{spec: mt.EffectiveSpec(), mesh: mesh.FromMeshTrust(mt)}
	o.bundle = r.published.Bundle(o.spec.Bundle, now)
	o.issuer = r.published.Issuer(o.spec.Issuer, now)
	if o.bundle.Reason == "" {
		return nil, "the bundle is being read", nil
	}
	if !o.issuer.None && o.issuer.Reason == "" && len(o.issuer.Chain) == 0 {
		return nil, "the issuer is being read", nil
	}
	var err error
	if o.runs, err = r.runs(ctx, mt); err != nil {
		return nil, "", err
	}
	r.record(mt, o, now)
	history := historyOf(&mt.Status, o.bundle, now)
	owners, ok := r.inventory.Workloads(mt.Name, inventory.Question{Current: o.current, History: history, Now: now})
	if !ok {
		return nil, "the pods are being read", nil
	}
	o.owners = owners
	return o, "", r.gather(ctx, mt, o, now)
}

// record writes what was read of bundle and issuer into the status, and decides
// I9.
func (r *Reconciler) record(mt *v1alpha1.MeshTrust, o *observation, now time.Time) {
	recordBundle(&mt.Status, o.bundle, interrupted(mt), now)
	// Here and not later, since the next look needs it whatever comes of this one.
	setCondition(mt, bundleCondition(o), now)
	if !inForce(o.bundle) {
		// The last good bundle is known by summary only, by which nothing can be
		// verified: what is on record of the issuer stays.
		o.current, _ = mesh.PublishedSet(mt.Status.Bundle)
		return
	}
	o.current = o.bundle.Set
	recordIssuer(&mt.Status, o, now)
	o.gate = rollout.Gate(gateFacts(mt, o), now)
	if o.issuer.Reason != "" && o.gate.Reason != "" {
		o.gate = rollout.Hold{Reason: o.issuer.Reason, Message: o.issuer.Message}
	}
}

func gateFacts(mt *v1alpha1.MeshTrust, o *observation) rollout.GateFacts {
	f := rollout.GateFacts{
		Bundle: o.current, NoIssuer: o.issuer.None, Issuer: o.issuer.Chain, Skew: o.spec.Admission.ClockSkew.Duration,
	}
	if mt.Status.Issuer != nil {
		for _, e := range mt.Status.Issuer.Earlier {
			f.Earlier = append(f.Earlier, setOf(e.VerifiedBy, o.current))
		}
	}
	return f
}

// defaultLeafLifetime is Linkerd's (facts, "Identity").
const defaultLeafLifetime = 24 * time.Hour

func leafLifetime(spec *v1alpha1.MeshTrustSpec) time.Duration {
	if spec.Rotation != nil && spec.Rotation.LeafLifetime != nil {
		return max(defaultLeafLifetime, spec.Rotation.LeafLifetime.Duration)
	}
	return defaultLeafLifetime
}

// gather completes the facts with the owners of the pods.
func (r *Reconciler) gather(ctx context.Context, mt *v1alpha1.MeshTrust, o *observation, now time.Time) error {
	waves, err := newWaves(&o.spec)
	if err != nil {
		return specError{err}
	}
	policy, err := policyOf(&o.spec, rollable(&o.spec, o.owners), r.zones)
	if err != nil {
		return specError{err}
	}
	policy.NoFence = r.noFence
	state := stateOf(&mt.Status.Rollout, waves.names)
	s := &surveyor{
		underway: underway(state),
		reader:   owner.Reader{Cached: r.client, Live: r.live, Mesh: &o.mesh, Operators: policy.Operators, Mapper: r.client.RESTMapper()},
		policy:   policy, waves: waves,
		current: o.current, restart: o.restart(now), now: now, broken: map[*mesh.Trust]bool{}, renewals: map[*mesh.Trust]bool{}, revisions: map[rollout.Key]string{},
	}
	if s.namespaces, s.nodes, err = r.surroundings(ctx); err != nil {
		return err
	}
	if o.stampOrder, err = r.stampOrder(ctx); err != nil {
		return err
	}
	o.probeNamespace = probeNamespace(mt.Name, s.namespaces)
	s.memory = r.memory.of(mt.Name)
	s.judgeBy(mt.Status.Issuer)
	workloads, err := s.survey(ctx, o.owners)
	if err != nil {
		return err
	}
	if workloads, err = s.podless(ctx, workloads); err != nil {
		return err
	}
	r.memory.caughtUp(mt.Name, workloads)
	o.writer = owner.Writer{Client: r.client, Reader: s.reader, Policy: policy, Revisions: s.revisions}
	o.facts = rollout.Facts{
		Bundle: bundleFacts(&mt.Status), Hold: o.hold(), Policy: policy, State: state,
		Workloads: workloads, Waves: waves.names, Breaks: firstBreak(workloads), WantFence: anchorrotation.Active(o.runs),
	}
	o.facts.Fence = r.fence.evidence(mt.Name, o, now)
	o.unfit, o.unknown = countUnfit(o.owners)
	return nil
}

// judgeBy takes the issuer in use, if there is one, for what stale pods are judged by.
func (s *surveyor) judgeBy(issuer *v1alpha1.IssuerStatus) {
	if issuer == nil {
		return
	}
	s.verifiers, s.known = setOf(issuer.VerifiedBy, s.current), true
	if issuer.NotAfter != nil {
		s.issuerEnds = issuer.NotAfter.Time
	}
}

// specError is a fault of the spec that validation cannot see: a condition for
// the user, not a reason to try again.
type specError struct{ error }

// hold is why nothing may be rolled.
func (o *observation) hold() rollout.Hold {
	if o.bundle.Reason != v1alpha1.BundleUsable {
		return rollout.Hold{Reason: o.bundle.Reason, Message: o.bundle.Message}
	}
	return o.gate
}

// bundleFacts returns the bundle in force. The API keeps seconds: it was seen up
// to a second later than is written, and whoever counts a delay from then must
// not begin before it.
func bundleFacts(s *v1alpha1.MeshTrustStatus) rollout.Bundle {
	newest := newestRecord(s)
	if newest == nil {
		return rollout.Bundle{}
	}
	return rollout.Bundle{Hash: newest.Hash, PublishedAt: newest.PublishedAt.Time, SeenAt: newest.FirstSeen.Add(time.Second)}
}

// firstBreak is when the first stale pod that is to be rolled stops working; zero when
// that is not known. Rolling the others faster helps none that is left alone.
func firstBreak(workloads []rollout.Workload) time.Time {
	var first time.Time
	for i := range workloads {
		if w := &workloads[i]; w.Block.Reason == "" {
			first = earliest(first, w.Breaks)
		}
	}
	return first
}

// earliest returns the earlier of two times, of which a zero one is not known.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// breaksAt is when a stale pod with this trust stops working: when the issuer in use
// ends, or earlier when the anchor does by which the pod trusts it. One that fails
// already breaks now.
func (s *surveyor) breaksAt(t *mesh.Trust) time.Time {
	if s.issuerEnds.IsZero() {
		return time.Time{}
	}
	if s.isBroken(t) {
		return s.now
	}
	if end, ok := t.Sure.Intersect(s.verifiers).NotAfter(); ok && end.Before(s.issuerEnds) {
		return end
	}
	return s.issuerEnds
}

// countUnfit counts the pods that do not provably trust the whole bundle, and
// those of which it cannot be told; exempt ones are in no count and looked at
// one by one.
func countUnfit(owners []inventory.Workload) (unfit, unknown int) {
	for i := range owners {
		c := owners[i].Counts
		unfit += c.Stale() + c.Unknown
		unknown += c.Unknown
		if c.Exempt == 0 {
			continue
		}
		for p := range owners[i].Pods() {
			if p.Exempt() && p.Class != mesh.ClassCurrent && p.Class != mesh.ClassRetired {
				unfit++
			}
		}
	}
	return unfit, unknown
}

// probeNamespace returns the namespace that is labelled for the probes of a
// mesh, the first by name; "" for none.
func probeNamespace(mesh string, namespaces map[string]*corev1.Namespace) string {
	first := ""
	for name, ns := range namespaces {
		if ns.Labels[v1alpha1.ProbeForLabel] == mesh && (first == "" || name < first) {
			first = name
		}
	}
	return first
}

// surroundings returns the cached namespaces and nodes by name.
func (r *Reconciler) surroundings(ctx context.Context) (map[string]*corev1.Namespace, map[string]*corev1.Node, error) {
	var nsList corev1.NamespaceList
	if err := r.client.List(ctx, &nsList); err != nil {
		return nil, nil, fmt.Errorf("listing namespaces: %w", err)
	}
	var nodeList corev1.NodeList
	if err := r.client.List(ctx, &nodeList); err != nil {
		return nil, nil, fmt.Errorf("listing nodes: %w", err)
	}
	namespaces := make(map[string]*corev1.Namespace, len(nsList.Items))
	for i := range nsList.Items {
		namespaces[nsList.Items[i].Name] = &nsList.Items[i]
	}
	nodes := make(map[string]*corev1.Node, len(nodeList.Items))
	for i := range nodeList.Items {
		nodes[nodeList.Items[i].Name] = &nodeList.Items[i]
	}
	return namespaces, nodes, nil
}
