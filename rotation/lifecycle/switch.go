package lifecycle

import (
	"fmt"
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// AfterFence is how long after the fence the pods are listed that gate I1
// judges: an injection that was under way at the fence has ended by then (an
// API server gives a webhook 30 s at most).
const AfterFence = 60 * time.Second

// switchIssuer has every issuer signed by the new anchor.
func (p *planner) switchIssuer() bool {
	if p.state.Path == v1alpha1.PathRotate && p.state.SwitchIntendedAt.IsZero() && p.turnedTooEarly() {
		return false
	}
	return p.turn(p.state.To) || p.rescued()
}

// rescued has the old anchor sign once more while a phase before the switch takes
// long: its gate stays shut, or the bundle is not widened. It is never true.
func (p *planner) rescued() bool {
	if len(p.actions) == 0 && !p.decision.NeedLive && p.state.Path == v1alpha1.PathRotate {
		p.rescue()
	}
	return false
}

// turn leads every issuer under an anchor, forward or back. The pointer moves
// only through gate I1; once it has moved (Generations) the issuers follow
// whatever anybody does, and in place each renewal passes the gate.
func (p *planner) turn(to *Replaced) bool {
	fp := to.Anchor.Fingerprint
	signed := p.seeSwitched(to)
	secret, ok := p.facts.secretOf(fp)
	if !ok && signed && !p.aborting() {
		return true // it was renewed in place since; another run leads to its successor
	}
	if !ok || to.Anchor.ExpiredAt(p.now) {
		return p.block(v1alpha1.NoWayBack, "the anchor "+fp.Short()+" cannot sign any more: its key is gone, or it has expired; issue it again, or delete this AnchorRotation")
	}
	moved := p.facts.Pointer.SecretName == secret && p.facts.Pointer.Token == p.token(to)
	if signed && moved {
		return true
	}
	return p.turnThrough(to, secret, moved)
}

// seeSwitched reports whether every issuer is signed by the anchor, and notes
// when that was first seen of the new one.
func (p *planner) seeSwitched(to *Replaced) bool {
	signed := p.facts.allSignedBy(to.Anchor.Fingerprint)
	if signed && p.state.SwitchedAt.IsZero() && !p.aborting() {
		p.state.SwitchedAt = ceil(p.now)
	}
	return signed
}

// turnThrough makes the writes of a turn, each through the gate.
func (p *planner) turnThrough(to *Replaced, secret string, moved bool) bool {
	if committed := moved && !p.facts.Policy.inPlace(); !committed && !p.mayTurn(to) {
		return false
	}
	p.intend()
	if !moved {
		return p.act(p.point(to, secret), v1alpha1.SwitchingIssuer, "the ClusterIssuer is being pointed at the anchor "+to.Anchor.Fingerprint.Short())
	}
	return p.renewUnder(to)
}

// intend stores that the issuer is about to be switched.
func (p *planner) intend() {
	if !p.state.SwitchIntendedAt.IsZero() || p.aborting() {
		return
	}
	p.state.SwitchIntendedAt = ceil(p.now)
	if issuer := p.facts.issuer(); issuer != nil {
		p.state.IssuerBefore = issuer.Issued.Fingerprint
	}
}

// mayTurn is everything that must hold before the signing anchor changes. On the
// way back it does not change where the old anchor has signed every issuer: to
// wait for a pod then would leave the next renewal to the new one.
func (p *planner) mayTurn(to *Replaced) bool {
	fp := to.Anchor.Fingerprint
	if p.aborting() && p.facts.allSignedBy(fp) {
		return true
	}
	if flight := p.inFlight(); flight.Reason != "" {
		return p.wait(flight.Reason, flight.Message)
	}
	switch {
	case !p.brought(fp):
		return false
	case !p.approved(v1alpha1.GateSwitchIssuer):
		return p.block(v1alpha1.ApprovalRequired, "trusted from outside: "+p.externals()+"; add an approval for the gate SwitchIssuer when they trust the new anchor too")
	case p.hopeless():
		return p.live() // I1 protects nothing
	default:
		return p.settled() && p.trustedBy(to) && p.live()
	}
}

// brought reports whether the bundle holds what it must when an anchor signs, and
// will.
func (p *planner) brought(fp bundle.Fingerprint) bool {
	switch {
	case !p.facts.Bundle.Set.Contains(fp):
		return p.wait(v1alpha1.WaitingForBundle, "the published bundle does not hold the anchor "+fp.Short())
	case p.sourceless(p.state.From) || p.sourceless(p.state.To):
		return p.wait(v1alpha1.WaitingForBundle, "an anchor of this run is in the bundle, and nothing brings it any more: its generation is labelled first")
	case p.oldIsGone():
		return p.wait(v1alpha1.WaitingForBundle, "the old anchor is gone from the published bundle, and leaves chain to it: it is put back first")
	default:
		return true
	}
}

// sourceless reports whether trust-manager drops an anchor when it writes next:
// somebody took the label off its generation (Generations).
func (p *planner) sourceless(r *Replaced) bool {
	if p.facts.Policy.inPlace() || p.facts.Policy.writesBundle() || !r.known() || p.facts.Carrier.Set.Contains(r.Anchor.Fingerprint) {
		return false
	}
	c := p.facts.anchorCertificate(r.Anchor.Fingerprint)
	return c != nil && !c.Labelled
}

// oldIsGone reports whether the old anchor is to be put back into the bundle
// before the issuer is switched: new pods could not verify the leaves that live.
func (p *planner) oldIsGone() bool {
	from := p.state.From
	return !p.aborting() && p.state.Path == v1alpha1.PathRotate && from.known() && from.Anchor.Certificate() != nil &&
		!from.Anchor.ExpiredAt(p.now) && !p.facts.Bundle.Set.Contains(from.Anchor.Fingerprint)
}

// hopeless reports whether the run is one of repair, and the mesh still broken.
func (p *planner) hopeless() bool {
	return !p.aborting() && p.state.Path == v1alpha1.PathRecover && p.broken()
}

// settled reports whether the facts were read late enough after the fence. The
// way back needs no fence: every pod that can verify today's issuer has been
// given the bundle that holds both.
func (p *planner) settled() bool {
	if p.aborting() {
		return true
	}
	if !p.fenced() {
		return false
	}
	if p.facts.Roller.NoInjector {
		return true
	}
	at := p.facts.Roller.FencedAt.Add(AfterFence + p.facts.Policy.Skew)
	if p.facts.Read.StartedAt.Before(at) {
		p.again(at)
		return p.wait(v1alpha1.WaitingForInjector, "pods that were being injected while the injector changed bundles must show first")
	}
	return true
}

// trustedBy asks gate I1 and names what is in the way.
func (p *planner) trustedBy(to *Replaced) bool {
	if p.facts.PodsUnknown {
		return p.block(v1alpha1.NotObserved, "the pods of the mesh could not be read")
	}
	if way := p.inTheWay(to.Anchor); len(way) > 0 {
		return p.block(way[0].Reason, fmt.Sprintf("%d workloads do not provably trust the anchor %s", len(way), to.Anchor.Fingerprint.Short()), way...)
	}
	return true
}

// approved reports whether a gate that waits for a human is open.
func (p *planner) approved(gate v1alpha1.Gate) bool {
	return p.externals() == "" || p.aborting() || slices.Contains(p.facts.Run.Approvals, gate)
}

// renewUnder triggers the issuers that are not signed by the anchor yet. One
// that came back signed by the other (the signer reads a cache) is triggered
// again.
func (p *planner) renewUnder(to *Replaced) bool {
	p.wait(v1alpha1.SwitchingIssuer, "the issuer is being signed by the anchor "+to.Anchor.Fingerprint.Short())
	for i := range p.facts.Issuers {
		c := &p.facts.Issuers[i]
		switch {
		case c.SignedBy.Contains(to.Anchor.Fingerprint) || c.Issuing:
		case p.resting(c):
			p.wait(v1alpha1.IssuanceFailed, fmt.Sprintf("the request of Certificate %s/%s failed and will be made again", c.Ref.Namespace, c.Ref.Name))
		default:
			p.actions = append(p.actions, p.renewal(c, to))
		}
	}
	return false
}

// renewal triggers an issuer that an anchor is to sign: only while that anchor's
// Certificate is as it was when the gate was asked.
func (p *planner) renewal(c *Certificate, by *Replaced) Action {
	a := onCertificate(Renew, c, true)
	if signer := p.facts.anchorCertificate(by.Anchor.Fingerprint); signer != nil {
		a.Signer, a.SignerVersion = signer.Ref, signer.ResourceVersion
	}
	return a
}

// token marks the pointer as moved by this run to an end. Turning back changes
// it, so that a write of a controller that was left behind fails.
func (p *planner) token(to *Replaced) string {
	end := onward
	if p.state.AbortedFrom != "" {
		end = ".back."
	}
	return p.facts.Run.UID + end + to.Anchor.Fingerprint.Short()
}

// onward is what a token has between the run and the anchor, unless the run was
// aborted.
const onward = ".to."

func (p *planner) point(to *Replaced, secret string) Action {
	return Action{Verb: PointIssuer, Secret: secret, Token: p.token(to), ResourceVersion: p.facts.Pointer.ResourceVersion}
}

// turnedTooEarly undoes what somebody else did: an issuer is signed by the new
// anchor, or would be by its next renewal, while pods do not trust it. Without
// the old key there is only the way forward.
func (p *planner) turnedTooEarly() bool {
	if !p.early() || !p.backIsBetter() {
		return false
	}
	from := p.state.From
	secret, _ := p.facts.secretOf(from.Anchor.Fingerprint)
	p.state.SwitchedAt = noTime
	if p.facts.Pointer.SecretName != secret {
		p.act(p.point(from, secret), v1alpha1.SwitchedTooEarly, "somebody switched the issuer before every pod trusted its anchor: pointing back to the old one")
		return true
	}
	p.renewUnder(from)
	p.decide(v1alpha1.SwitchedTooEarly, "somebody switched the issuer before every pod trusted its anchor: it is being signed by the old one again")
	return true
}

// early reports whether an issuer is signed by the new anchor, or will be.
func (p *planner) early() bool {
	from, to := p.state.From, p.state.To
	if p.state.Path != v1alpha1.PathRotate || !from.known() || p.facts.PodsUnknown {
		return false
	}
	secret, ok := p.facts.secretOf(from.Anchor.Fingerprint)
	astray := !p.facts.Policy.inPlace() && p.facts.Pointer.SecretName != secret
	return ok && (astray || p.facts.anySignedBy(to.Anchor.Fingerprint))
}

// backIsBetter reports whether pods lack the new anchor and none lacks the old.
func (p *planner) backIsBetter() bool {
	from, to := p.state.From.Anchor, p.state.To.Anchor
	if from.ExpiredAt(p.now) || !p.facts.Bundle.Set.Contains(from.Fingerprint) || p.allTrust(to) {
		return false
	}
	return len(p.inTheWay(from)) == 0
}
