package lifecycle

import (
	"cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// stand applies the rules that hold with a rotation or without. They are
// decided after the run, since its phase bears on what is needed.
func (p *planner) stand() {
	p.archive()
	all := p.needed()
	p.unsourced(all)
	needed := full(all)
	p.label(needed)
	p.carry(needed)
	p.hold()
	p.repair()
	p.keepOrDrop()
	p.sweep()
}

// unsourced says, whatever else the run waits for, that an anchor that is needed
// is not in the bundle and cannot get there: somebody has changed what that is
// made of.
func (p *planner) unsourced(needed bundle.Set) {
	fault := p.facts.Checks.BundleFault
	if fault == "" || !p.active() || p.paused || p.facts.Bundle.Unusable.Reason != "" || p.facts.Bundle.Set.ContainsAll(needed) {
		return
	}
	p.block(v1alpha1.BundleNotOurs, "the bundle lacks an anchor that is needed: "+fault)
}

// archive keeps the certificate of every own anchor: once a Secret is renewed,
// nothing else has it. Those that expired and that nothing needs are dropped.
func (p *planner) archive() {
	have := p.facts.Archive.Set
	want := have.Union(full(p.view.own))
	idle := want.ExpiredAt(p.now).Minus(p.facts.Bundle.Set).Minus(p.view.signers)
	if p.active() {
		for _, r := range []*Replaced{p.state.From, p.state.To} {
			if r.known() {
				idle = idle.Minus(bundle.FromAnchors(r.Anchor))
			}
		}
	}
	if want = want.Minus(idle); !want.Equal(have) {
		p.standing = append(p.standing, Action{Verb: WriteArchive, Set: want, ResourceVersion: p.facts.Archive.ResourceVersion})
	}
}

// needed are the own anchors that must be in the bundle: those that an issuer
// in use or a leaf that may live chains to, that which would sign next, and the
// two of the run.
func (p *planner) needed() bundle.Set {
	need := p.chained()
	if p.view.pointed != nil && p.carriesPointed() {
		need = need.Union(bundle.FromAnchors(*p.view.pointed))
	}
	if p.facts.Policy.inPlace() && p.view.newest != nil {
		// The standing rule: a renewal that nobody announced widens the bundle.
		need = need.Union(bundle.FromAnchors(*p.view.newest.Issued))
	}
	if p.active() {
		need = p.runNeeds(need)
	}
	return need.Minus(p.drop)
}

// carriesPointed reports whether what the pointer would sign with belongs into
// the bundle: not while it is about to be left (an abort in place leaves the
// newer anchor where it is).
func (p *planner) carriesPointed() bool { return !p.drop.Contains(p.view.pointed.Fingerprint) }

// runNeeds adds the anchors of the run, and takes away what it has shown that no
// leaf chains to any more.
func (p *planner) runNeeds(need bundle.Set) bundle.Set {
	from, to := p.state.From, p.state.To
	if from.known() {
		only := bundle.FromAnchors(from.Anchor)
		gone := p.state.reached(v1alpha1.PhaseNarrow) && !p.aborting()
		switch {
		case !gone: // expired or not: proxies ignore that, and leaves may chain to it
			need = need.Union(only)
		case !p.facts.anySignedBy(from.Anchor.Fingerprint):
			need = need.Minus(only)
		}
	}
	if to.known() && p.needsTo() {
		need = need.Union(bundle.FromAnchors(to.Anchor))
	}
	return need
}

// needsTo reports whether the run's new anchor must be in the bundle: from Widen
// on and, on the way back, as long as it may have signed something.
func (p *planner) needsTo() bool {
	if p.aborting() || p.paused && p.touched() {
		return p.touched()
	}
	return !p.paused && p.state.reached(v1alpha1.PhaseWiden)
}

// label makes trust-manager take needed generations as sources (Generations).
func (p *planner) label(needed bundle.Set) {
	if p.facts.Policy.inPlace() || p.facts.Policy.writesBundle() {
		return
	}
	for i := range p.facts.Anchors {
		c := &p.facts.Anchors[i]
		if c.Issued != nil && !c.Labelled && needed.Contains(c.Issued.Fingerprint) {
			p.standing = append(p.standing, onCertificate(LabelAnchor, c, true))
		}
	}
}

// carry writes the needed anchors that no source supplies, so that one that
// vanished comes back (heal) and one that is about to does not go.
func (p *planner) carry(needed bundle.Set) {
	if p.facts.Policy.writesBundle() {
		p.writeBundle(needed)
		return
	}
	have := p.facts.Carrier.Set
	idle := have.Intersect(p.view.own).ExpiredAt(p.now).Minus(needed)
	want := have.Union(needed.Minus(p.supplied())).Minus(idle).Minus(p.drop)
	if want.Empty() || want.Equal(have) && p.facts.Carrier.ResourceVersion != "" {
		return
	}
	p.standing = append(p.standing, Action{Verb: WriteCarrier, Set: want, ResourceVersion: p.facts.Carrier.ResourceVersion})
}

// supplied are the anchors that labelled generations bring, and that leaves do
// not chain to yet. The carrier holds those too: a generation may be renewed,
// deleted or lose its label at any moment, and a pod that starts before that is
// seen would trust no leaf of the mesh. In place nothing is supplied.
func (p *planner) supplied() bundle.Set {
	var anchors []bundle.Anchor
	if p.facts.Policy.inPlace() {
		return bundle.Set{}
	}
	for i := range p.facts.Anchors {
		if c := &p.facts.Anchors[i]; c.Issued != nil {
			anchors = append(anchors, *c.Issued) // labelled, or being labelled now
		}
	}
	return bundle.FromAnchors(anchors...).Minus(p.chained())
}

// chained are the anchors that a live leaf may chain to.
func (p *planner) chained() bundle.Set {
	set := p.view.own.Intersect(p.view.signers)
	for _, e := range p.facts.Earlier {
		if p.now.Before(e.LeavesUntil) {
			set = set.Union(p.view.own.Intersect(e.SignedBy))
		}
	}
	return set
}

func (p *planner) writeBundle(needed bundle.Set) {
	set, hold := p.composed(needed)
	if hold.Reason != "" || p.facts.Bundle.Unusable.Reason != "" || set.Empty() || set.Equal(p.facts.Bundle.Set) {
		return
	}
	p.standing = append(p.standing, Action{Verb: WriteBundle, Set: set, ResourceVersion: p.facts.Bundle.ResourceVersion})
}

func (p *planner) composed(needed bundle.Set) (bundle.Set, Hold) {
	c := Composition{
		Present: p.facts.Bundle.Set, Own: p.view.own, Needed: needed, Drop: p.drop, MaxCarryOver: p.facts.Policy.MaxCarryOver,
	}
	switch {
	case p.active() && p.state.To.known():
		c.Newest = p.state.To.Anchor.Fingerprint
	case p.view.newest != nil:
		c.Newest = p.view.newest.Issued.Fingerprint
	}
	return Compose(c, p.now)
}

// sweep deletes generations that nothing is left of, but for the latest that
// was dropped: a mistake could be healed with its key. Adopted Certificates are
// the user's.
func (p *planner) sweep() {
	if p.facts.Policy.inPlace() || p.view.newest == nil {
		return
	}
	outlived := p.passedOver
	if spare := p.spare(); !p.active() {
		outlived = func(c *Certificate) bool { return c.Generation < p.view.newest.Generation && c != spare }
	}
	for i := range p.facts.Anchors {
		c := &p.facts.Anchors[i]
		if p.unused(c) && outlived(c) {
			p.standing = append(p.standing, onCertificate(DeleteAnchor, c, false))
		}
	}
}

// unused reports whether nothing is left of a generation but its key.
func (p *planner) unused(c *Certificate) bool {
	return c.Generation != 0 && !c.Labelled && !c.Issuing && !supplies(&p.facts, c)
}

// passedOver reports whether a generation is that of an aborted run, between the
// two of this one. It is not deleted before there is another: cert-manager takes
// the label off the Secret of a Certificate that exists, and may be slow to.
func (p *planner) passedOver(c *Certificate) bool {
	if p.paused || !p.state.From.known() || !p.state.To.known() || !p.state.reached(v1alpha1.PhaseWiden) {
		return false
	}
	from, to := p.facts.anchorCertificate(p.state.From.Anchor.Fingerprint), p.facts.anchorCertificate(p.state.To.Anchor.Fingerprint)
	return from != nil && to != nil && from.Generation < c.Generation && c.Generation < to.Generation
}

// spare is the latest dropped generation before the one in use.
func (p *planner) spare() *Certificate {
	var last *Certificate
	for i := range p.facts.Anchors {
		c := &p.facts.Anchors[i]
		if !supplies(&p.facts, c) && c.Generation < p.view.newest.Generation && (last == nil || cmp.Less(last.Generation, c.Generation)) {
			last = c
		}
	}
	return last
}

func onCertificate(verb Verb, c *Certificate, on bool) Action {
	return Action{Verb: verb, Object: c.Ref, UID: c.UID, ResourceVersion: c.ResourceVersion, Secret: c.SecretName, Generation: c.Generation, On: on}
}
