package lifecycle

import (
	"cmp"
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
)

// SwitchQuestion asks whether the issuer may be signed by another anchor.
type SwitchQuestion struct {
	Pods []Pod
	To   bundle.Anchor
	// SignedBy are the anchors that signed the issuers in use; empty when that is
	// not known.
	SignedBy bundle.Set
	// Covered says whether a pod was acknowledged.
	Covered func(*Pod) bool
}

// SwitchGate decides invariant I1. It returns what is in the way: every pod
// that may verify today's issuer, was not acknowledged and does not provably
// trust the anchor. A pod of which nothing is known is in the way (I8).
func SwitchGate(q SwitchQuestion) []Blocked {
	var out []Blocked
	for i := range q.Pods {
		p := &q.Pods[i]
		switch {
		case trusts(p.Trust, q.To) || !mayVerify(p.Trust, q.SignedBy):
		case q.Covered != nil && q.Covered(p):
		default:
			out = append(out, Blocked{nameOf(p), untrusting(p, q.To)})
		}
	}
	return distinct(out)
}

// trusts reports whether a process provably trusts the anchor: it has it, or
// one with the same key and subject.
func trusts(t *mesh.Trust, to bundle.Anchor) bool {
	switch {
	case t == nil || t.Knowledge == mesh.Unknown:
		return false
	case t.Knowledge == mesh.Reloads || t.Sure.Contains(to.Fingerprint):
		return true
	}
	return slices.ContainsFunc(t.Sure.Anchors(), to.SameKeyAndName)
}

// mayVerify reports whether a process may verify what one of the anchors
// signed.
func mayVerify(t *mesh.Trust, signers bundle.Set) bool {
	if t == nil || t.Knowledge != mesh.Known || signers.Empty() {
		return true
	}
	return slices.ContainsFunc(signers.Anchors(), func(s bundle.Anchor) bool {
		return t.Maybe.Contains(s.Fingerprint) || slices.ContainsFunc(t.Maybe.Anchors(), s.SameKeyAndName)
	})
}

func untrusting(p *Pod, to bundle.Anchor) Hold {
	what := "pod " + p.Name + " does not trust the anchor " + to.Fingerprint.Short()
	reason := v1alpha1.PodsDoNotTrust
	if p.Trust == nil || p.Trust.Knowledge == mesh.Unknown {
		reason, what = v1alpha1.TrustUnknown, "what pod "+p.Name+" trusts cannot be told"
		if p.Trust != nil && p.Trust.Why != "" {
			what += ": " + p.Trust.Why
		}
	}
	return Hold{cmp.Or(p.NotRolled, reason), what + "; restart it, or acknowledge it"}
}

// LeafQuestion asks whether a live leaf may come from an issuer before the one
// in use.
type LeafQuestion struct {
	Pods []Pod
	// InUseAt is when leaves were proven to come from the issuer in use; zero
	// when they were not.
	InUseAt time.Time
	// Lifetime bounds a leaf's life and LeafSkew is what the signer adds to it;
	// a Lifetime of zero is unknown.
	Lifetime, LeafSkew time.Duration
	// Skew is how far two clocks may be apart.
	Skew    time.Duration
	Covered func(*Pod) bool
}

// End is when the last leaf of an earlier issuer has ended, whoever holds it;
// zero when that cannot be told. Two differences of clocks enter: that between
// the signer and the process that verifies, and that between the controllers
// that took the times.
func (q LeafQuestion) End() time.Time {
	if q.InUseAt.IsZero() || q.Lifetime <= 0 {
		return time.Time{}
	}
	return q.InUseAt.Add(q.Lifetime + q.LeafSkew + 2*q.Skew)
}

// LeafGate decides invariant I2: it returns the pods that may hold a leaf of an
// earlier issuer. A leaf is new if its proxy started, by the node's clock, after
// the issuer came into use, and all are once End has passed.
func LeafGate(q LeafQuestion, now time.Time) []Blocked {
	if end := q.End(); !end.IsZero() && now.After(end) {
		return nil
	}
	var out []Blocked
	for i := range q.Pods {
		p := &q.Pods[i]
		fresh := !q.InUseAt.IsZero() && p.StartedAt.After(q.InUseAt.Add(q.Skew))
		if fresh || q.Covered != nil && q.Covered(p) {
			continue
		}
		out = append(out, Blocked{nameOf(p), Hold{cmp.Or(p.NotRolled, v1alpha1.DrainingLeaves),
			"pod " + p.Name + " may hold a leaf of the old issuer; it ends by itself, or restart the pod"}})
	}
	return distinct(out)
}

// nameOf is what people act upon: the workload, or the pod where there is none.
func nameOf(p *Pod) v1alpha1.WorkloadRef {
	if p.Workload.Kind != "" {
		return p.Workload
	}
	return v1alpha1.WorkloadRef{Namespace: p.Namespace, Kind: "Pod", Name: p.Name}
}

// distinct keeps one entry for each workload, in the order of their names.
func distinct(in []Blocked) []Blocked {
	slices.SortStableFunc(in, func(a, b Blocked) int { return compareRefs(a.Workload, b.Workload) })
	return slices.CompactFunc(in, func(a, b Blocked) bool { return compareRefs(a.Workload, b.Workload) == 0 })
}

func compareRefs(a, b v1alpha1.WorkloadRef) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Group, b.Group))
}
