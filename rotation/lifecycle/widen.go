package lifecycle

import (
	"fmt"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// widen waits until the published bundle, read from the object that pods get,
// holds old and new. The writes for it are those of stand: both are needed.
func (p *planner) widen() bool {
	if p.turnedTooEarly() {
		return false
	}
	want := bundle.FromAnchors(p.state.To.Anchor)
	if p.state.From.known() && !p.state.From.Anchor.ExpiredAt(p.now) {
		want = want.Union(bundle.FromAnchors(p.state.From.Anchor))
	}
	switch set := p.facts.Bundle.Set; {
	case p.facts.Bundle.Unusable.Reason != "":
		return p.block(p.facts.Bundle.Unusable.Reason, p.facts.Bundle.Unusable.Message)
	case set.ContainsAll(want):
		return true
	case p.facts.Policy.writesBundle():
		if _, hold := p.composed(full(p.needed())); hold.Reason != "" {
			return p.block(hold.Reason, hold.Message)
		}
	}
	return p.wait(v1alpha1.WaitingForBundle, "the published bundle does not hold old and new anchor yet")
}

// rolling waits until the roller has converged on the wider bundle, as far as
// caches tell: every pod trusts the new anchor and every injector serves it.
func (p *planner) rolling() bool {
	if p.state.Path == v1alpha1.PathRotate && p.turnedTooEarly() {
		return false
	}
	if !p.facts.Bundle.Set.Contains(p.state.To.Anchor.Fingerprint) {
		p.state.enter(v1alpha1.PhaseWiden, p.now)
		return p.wait(v1alpha1.WaitingForBundle, "the new anchor is gone from the published bundle")
	}
	if p.rescue() {
		return false
	}
	if p.state.Path == v1alpha1.PathRecover {
		return p.trusted()
	}
	return p.fenced() && p.trusted()
}

// fenced reports whether every injector serves the bundle that is published.
func (p *planner) fenced() bool {
	r := p.facts.Roller
	p.decision.Progress = fmt.Sprintf("%d/%d workloads", r.Done, r.Total)
	switch {
	case r.BundleHash != p.facts.Bundle.Set.Hash():
		return p.wait(v1alpha1.WaitingForRollout, "the roller has not seen the wider bundle yet")
	case !r.NoInjector && r.FencedAt.IsZero():
		return p.wait(v1alpha1.WaitingForRollout, "waiting until every injector serves the wider bundle: "+r.Message)
	default:
		return true
	}
}

// trusted reports whether gate I1 would let the issuer be switched.
func (p *planner) trusted() bool {
	if p.facts.PodsUnknown {
		return p.block(v1alpha1.NotObserved, "the pods of the mesh could not be read")
	}
	way := p.inTheWay(p.state.To.Anchor)
	if len(way) == 0 {
		return true
	}
	message := fmt.Sprintf("%d workloads do not provably trust the new anchor yet: %s", len(way), p.facts.Roller.Message)
	for i := range way {
		if way[i].Reason != v1alpha1.PodsDoNotTrust {
			// The roller leaves this one alone, or cannot tell.
			return p.block(way[i].Reason, message, way...)
		}
	}
	p.decision.BlockedBy = way
	return p.wait(v1alpha1.WaitingForRollout, message)
}

// rescue has an issuer that is held back and nears its end renewed under the
// old anchor (InPlace): the pointer goes to the kept copy, so that the anchor's
// Secret, which holds the new key, signs nothing.
func (p *planner) rescue() bool {
	if !p.facts.Policy.inPlace() || !p.state.From.known() || !p.state.SwitchIntendedAt.IsZero() {
		return false
	}
	from := p.state.From
	secret, ok := p.facts.secretOf(from.Anchor.Fingerprint)
	for i := range p.facts.Issuers {
		c := &p.facts.Issuers[i]
		near := c.Issued != nil && p.now.Add(p.spareLife()*5/4).After(c.Issued.NotAfter)
		if !ok || !near || !c.SignedBy.Contains(from.Anchor.Fingerprint) {
			continue
		}
		p.wait(v1alpha1.IssuerRenewsTooSoon, "the issuer nears its end before every pod trusts the new anchor: the old one signs once more")
		if p.facts.Pointer.SecretName != secret {
			p.actions = append(p.actions, p.point(from, secret))
		} else {
			p.renewUnderAgain(c)
		}
		return true
	}
	return false
}

// rescueSuspended does so for a run that goes no further: the renewals that it
// holds back stay so, and an issuer that expires would end the whole mesh.
func (p *planner) rescueSuspended() {
	if (p.beforeSwitch() || p.aborting()) && p.state.Path == v1alpha1.PathRotate {
		p.rescue()
	}
}

// renewUnderAgain renews an issuer under the anchor that signed it.
func (p *planner) renewUnderAgain(c *Certificate) {
	if !c.Issuing && !p.resting(c) {
		p.actions = append(p.actions, p.renewal(c, p.state.From))
	}
}
