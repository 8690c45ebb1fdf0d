package lifecycle

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// hold holds back the renewals that would break the mesh, and releases them.
func (p *planner) hold() {
	for i := range p.facts.Issuers {
		p.setHold(&p.facts.Issuers[i], p.holdIssuer(&p.facts.Issuers[i]))
	}
	for i := range p.facts.Anchors {
		p.setHold(&p.facts.Anchors[i], p.holdAnchor())
	}
}

func (p *planner) setHold(c *Certificate, on bool) {
	if c.CanHold && c.Held != on && (on || !p.paused && !p.overwriting()) {
		p.standing = append(p.standing, onCertificate(HoldRenewal, c, on))
	}
}

// overwriting reports whether the anchor's Secret is about to hold another key
// (InPlace): what is signed from then on, and what its old key was, shows only
// afterwards. It was asked for, and comes whatever becomes of the run.
func (p *planner) overwriting() bool {
	return p.facts.Policy.inPlace() && slices.ContainsFunc(p.facts.Anchors, func(c Certificate) bool { return c.Issuing })
}

// beforeSwitch reports whether an active run is between its decision for a new
// anchor and the issuer's switch, where nothing may be signed by itself.
func (p *planner) beforeSwitch() bool {
	return p.active() && !p.aborting() && p.state.reached(v1alpha1.PhaseNewAnchor) &&
		!(p.state.To.known() && p.facts.allSignedBy(p.state.To.Anchor.Fingerprint))
}

// holdIssuer reports whether an issuer's next signature by itself would come
// from another anchor than today's, or from one that is about to be renewed.
// Where the pointer was moved on purpose (Generations), it may come. No issuer is
// held back when its leaves would be cut short by its end: a mesh whose issuer
// expires breaks whole. Before that, rescue renews it under the old anchor, if
// there is a way.
func (p *planner) holdIssuer(c *Certificate) bool {
	if c.Issued != nil && p.now.Add(p.spareLife()).After(c.Issued.NotAfter) {
		return false
	}
	if p.facts.Policy.inPlace() && p.beforeSwitch() && !p.facts.parked() {
		return true
	}
	if !p.strays(c) {
		return false
	}
	meant := !p.state.SwitchIntendedAt.IsZero() && !p.aborting() && p.active() && p.state.To.is(p.view.pointed.Fingerprint)
	return !meant
}

// strays reports whether the issuer would next be signed by another anchor than
// the one it chains to.
func (p *planner) strays(c *Certificate) bool {
	return p.view.pointed != nil && c.Issued != nil && !c.SignedBy.Empty() && !c.SignedBy.Contains(p.view.pointed.Fingerprint)
}

// holdAnchor reports whether an anchor must not renew itself. A generation never
// does; in place not while a rotation has not switched the issuer yet.
func (p *planner) holdAnchor() bool {
	if !p.facts.Policy.inPlace() {
		return true
	}
	if p.facts.parked() {
		return false
	}
	return p.beforeSwitch() || len(p.facts.Issuers) > 0 && p.strays(&p.facts.Issuers[0])
}

// exposed reports whether a renewal by itself would break handshakes now, and is
// not surely held back.
func (p *planner) exposed() bool {
	if p.view.pointed == nil || p.facts.PodsUnknown {
		return false
	}
	for i := range p.facts.Issuers {
		if c := &p.facts.Issuers[i]; p.strays(c) && !c.HoldSeen && len(p.inTheWay(*p.view.pointed)) > 0 {
			return true
		}
	}
	return false
}

// inTheWay asks gate I1 about an anchor.
func (p *planner) inTheWay(to bundle.Anchor) []Blocked {
	return SwitchGate(SwitchQuestion{Pods: p.facts.Pods, To: to, SignedBy: p.view.signers, Covered: p.covered})
}

// keepOrDrop drops the kept copy of an old anchor when nothing could turn back
// to it any more.
func (p *planner) keepOrDrop() {
	k := p.facts.Kept
	if !k.Exists || p.active() || p.overwriting() || p.facts.parked() || !p.facts.Pointer.Known || p.facts.anySignedBy(k.Anchor) && p.facts.midway() {
		return
	}
	p.standing = append(p.standing, Action{Verb: DropKept, Secret: k.SecretName, ResourceVersion: k.ResourceVersion})
}

// repair renews an issuer that has expired, or that nobody can verify, when what
// would sign it is fine and every pod trusts that: no rotation is needed.
func (p *planner) repair() {
	to := p.view.pointed
	if to == nil || to.ExpiredAt(p.now) || !p.facts.Bundle.Set.Contains(to.Fingerprint) || p.aborting() {
		return
	}
	for i := range p.facts.Issuers {
		c := &p.facts.Issuers[i]
		if c.Issued == nil {
			continue
		}
		p.again(c.Issued.NotAfter.Add(time.Second))
		if !c.Issuing && p.curable(c, *to) && !p.resting(c) {
			p.standing = append(p.standing, p.renewal(c, &Replaced{Anchor: *to}))
		}
	}
}

// curable reports whether another signature of the anchor would mend an issuer.
func (p *planner) curable(c *Certificate, to bundle.Anchor) bool {
	if c.SignedBy.Empty() {
		return len(p.facts.Pods) > 0 && p.allTrust(to)
	}
	return c.Issued.ExpiredAt(p.now) && c.SignedBy.Contains(to.Fingerprint)
}

// allTrust reports whether every pod provably trusts the anchor.
func (p *planner) allTrust(to bundle.Anchor) bool {
	return !p.facts.PodsUnknown && len(SwitchGate(SwitchQuestion{Pods: p.facts.Pods, To: to, Covered: p.covered})) == 0
}

// retryAfter is how long a failed request rests before it is made again:
// cert-manager's own back-off is an hour at least.
const retryAfter = time.Minute

// resting reports whether a Certificate failed a moment ago.
func (p *planner) resting(c *Certificate) bool {
	if c.FailedAt.IsZero() {
		return false
	}
	at := c.FailedAt.Add(retryAfter)
	p.again(at)
	return p.now.Before(at)
}
