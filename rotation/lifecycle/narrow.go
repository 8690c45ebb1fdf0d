package lifecycle

import (
	"fmt"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// narrow drops the old anchor from the bundle, and with it whatever earlier own
// anchors were left: gate I2 shows that every live leaf is of the issuer in use.
func (p *planner) narrow() bool {
	if !p.stillOn(p.state.To) {
		return true
	}
	return p.dropAll(p.keepers())
}

// keepers are the own anchors that stay.
func (p *planner) keepers() bundle.Set {
	keep := bundle.FromAnchors(p.state.To.Anchor)
	if p.view.newest != nil {
		keep = keep.Union(bundle.FromAnchors(*p.view.newest.Issued))
	}
	return keep
}

// dropAll drops every own anchor but those to keep, through gate I2.
func (p *planner) dropAll(keep bundle.Set) bool {
	gone := p.view.own.Minus(keep)
	left := p.facts.Bundle.Set.Intersect(gone)
	stale := p.facts.Carrier.Set.Intersect(gone)
	if left.Empty() && p.labelled().Intersect(gone).Empty() && (p.facts.Policy.writesBundle() || stale.Empty()) {
		return true
	}
	switch {
	case !p.drained():
		return false
	case !p.approved(v1alpha1.GateNarrow):
		return p.block(v1alpha1.ApprovalRequired, "trusted from outside: "+p.externals()+"; add an approval for the gate Narrow when none of their leaves chains to the old anchor")
	case !p.facts.verified(p.facts.Bundle.Set.Minus(gone), p.now):
		return p.block(v1alpha1.BundleDoesNotTrustIssuer, "without the old anchor the bundle would not verify every issuer in use")
	case !p.live():
		return false
	}
	return p.dropNow(gone)
}

// labelled are the anchors that trust-manager takes up when it writes next, though
// the bundle may not hold them yet (Generations).
func (p *planner) labelled() bundle.Set {
	var anchors []bundle.Anchor
	if p.facts.Policy.inPlace() || p.facts.Policy.writesBundle() {
		return bundle.Set{}
	}
	for i := range p.facts.Anchors {
		if c := &p.facts.Anchors[i]; c.Labelled && c.Issued != nil {
			anchors = append(anchors, *c.Issued)
		}
	}
	return bundle.FromAnchors(anchors...)
}

// dropNow makes stand leave the anchors out, and takes their labels away.
func (p *planner) dropNow(gone bundle.Set) bool {
	p.drop = gone
	for i := range p.facts.Anchors {
		c := &p.facts.Anchors[i]
		if c.Issued != nil && c.Labelled && gone.Contains(c.Issued.Fingerprint) {
			p.actions = append(p.actions, onCertificate(LabelAnchor, c, false))
		}
	}
	message := fmt.Sprintf("%d anchors are being dropped from the bundle", p.facts.Bundle.Set.Intersect(gone).Len())
	if len(p.actions) == 0 && !p.facts.Policy.writesBundle() && p.facts.Carrier.Set.Intersect(gone).Empty() {
		// Also what a layout that was left behind had for a source.
		message += "; no source of Reanchor's brings them any more: if this lasts, remove from the Bundle whatever else does, such as a previous-anchor Secret"
	}
	return p.wait(v1alpha1.Narrowing, message)
}

// verify looks at the result: the bundle verifies the issuers, and every pod
// trusts the anchor.
func (p *planner) verify() bool {
	switch {
	case !p.stillOn(p.state.To):
		return true
	case p.facts.Bundle.Unusable.Reason != "":
		return p.block(p.facts.Bundle.Unusable.Reason, p.facts.Bundle.Unusable.Message)
	case !p.facts.verified(p.facts.Bundle.Set, p.now):
		return p.block(v1alpha1.BundleDoesNotTrustIssuer, "the published bundle does not verify every issuer in use")
	case p.facts.PodsUnknown:
		return p.block(v1alpha1.NotObserved, "the pods of the mesh could not be read")
	}
	way := SwitchGate(SwitchQuestion{Pods: p.facts.Pods, To: p.state.To.Anchor, Covered: p.covered})
	if len(way) > 0 {
		return p.block(way[0].Reason, fmt.Sprintf("%d workloads do not provably trust the anchor in use", len(way)), way...)
	}
	return p.live()
}
