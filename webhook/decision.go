package webhook

import (
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/webhook/review"
)

// Outcome is what was done with a pod. It is the value of a metric label.
type Outcome string

// The outcomes.
const (
	// Allowed: admitted as it is.
	Allowed Outcome = "allowed"
	// Warned: admitted, and whoever created it was told why that may be wrong.
	Warned Outcome = "warned"
	// Audited: admitted because of mode Audit; Enforce would deny it.
	Audited Outcome = "audited"
	// Denied: not admitted.
	Denied Outcome = "denied"
	// Stamped: admitted with the true stamp written.
	Stamped Outcome = "stamped"
	// Unstamped: admitted with a stamp removed that nothing proves.
	Unstamped Outcome = "unstamped"
	// Failed: answered with an HTTP error, so that the failurePolicy decides.
	Failed Outcome = "error"
)

// Decision is the answer to one request, and why.
type Decision struct {
	// Mesh is the name of the MeshTrust that decided; empty when none did.
	Mesh    string
	Outcome Outcome
	// Reason is a word of Reanchor's vocabulary.
	Reason v1alpha1.Reason
	// Message says in one line why the pod is denied, or warned of.
	Message string
	// Patch writes or removes the stamp.
	Patch review.Patch
}

// Response returns the decision as the answer to the request with the UID.
func (d *Decision) Response(uid string) review.Response {
	r := review.Response{UID: uid, Patch: d.Patch}
	switch d.Outcome {
	case Denied:
		r.Denied, r.Reason, r.Message = true, string(d.Reason), d.Message
	case Warned:
		r.Warnings = []string{d.Message}
	}
	return r
}

// subject is a pod that a mesh claims, with what it trusts.
type subject struct {
	*trusted

	trust mesh.Trust
	class mesh.Class
}

// claim finds the mesh of the pod and what the pod trusts. When there is
// nothing to decide, ok is false and the decision is to allow.
func (s *Snapshot) claim(r *review.Request, now time.Time) (_ subject, _ Decision, ok bool) {
	m := s.meshOf(&r.Pod)
	if m == nil {
		return subject{}, Decision{Outcome: Allowed, Reason: v1alpha1.NotMeshed}, false
	}
	allowed := Decision{Mesh: m.Name, Outcome: Allowed}
	if m.suspended {
		allowed.Reason = v1alpha1.Suspended
		return subject{}, allowed, false
	}
	if _, out := s.optOuts[r.Pod.Namespace]; out || v1alpha1.OptsOut(r.OptOut, v1alpha1.OptOutAdmission) {
		allowed.Reason = v1alpha1.OptedOut
		return subject{}, allowed, false
	}
	trust := m.Trust(&r.Pod, mesh.World{History: m.history, Now: now, Parse: s.parse})
	class := mesh.Classify(trust, m.published, now.Add(-m.clockSkew))
	if m.ControlPlane(&r.Pod) {
		// It must be able to come back whatever it trusts: it is what repairs
		// the rest.
		allowed.Reason = reasonOf(class)
		return subject{}, allowed, false
	}
	return subject{trusted: m, trust: trust, class: class}, Decision{}, true
}

func (s *Snapshot) meshOf(p *mesh.Pod) *trusted {
	for i := range s.meshes {
		if s.meshes[i].Member(p) {
			return &s.meshes[i]
		}
	}
	return nil
}

// reasonOf names a class of trust by the vocabulary.
func reasonOf(c mesh.Class) v1alpha1.Reason {
	switch c {
	case mesh.ClassExpired:
		return v1alpha1.TrustExpired
	case mesh.ClassMissing:
		return v1alpha1.Missing
	case mesh.ClassRetired:
		return v1alpha1.Retired
	case mesh.ClassCurrent:
		return v1alpha1.Current
	default:
		return v1alpha1.TrustUnknown
	}
}

// reason of a subject: like its class, but no certificate at all is no lack of
// a particular one, and without a published bundle nothing is more than it.
func (s *subject) reason() v1alpha1.Reason {
	switch {
	case s.trust.None():
		return v1alpha1.NoCertificate
	case s.class == mesh.ClassRetired && s.published.Empty():
		return v1alpha1.TrustUnknown
	default:
		return reasonOf(s.class)
	}
}

// hasUnknownValidity reports whether an anchor of the set cannot be dated.
func hasUnknownValidity(set bundle.Set) bool {
	_, known := set.NotAfter()
	return !known && !set.Empty()
}
