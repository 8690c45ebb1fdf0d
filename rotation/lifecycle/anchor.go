package lifecycle

import (
	"bytes"
	"fmt"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// newAnchor has the new anchor issued, once: what is observed to differ from
// what was stored is the new one, whoever asked for it.
func (p *planner) newAnchor() bool {
	if p.state.To.known() {
		return true
	}
	if p.facts.Policy.inPlace() {
		return p.renewAnchor()
	}
	return p.createAnchor()
}

// createAnchor creates the next generation. It is unlabelled, so that nothing
// unfit gets into the bundle; Widen labels it.
func (p *planner) createAnchor() bool {
	if p.state.To == nil {
		n := p.nextGeneration()
		name := fmt.Sprintf("%s-anchor-%d", p.facts.Mesh, n)
		p.state.To = &Replaced{
			Certificate: v1alpha1.ObjectRef{Namespace: p.facts.Policy.AnchorNamespace, Name: name}, SecretName: p.newSecret(name), Revision: int64(n),
		}
	}
	for i := range p.facts.Anchors {
		if c := &p.facts.Anchors[i]; c.Ref == p.state.To.Certificate {
			return p.awaitAnchor(c)
		}
	}
	if p.late() {
		return p.failLate()
	}
	create := Action{Verb: CreateAnchor, Object: p.state.To.Certificate, Secret: p.state.To.SecretName, Generation: int(p.state.To.Revision)}
	return p.act(create, v1alpha1.AnchorIssuing, "the next generation of the anchor is being created")
}

// awaitAnchor waits for a generation that exists to be issued.
func (p *planner) awaitAnchor(c *Certificate) bool {
	switch failed := !c.FailedAt.IsZero(); {
	case c.Issued != nil && !c.Issuing:
		return p.take(c)
	case failed && p.late():
		p.block(v1alpha1.IssuanceFailed, "the new anchor could not be issued")
		return p.failLate()
	case failed && !c.Issuing && !p.resting(c):
		return p.act(onCertificate(Renew, c, true), v1alpha1.IssuanceFailed, "the new anchor's request failed and is made again")
	default:
		return p.wait(v1alpha1.AnchorIssuing, "the new anchor is being issued")
	}
}

// newSecret is the name of a generation's Secret, which no earlier run has used.
// cert-manager leaves the Secret of a deleted Certificate behind, and takes it
// over for another of that name instead of issuing: when somebody deletes the
// Certificate of an aborted run its number is free again, and what is left of it
// may have expired.
func (p *planner) newSecret(certificate string) string {
	uid := p.facts.Run.UID
	return certificate + "-" + uid[:min(8, len(uid))]
}

func (p *planner) nextGeneration() int {
	n := 1
	for i := range p.facts.Anchors {
		n = max(n, p.facts.Anchors[i].Generation+1)
	}
	return n
}

// renewAnchor has the anchor renewed in place, after all that its renewal would
// destroy was put where it survives and what it would endanger is held back.
func (p *planner) renewAnchor() bool {
	c := &p.facts.Anchors[0]
	switch {
	case c.Issued != nil && !p.state.From.is(c.Issued.Fingerprint):
		return p.take(c)
	case c.Issuing:
		return p.wait(v1alpha1.AnchorIssuing, "the anchor is being renewed")
	case !c.FailedAt.IsZero() && p.late():
		p.block(v1alpha1.IssuanceFailed, "the anchor could not be renewed")
		return p.failLate()
	case p.resting(c):
		return p.wait(v1alpha1.IssuanceFailed, "the anchor's renewal failed and will be tried again")
	}
	return p.renewSheltered(c)
}

// renewSheltered triggers the renewal when nothing can be lost by it.
func (p *planner) renewSheltered(c *Certificate) bool {
	return p.sheltered(c) && p.held() && p.live() &&
		p.act(onCertificate(Renew, c, true), v1alpha1.AnchorIssuing, "the anchor is being renewed")
}

// sheltered reports whether the old anchor survives its renewal: archived, in
// the carrier, which is a source of the bundle still, and with its key kept for a
// way back.
func (p *planner) sheltered(c *Certificate) bool {
	from := p.state.From.Anchor.Fingerprint
	carrier := p.facts.Carrier.Set
	if p.facts.Policy.writesBundle() {
		carrier = p.facts.Bundle.Set
	}
	switch {
	case p.facts.Checks.BundleFault != "":
		return p.block(v1alpha1.BundleNotOurs, p.facts.Checks.BundleFault)
	case !p.facts.Archive.Set.Contains(from) || !carrier.Contains(from):
		return p.wait(v1alpha1.KeepingOldAnchor, "the old anchor's certificate is being put where it survives the renewal")
	case !p.facts.Kept.Exists || p.facts.Kept.Anchor != from:
		keep := Action{Verb: KeepAnchor, Object: c.Ref, Secret: p.keptName(), Anchor: from, ResourceVersion: p.facts.Kept.ResourceVersion}
		return p.act(keep, v1alpha1.KeepingOldAnchor, "the old anchor's key is being kept, for a way back")
	default:
		return true
	}
}

// keptName is the name of the kept copy's Secret.
func (p *planner) keptName() string { return p.facts.Mesh + "-anchor-kept" }

// held reports whether cert-manager has seen that nothing may renew itself, and
// is not at work on an issuer: what is signed after the anchor's renewal would
// be signed by the new key.
func (p *planner) held() bool {
	for _, list := range [][]Certificate{p.facts.Issuers, p.facts.Anchors} {
		for i := range list {
			if c := &list[i]; c.CanHold && !(c.Held && c.HoldSeen) {
				return p.wait(v1alpha1.HoldingRenewals, "renewals by themselves are being held back until the issuer is switched")
			}
		}
	}
	hold := p.inFlight()
	return hold.Reason == "" || p.wait(hold.Reason, hold.Message)
}

// take accepts the anchor that was issued, if it is fit.
func (p *planner) take(c *Certificate) bool {
	if fault := anchorFault(*c.Issued, p.state.From, p.now.Add(p.facts.Policy.Skew)); fault != "" {
		p.block(v1alpha1.AnchorUnfit, "the new anchor "+fault+"; correct its Certificate")
		if !p.facts.Policy.inPlace() { // nothing has the new one yet
			return p.failLate()
		}
		return false
	}
	p.state.To = p.note(*c.Issued)
	return true
}

// anchorFault says what is wrong with a new anchor; empty when nothing is. What
// cannot be parsed cannot be proved fit.
func anchorFault(a bundle.Anchor, from *Replaced, now time.Time) string {
	cert := a.Certificate()
	switch {
	case cert == nil:
		return "cannot be parsed"
	case !cert.IsCA:
		return "is no CA"
	case a.NotBefore.After(now) || a.ExpiredAt(now):
		return "is not valid now"
	case from.known() && from.Anchor.Certificate() != nil &&
		bytes.Equal(from.Anchor.Certificate().RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo):
		return "has the key of the old one: set privateKey.rotationPolicy to Always"
	default:
		return ""
	}
}
