package lifecycle

import (
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// beginAbort turns the run round, from any phase before Narrow. Behind it the
// wish comes too late: the old anchor is gone from the bundle.
func (p *planner) beginAbort() {
	switch {
	case p.state.AbortedFrom != "":
		if !p.wayBack() {
			p.forward()
		}
		return
	case p.state.reached(v1alpha1.PhaseNarrow):
		p.decision.AbortRefused = "it comes too late: the old anchor is being dropped"
		return
	case !p.state.From.known(): // nothing was begun
		p.state.AbortedFrom = p.state.Phase
		p.state.end(Failed, p.now)
		return
	case !p.wayBack():
		return
	}
	p.state.AbortedFrom = p.state.Phase
	if p.state.SwitchIntendedAt.IsZero() && !p.state.SwitchedAt.IsZero() {
		p.state.SwitchIntendedAt = p.state.SwitchedAt
	}
	p.state.SwitchedAt, p.state.InUseAt = noTime, noTime
	p.state.enter(v1alpha1.PhaseAborting, p.now)
}

// wayBack reports whether the old anchor can still sign. Where it cannot, an
// abort is refused and the run goes on: to stand still would end with an issuer
// that nobody can renew.
func (p *planner) wayBack() bool {
	from := p.state.From.Anchor
	_, ok := p.facts.secretOf(from.Fingerprint)
	if ok && !from.ExpiredAt(p.now) {
		return true
	}
	p.decision.AbortRefused = "the old anchor cannot sign any more, since its key is gone or it has expired: the rotation goes on"
	return false
}

// forward takes back an abort that has lost its way.
func (p *planner) forward() {
	p.state.AbortedFrom = ""
	p.state.SwitchIntendedAt, p.state.SwitchedAt, p.state.InUseAt = noTime, noTime, noTime
	p.state.enter(v1alpha1.PhaseNewAnchor, p.now)
}

// abort leads back to the old anchor, through the same gates: the issuer is
// signed by it again, that is confirmed, the leaves of the other are waited for,
// and the new anchor is dropped from the bundle.
func (p *planner) abort() {
	if p.state.Outcome != "" {
		p.decide(v1alpha1.Aborted, "the rotation was aborted before it changed anything")
		return
	}
	if p.anchorInFlight() || !(p.turnBack() || p.rescued()) || p.touched() && !(p.confirm(p.state.From) && p.drained()) || !p.withdraw() {
		return
	}
	p.state.end(Failed, p.now)
	p.decide(v1alpha1.Aborted, "the mesh is on the old anchor")
}

// anchorInFlight waits for a new anchor that is being issued: once it is there
// it is known what to withdraw.
func (p *planner) anchorInFlight() bool {
	for i := range p.facts.Anchors {
		c := &p.facts.Anchors[i]
		if c.Issuing && (p.facts.Policy.inPlace() || p.state.To != nil && c.Ref == p.state.To.Certificate) {
			return !p.wait(v1alpha1.AnchorIssuing, "an anchor is being issued, and withdrawn afterwards")
		}
	}
	return false
}

// turnBack has every issuer signed by the old anchor. It always writes the
// pointer once: a switch that was decided before and not yet written is void
// then.
func (p *planner) turnBack() bool {
	switched := p.anySignedByOther()
	if switched && p.state.SwitchIntendedAt.IsZero() {
		p.state.SwitchIntendedAt = ceil(p.now)
	}
	if switched {
		p.state.SwitchedAt, p.state.InUseAt = noTime, noTime
	}
	return p.turn(p.state.From)
}

func (p *planner) anySignedByOther() bool {
	return !p.facts.allSignedBy(p.state.From.Anchor.Fingerprint)
}

// touched reports whether an issuer may have been signed by the new anchor.
func (p *planner) touched() bool { return !p.state.SwitchIntendedAt.IsZero() }

// withdraw drops the new anchor from the bundle. In place it stays there, whoever
// writes the bundle, since it stays in the anchor's Secret (see needed): pods may
// trust it, nothing is signed by it.
func (p *planner) withdraw() bool {
	if p.facts.Policy.inPlace() {
		return true
	}
	from := bundle.FromAnchors(p.state.From.Anchor)
	others := p.view.own.Minus(from).Intersect(p.facts.Bundle.Set.Union(p.labelled()).Union(p.facts.Carrier.Set))
	if p.touched() || others.Empty() {
		if !p.dropAll(from) {
			return false
		}
		// What the run has drained is on record as drained only when it has ended:
		// until then stand would put the others back.
		p.drop = p.view.own.Minus(from)
		return true
	}
	// Nothing was ever signed by them, so no leaf chains to them.
	return p.dropUnused(others)
}

func (p *planner) dropUnused(others bundle.Set) bool {
	for _, e := range p.facts.Earlier {
		if p.now.Before(e.LeavesUntil) && !e.SignedBy.Intersect(others).Empty() {
			p.again(e.LeavesUntil)
			return p.wait(v1alpha1.DrainingLeaves, "leaves that somebody else had signed by the new anchor may live until "+e.LeavesUntil.UTC().Format(time.RFC3339))
		}
	}
	if !p.facts.verified(p.facts.Bundle.Set.Minus(others), p.now) {
		return p.block(v1alpha1.BundleDoesNotTrustIssuer, "without the new anchor the bundle would not verify every issuer in use")
	}
	if !p.live() {
		return false
	}
	return p.dropNow(others)
}

// release lets the object go. What protects the mesh is not given up with it:
// stand holds renewals as long as the facts are midway, and another rotation
// opens for them.
func (p *planner) release() {
	p.decision.Released = true
	p.decide(v1alpha1.Standing, "the rotation is being deleted")
}
