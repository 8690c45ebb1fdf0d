package lifecycle

import "github.com/reanchor/reanchor/api/v1alpha1"

// choosePath turns to Recover when the issuer in use cannot be verified and no
// anchor can be put back for it, or has expired with the key that could renew
// it: nothing new becomes ready then, and gate I1 protects nothing. It is false
// while that is to be looked at again without a cache.
func (p *planner) choosePath() bool {
	if p.state.Path == v1alpha1.PathRecover || p.state.reached(v1alpha1.PhaseConfirmIssuer) || !p.broken() {
		return true
	}
	if !p.live() {
		return p.wait(v1alpha1.IssuerUnknown, "the issuer in use cannot be verified, as far as caches tell")
	}
	rolling := p.state.Phase == v1alpha1.PhaseRolling
	p.state.Path = v1alpha1.PathRecover
	if rolling {
		p.state.enter(v1alpha1.PhaseSwitchIssuer, p.now)
	}
	return true
}

// broken reports whether the mesh cannot go on under its issuer, and neither
// heal nor repair would help. What is not known is not broken.
func (p *planner) broken() bool {
	issuer := p.facts.issuer()
	if issuer == nil || p.facts.Bundle.Unusable.Reason != "" {
		return false
	}
	if issuer.SignedBy.Empty() {
		// Signed by nobody known: repair renews it if what would sign is trusted.
		return p.view.pointed == nil || p.view.pointed.ExpiredAt(p.now) || !p.allTrust(*p.view.pointed)
	}
	alive := issuer.SignedBy.ValidAt(p.now)
	if alive.Empty() {
		return true
	}
	return issuer.Issued.ExpiredAt(p.now) && (p.view.pointed == nil || !alive.Contains(p.view.pointed.Fingerprint))
}
