package lifecycle

import (
	"fmt"
	"strings"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// noTime is what has not happened.
var noTime = time.Time{}

// preflight checks what a rotation needs before it changes anything. What is
// wrong may be put right until the phase's deadline; then the run fails.
func (p *planner) preflight() bool {
	if p.facts.Checks.OtherRun != "" {
		return p.wait(v1alpha1.AnotherRotation, "waiting for "+p.facts.Checks.OtherRun+", which was created earlier")
	}
	hold := p.unready()
	switch {
	case hold.Reason == "":
		return p.begin() && p.inTime() || p.failLate()
	default:
		p.block(hold.Reason, hold.Message)
		return p.failLate()
	}
}

// failLate ends the run when its phase is over its deadline: nothing was changed.
func (p *planner) failLate() bool {
	if p.late() {
		p.state.end(Failed, p.now)
		p.decision.Blocked = false
	}
	return false
}

// unready says what a rotation lacks.
func (p *planner) unready() Hold {
	f := &p.facts
	switch {
	case f.Bundle.Unusable.Reason != "":
		return f.Bundle.Unusable
	case f.PodsUnknown:
		return Hold{v1alpha1.NotObserved, "the pods of the mesh could not be read"}
	case f.issuer() == nil:
		return Hold{v1alpha1.IssuerNotFound, "the issuer's Certificate has issued nothing; name it in spec.rotation.issuerCertificateRef"}
	case !f.Pointer.Known:
		return Hold{v1alpha1.NotObserved, "the ClusterIssuer could not be read; name it in spec.rotation.clusterIssuerName"}
	case p.view.newest == nil:
		return Hold{v1alpha1.NotObserved, "no Certificate of an anchor that is in use was found; name it in spec.rotation.anchorCertificateRef"}
	default:
		return p.hindered()
	}
}

// hindered says what stands in the way of one that lacks nothing.
func (p *planner) hindered() Hold {
	f := &p.facts
	switch {
	case f.Checks.Missing != "":
		return Hold{v1alpha1.PermissionMissing, f.Checks.Missing}
	case f.Checks.BundleFault != "":
		return Hold{v1alpha1.BundleNotOurs, f.Checks.BundleFault}
	case f.midway():
		return p.inFlight() // nothing is to be issued from a template
	case f.Checks.Shared != "":
		return Hold{v1alpha1.InvalidSpec, f.Checks.Shared}
	case f.Checks.TemplateFault != "" && !f.Policy.inPlace():
		return Hold{v1alpha1.TemplateInvalid, f.Checks.TemplateFault}
	default:
		return p.unfit()
	}
}

// unfit looks at the Certificates themselves.
func (p *planner) unfit() Hold {
	for _, list := range [][]Certificate{p.facts.Issuers, p.facts.Anchors} {
		for i := range list {
			c := &list[i]
			if c.Unfit != "" {
				return Hold{v1alpha1.TemplateInvalid, fmt.Sprintf("Certificate %s/%s: %s", c.Ref.Namespace, c.Ref.Name, c.Unfit)}
			}
		}
	}
	return p.inFlight()
}

// inFlight waits for certificates that are being issued.
func (p *planner) inFlight() Hold {
	for _, list := range [][]Certificate{p.facts.Issuers, p.facts.Anchors} {
		for i := range list {
			if c := &list[i]; c.Issuing {
				return Hold{v1alpha1.IssuanceInFlight, fmt.Sprintf("Certificate %s/%s is being issued", c.Ref.Namespace, c.Ref.Name)}
			}
		}
	}
	return Hold{}
}

// inTime reports whether there is time to roll every pod before an issuer
// renews itself (InPlace). Where that can be held back, the issuer's remaining
// life counts; it is renewed first, while that is still safe.
func (p *planner) inTime() bool {
	if !p.facts.Policy.inPlace() || p.state.To.known() {
		return true
	}
	for i := range p.facts.Issuers {
		c := &p.facts.Issuers[i]
		if end := p.mustEndBy(c); !end.IsZero() && !p.now.Add(p.facts.Checks.Expected).Before(end) {
			return p.freshen(c, end)
		}
	}
	return true
}

// mustEndBy is when every pod must trust the new anchor: at the issuer's next
// renewal or, where that can be held back, before its leaves are cut short; zero
// when that is not known.
func (p *planner) mustEndBy(c *Certificate) time.Time {
	switch {
	case c.Issued == nil:
		return noTime
	case c.CanHold:
		return c.Issued.NotAfter.Add(-p.spareLife())
	default:
		return c.RenewalTime
	}
}

// freshen renews an issuer before the rotation begins.
func (p *planner) freshen(c *Certificate, end time.Time) bool {
	switch {
	case p.young(c):
		return p.block(v1alpha1.IssuerRenewsTooSoon, fmt.Sprintf("rolling every pod is expected to take %s and must end by %s; give the issuer's Certificate a longer duration",
			p.facts.Checks.Expected, end.UTC().Format(time.RFC3339)))
	case p.strays(c) || c.Issuing || p.resting(c):
		return p.wait(v1alpha1.IssuanceInFlight, "the issuer is being renewed first")
	default:
		return p.act(p.renewal(c, p.state.From), v1alpha1.IssuerRenewsTooSoon, "the issuer would renew itself too soon, and is renewed under the old anchor first")
	}
}

// young reports whether an issuer was issued since the run began, so that
// renewing it again would win nothing.
func (p *planner) young(c *Certificate) bool {
	return !c.Issued.NotBefore.Before(p.state.since().Add(-p.facts.Policy.Skew - time.Minute))
}

// spareLife is how much of an issuer's life must be left for its leaves: it
// clamps them, and is not held back below it.
func (p *planner) spareLife() time.Duration {
	q := p.leafQuestion()
	return q.Lifetime + q.LeafSkew + 2*q.Skew
}

// externals names what outside the cluster trusts the anchors.
func (p *planner) externals() string {
	if len(p.facts.Checks.External) == 0 && p.facts.Policy.ExternalTrust {
		return "spec.rotation.externalTrust"
	}
	return strings.Join(p.facts.Checks.External, ", ")
}
