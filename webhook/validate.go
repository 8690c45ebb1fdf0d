package webhook

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/webhook/review"
)

// Validate decides whether the pod may be created.
func (s *Snapshot) Validate(r *review.Request, now time.Time) Decision {
	subject, allowed, ok := s.claim(r, now)
	if !ok {
		return allowed
	}
	if reason, message := subject.broken(now); reason != "" {
		return subject.refuse(reason, message)
	}
	if message := subject.doubt(); message != "" {
		return subject.warn(v1alpha1.TrustUnknown, message)
	}
	return Decision{Mesh: subject.Name, Outcome: Allowed, Reason: subject.reason()}
}

// broken says why the pod's trust is proved not to work; the reason is empty
// when that is not proved.
func (s *subject) broken(now time.Time) (v1alpha1.Reason, string) {
	switch {
	case s.trust.None():
		return v1alpha1.NoCertificate, s.noCertificate()
	case s.class == mesh.ClassExpired:
		return v1alpha1.TrustExpired, s.expired()
	case s.distrusts(now):
		return v1alpha1.IssuerNotTrusted, s.issuerNotTrusted()
	default:
		return "", ""
	}
}

// distrusts reports whether the pod provably verifies the issuer in use by none
// of its anchors. A record of the issuer that nobody has renewed for long proves
// nothing: whoever moves the mesh to another anchor while no controller runs must
// get pods. An expired signer counts as none: with it in the bundle alone,
// nothing that a pod could carry would help. An anchor that cannot be dated was
// not parsed either, so it may be the very renewal of a signer. So may one with the
// signer's subject and key, which verifies the issuer as the signer does: an injector
// that lags behind a renewal of the anchor writes it.
func (s *subject) distrusts(now time.Time) bool {
	if !now.Before(s.signersUntil) {
		return false
	}
	signers := s.signers.ValidAt(now)
	return s.trust.Knowledge == mesh.Known && !signers.Empty() &&
		!hasUnknownValidity(s.trust.Maybe) && s.trust.Maybe.Intersect(signers).Empty() && !s.hasRenewalOf(signers, now)
}

// hasRenewalOf reports whether an unexpired anchor of the pod may be the same as a
// signer but for its dates. The subject alone tells little, since generations of an
// anchor share it; but a controller that does not record keys yet has no more.
func (s *subject) hasRenewalOf(signers bundle.Set, now time.Time) bool {
	held := s.trust.Maybe.ValidAt(now.Add(-s.clockSkew))
	return slices.ContainsFunc(signers.Anchors(), func(signer bundle.Anchor) bool {
		return slices.ContainsFunc(held.Anchors(), signer.MayBeRenewalOf)
	})
}

// doubt says why it cannot be told whether the pod's trust works; empty when it
// can.
func (s *subject) doubt() string {
	switch {
	case s.trust.Knowledge == mesh.Unknown:
		return s.unknown()
	case s.trust.Knowledge == mesh.Known && hasUnknownValidity(s.trust.Maybe):
		return s.undated()
	default:
		return ""
	}
}

func (s *subject) refuse(reason v1alpha1.Reason, message string) Decision {
	d := Decision{Mesh: s.Name, Outcome: Denied, Reason: reason, Message: message}
	switch s.mode {
	case v1alpha1.AdmissionWarn:
		d.Outcome = Warned
	case v1alpha1.AdmissionAudit:
		d.Outcome = Audited
	}
	return d
}

// warn admits with a warning, which mode Audit only counts.
func (s *subject) warn(reason v1alpha1.Reason, message string) Decision {
	d := Decision{Mesh: s.Name, Outcome: Warned, Reason: reason, Message: message}
	if s.mode == v1alpha1.AdmissionAudit {
		d.Outcome = Allowed
	}
	return d
}
