package anchorrotation

import (
	"context"
	"fmt"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// observe fills in the facts.
func (r *Reconciler) observe(ctx context.Context, w *world) error {
	f := &w.facts
	objects, err := r.Store.Read(ctx, w.mt, f.Read.Live)
	if err != nil {
		return fmt.Errorf("reading the certificates of mesh %s: %w", w.mt.Name, err)
	}
	objects.Fill(f)
	f.Mesh, f.Policy, f.Marked = w.mt.Name, policyOf(&w.spec), markedOf(w.mt)
	f.Earlier = earlierOf(w, f)
	f.Roller = rollerOf(w)
	if err := r.observeRun(ctx, w); err != nil {
		return err
	}
	if err := r.observePods(ctx, w); err != nil {
		return err
	}
	// Last, since a list of all pods takes long, and its Deployment must not have
	// changed until it is restarted: its status does whenever a replica's readiness does.
	f.Identity, err = r.identity(ctx, &w.spec)
	return err
}

// observeRun fills in what only a run asks for.
func (r *Reconciler) observeRun(ctx context.Context, w *world) error {
	if w.run == nil {
		return nil
	}
	f := &w.facts
	f.Run = runOf(w.run, known(f))
	f.Checks.Expected = expected(w)
	var err error
	if f.Checks.External, err = r.external(ctx, &w.spec, f.Read.Live); err != nil {
		return err
	}
	if phase := f.Run.State.Phase; phase == "" || phase == v1alpha1.PhasePreflight {
		if f.Checks.Missing, err = r.missing(ctx, w.mt); err != nil {
			return err
		}
		if f.Checks.Shared, err = r.shared(ctx, w); err != nil {
			return err
		}
	}
	if len(w.run.Spec.Acknowledge) > 0 && r.ServerTime != nil {
		if f.Read.ServerTime, err = r.ServerTime(ctx); err != nil {
			return fmt.Errorf("asking for the API server's time: %w", err)
		}
	}
	return nil
}

// policyOf turns the spec, with its defaults, into the lifecycle's policy.
func policyOf(spec *v1alpha1.MeshTrustSpec) lifecycle.Policy {
	ro := spec.Rotation
	p := lifecycle.Policy{
		Suspend: spec.Suspend, Layout: ro.Layout, Writer: ro.BundleWriter, Leaves: ro.Leaves,
		MaxCarryOver: int(*ro.MaxCarryOver), ExternalTrust: ro.ExternalTrust,
		FileDelay: spec.Bundle.Propagation.File.Duration, Skew: spec.Admission.ClockSkew.Duration,
	}
	if ro.LeafLifetime != nil {
		p.LeafLifetime = ro.LeafLifetime.Duration
	}
	switch {
	case ro.AnchorTemplate != nil:
		p.AnchorNamespace = ro.AnchorTemplate.Namespace
	case ro.AnchorCertificateRef != nil:
		p.AnchorNamespace = ro.AnchorCertificateRef.Namespace
	}
	return p
}

// markedOf returns the anchors that the MeshTrust's status marks as own (markOwn).
func markedOf(mt *v1alpha1.MeshTrust) bundle.Set {
	if mt.Status.Bundle == nil {
		return bundle.Set{}
	}
	var own []string
	for _, a := range mt.Status.Bundle.Anchors {
		if a.Own {
			own = append(own, a.Fingerprint)
		}
	}
	return setOf(own, bundle.Set{})
}

// known are all anchors of which more than the fingerprint is at hand.
func known(f *lifecycle.Facts) bundle.Set {
	set := f.Archive.Set.Union(f.Bundle.Set).Union(f.Carrier.Set)
	for _, c := range f.Anchors {
		if c.Issued != nil {
			set = set.Union(bundle.FromAnchors(*c.Issued))
		}
	}
	return set
}

// earlierOf returns the issuers that were in use before and whose leaves may
// live on. When the list in status was cut, what is not on it may have been
// signed by any own anchor, for as long as the longest that is.
func earlierOf(w *world, f *lifecycle.Facts) []lifecycle.Earlier {
	issuer := w.mt.Status.Issuer
	if issuer == nil {
		return nil
	}
	details := known(f)
	var out []lifecycle.Earlier
	var last time.Time
	for _, e := range LiveIssuers(issuer.Earlier, w.runs) {
		out = append(out, lifecycle.Earlier{SignedBy: setOf(e.VerifiedBy, details), LeavesUntil: e.LeavesUntil.Time})
		if e.LeavesUntil.After(last) {
			last = e.LeavesUntil.Time
		}
	}
	if int(issuer.EarlierTotal) > len(issuer.Earlier) && !last.IsZero() {
		g := *f
		g.Earlier = out // what signed these is own
		out = append(out, lifecycle.Earlier{SignedBy: lifecycle.OwnAnchors(&g), LeavesUntil: last})
	}
	return out
}

// setOf restores a set from fingerprints, in as much detail as there is.
func setOf(fingerprints []string, details bundle.Set) bundle.Set {
	var anchors []bundle.Anchor
	for _, text := range fingerprints {
		f, err := bundle.ParseFingerprint(text)
		if err != nil {
			continue
		}
		anchor, ok := details.Anchor(f)
		if !ok {
			anchor = bundle.Anchor{Fingerprint: f}
		}
		anchors = append(anchors, anchor)
	}
	return bundle.FromAnchors(anchors...)
}

// rollerOf reads off the MeshTrust's status how far the roller is. A fence
// counts for the latest publication of the bundle only.
func rollerOf(w *world) lifecycle.Roller {
	s := &w.mt.Status
	out := lifecycle.Roller{
		BundleHash: s.Rollout.BundleHash,
		NoInjector: w.spec.Profile != v1alpha1.ProfileLinkerd,
		Total:      int(s.Workloads.Total),
		Done:       int(s.Workloads.Total - s.Workloads.Stale - s.Workloads.Unknown),
	}
	if fence := s.Rollout.Fence; fence != nil && fence.BundleHash == s.Rollout.BundleHash && len(s.History) > 0 &&
		!fence.At.Time.Before(s.History[0].FirstSeen.Time) {
		out.FencedAt = fence.At.Time
	}
	if c := apimeta.FindStatusCondition(s.Conditions, v1alpha1.ConditionConverged); c != nil {
		out.Message = c.Message
	}
	if i := s.Issuer; i != nil {
		out.Issuer = &lifecycle.RecordedIssuer{VerifiedBy: setOf(i.VerifiedBy, bundle.Set{})}
		if i.SignedSince != nil {
			out.Issuer.Since = i.SignedSince.Time
		}
	}
	return out
}

// unmeasured is how long a roll is taken for while none was measured.
const unmeasured = 30 * time.Second

// expected is how long rolling everything will take: the rounds that the budget
// allows, each as long as a roll took so far, and the delays before.
func expected(w *world) time.Duration {
	each := unmeasured
	if m := w.mt.Status.Rollout.Measured; m != nil && m.Workloads > 0 {
		each = max(time.Second, time.Duration(m.TotalSeconds)*time.Second/time.Duration(m.Workloads))
	}
	total := int(w.mt.Status.Workloads.Total)
	budget, err := intstr.GetScaledValueFromIntOrPercent(w.spec.Rollout.MaxConcurrent, total, true)
	if err != nil {
		budget = 1
	}
	rounds := (total + max(budget, 1) - 1) / max(budget, 1)
	delays := w.spec.Bundle.Propagation.File.Duration + w.spec.Bundle.Propagation.Environment.Duration
	return delays + time.Duration(rounds)*each
}
