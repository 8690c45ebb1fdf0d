package lifecycle

import (
	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// midway reports whether the facts are those of a rotation that has begun and
// not ended: what would sign next is not what signed the issuer, or earlier own
// anchors are still in the bundle.
func (f *Facts) midway() bool {
	v := look(f)
	from, to := halves(f, v)
	return from != nil && to != nil
}

// halves finds the two anchors of a rotation that is midway; nil when the facts
// show none. An aborted rotation in place, which is parked on the kept copy, is
// none; whoever starts another goes on from there.
func halves(f *Facts, v view) (from, to *bundle.Anchor) {
	issuer := f.issuer()
	if issuer == nil || v.newest == nil || issuer.SignedBy.Empty() {
		return nil, nil
	}
	to = v.newest.Issued
	if !issuer.SignedBy.Contains(to.Fingerprint) {
		if signers := v.own.Intersect(issuer.SignedBy).Anchors(); len(signers) > 0 {
			return latest(signers), to
		}
		return nil, nil
	}
	var older []bundle.Anchor
	for _, a := range v.own.Intersect(f.Bundle.Set).Anchors() {
		if a.NotBefore.Before(to.NotBefore) {
			older = append(older, a)
		}
	}
	if len(older) > 0 {
		return latest(older), to
	}
	return nil, nil
}

// latest returns the anchor that was issued last.
func latest(anchors []bundle.Anchor) *bundle.Anchor {
	last := anchors[0]
	for _, a := range anchors[1:] {
		if a.NotBefore.After(last.NotBefore) {
			last = a
		}
	}
	return &last
}

// begin takes note of the anchors that the run is about. Midway, it goes on with
// those; otherwise it begins with the anchor in use, and the other is still to
// be issued.
func (p *planner) begin() bool {
	if p.state.From.known() || p.state.To.known() {
		return true
	}
	if from, to := halves(&p.facts, p.view); from != nil {
		p.state.From, p.state.To = p.note(*from), p.note(*to)
		return true
	}
	inUse := p.inUse()
	if inUse == nil {
		return p.block(v1alpha1.NotObserved, "it is not known which anchor is in use: no own anchor that signed the issuer is known, nor what the ClusterIssuer signs with")
	}
	p.state.From = p.note(*inUse)
	return true
}

// inUse is the own anchor that signed the issuer, or else that which would sign
// the next.
func (p *planner) inUse() *bundle.Anchor {
	if issuer := p.facts.issuer(); issuer != nil {
		if signers := p.view.own.Intersect(issuer.SignedBy).Anchors(); len(signers) > 0 {
			return latest(signers)
		}
	}
	return p.view.pointed
}

// note describes an anchor with what is known of its Certificate.
func (p *planner) note(a bundle.Anchor) *Replaced {
	r := &Replaced{Anchor: a}
	if known, ok := p.view.own.Anchor(a.Fingerprint); ok {
		r.Anchor = known
	}
	if c := p.facts.anchorCertificate(a.Fingerprint); c != nil {
		r.Certificate, r.UID, r.Revision, r.SecretName = c.Ref, c.UID, c.Revision, c.SecretName
	} else if secret, ok := p.facts.secretOf(a.Fingerprint); ok {
		r.SecretName = secret
	}
	return r
}

// retarget follows a further renewal: when the anchor that the run leads to was
// itself replaced before it signed anything, the run leads to the newer one.
func (p *planner) retarget() {
	to, newest := p.state.To, p.reissued()
	if !to.known() || newest == nil || to.is(newest.Issued.Fingerprint) || p.state.From.is(newest.Issued.Fingerprint) {
		return
	}
	if !p.state.reached(v1alpha1.PhaseWiden) || p.state.reached(v1alpha1.PhaseNarrow) || p.facts.anySignedBy(to.Anchor.Fingerprint) {
		return
	}
	if _, ok := p.facts.secretOf(to.Anchor.Fingerprint); ok {
		return // its key is there: the newer one is none of this run's business
	}
	if anchorFault(*newest.Issued, p.state.From, p.now.Add(p.facts.Policy.Skew)) != "" {
		return
	}
	p.state.To = p.note(*newest.Issued)
	p.state.SwitchIntendedAt, p.state.SwitchedAt, p.state.InUseAt = noTime, noTime, noTime
	p.state.enter(v1alpha1.PhaseWiden, p.now)
}

// reissued is the Certificate of the run's own generation, which need not be in
// the bundle yet: cert-manager whose caches lag issues one that is new a second
// time, half a second later. Otherwise it is that of the newest anchor.
func (p *planner) reissued() *Certificate {
	for i := range p.facts.Anchors {
		c := &p.facts.Anchors[i]
		if p.state.To.known() && c.Ref == p.state.To.Certificate && c.Issued != nil && !c.Issuing {
			return c
		}
	}
	return p.view.newest
}
