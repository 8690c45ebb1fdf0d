package lifecycle

import (
	"fmt"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// confirmIssuer waits for the proof that leaves come from the new issuer. That
// its Secret changed does not mean so: the signing service reads a file, skips
// what it cannot verify, and may have stopped watching. Restarted after the file
// surely shows the new issuer, it refuses to start with one it cannot verify; so
// all its pods being Ready is the proof.
func (p *planner) confirmIssuer() bool {
	if !p.stillOn(p.state.To) {
		return true // at an earlier phase
	}
	return p.confirm(p.state.To)
}

// stillOn reports whether every issuer is signed by the anchor and would be
// again; if somebody changed that, the run goes back to the switch.
func (p *planner) stillOn(to *Replaced) bool {
	signed := p.facts.allSignedBy(to.Anchor.Fingerprint)
	secret, ok := p.facts.secretOf(to.Anchor.Fingerprint)
	if signed && (!ok || secret == p.facts.Pointer.SecretName) {
		return true
	}
	if !signed {
		p.state.SwitchedAt, p.state.InUseAt = noTime, noTime
	}
	p.state.enter(v1alpha1.PhaseSwitchIssuer, p.now)
	return false
}

func (p *planner) confirm(to *Replaced) bool {
	if !p.state.InUseAt.IsZero() {
		return true
	}
	if p.state.SwitchedAt.IsZero() {
		p.state.SwitchedAt = ceil(p.now)
	}
	read := p.state.SwitchedAt.Add(p.facts.Policy.FileDelay + p.facts.Policy.Skew)
	if p.now.Before(read) {
		p.again(read)
		return p.wait(v1alpha1.WaitingForPropagation, "a signing service that starts now may still read the older issuer, until "+read.UTC().Format(time.RFC3339))
	}
	if !p.facts.Identity.None && !p.restarted(to) {
		return false
	}
	return p.noteInUse(to)
}

// noteInUse notes that leaves come from the issuer now, as soon as that is on record: an
// issuer before it counts as replaced when the record changes. Were that later than
// what is noted here, its anchor would count as needed until that issuer's own end,
// and be put back after the run (package anchorrotation, LiveIssuers).
func (p *planner) noteInUse(to *Replaced) bool {
	p.state.InUseAt = ceil(p.now)
	recorded := p.facts.Roller.Issuer
	if recorded == nil {
		return true
	}
	if !recorded.VerifiedBy.Contains(to.Anchor.Fingerprint) {
		p.state.InUseAt = noTime
		return p.wait(v1alpha1.ConfirmingIssuer, "the status of the MeshTrust does not name the new issuer yet; its condition IssuerTrusted and spec.issuer say which one it reads")
	}
	if recorded.Since.After(p.state.InUseAt) {
		p.state.InUseAt = recorded.Since // by the clock of another leader
	}
	return true
}

// restarted reports whether the signing service runs nothing but pods that
// carry the run's mark, all Ready.
func (p *planner) restarted(to *Replaced) bool {
	id := p.facts.Identity
	mark := p.mark(to)
	switch {
	case !id.Known:
		return p.block(v1alpha1.NotObserved, "the signing service could not be read")
	case !p.facts.verified(p.facts.Bundle.Set, p.now):
		return p.block(v1alpha1.BundleDoesNotTrustIssuer, "the bundle does not verify the issuer in use: restarting the signing service would end all issuance")
	case id.Mark != mark && !p.live():
		return p.wait(v1alpha1.ConfirmingIssuer, "the signing service is to be restarted")
	case id.Mark != mark:
		restart := Action{
			Verb: RestartIdentity, Workload: id.Workload, Token: mark,
			ResourceVersion: id.ResourceVersion, BundleVersion: p.facts.Bundle.ResourceVersion,
		}
		return p.act(restart, v1alpha1.ConfirmingIssuer, "the signing service is being restarted, to show that it signs with the new issuer")
	default:
		return p.allMarked(mark) && p.live()
	}
}

// mark is what proves that a pod started after the issuer was switched: of a run
// that had to switch it a second time the first proof is none.
func (p *planner) mark(to *Replaced) string {
	return fmt.Sprintf("%s.%d", p.token(to), p.state.SwitchedAt.Unix())
}

// allMarked reports whether there are no pods of the signing service but Ready
// ones with the mark.
func (p *planner) allMarked(mark string) bool {
	id := p.facts.Identity
	if !id.Complete || len(id.Pods) == 0 {
		return p.wait(v1alpha1.ConfirmingIssuer, "the signing service is restarting")
	}
	for _, pod := range id.Pods {
		if pod.Mark != mark || !pod.Ready || pod.Terminating {
			return p.wait(v1alpha1.ConfirmingIssuer, fmt.Sprintf("pod %s of the signing service is not ready, or older than the switch", pod.Name))
		}
	}
	return true
}

// drainLeaves waits until no leaf of an earlier issuer lives. The roller shortens
// that on request; see RestartBefore.
func (p *planner) drainLeaves() bool {
	if !p.stillOn(p.state.To) {
		return true
	}
	return p.drained()
}

func (p *planner) leafQuestion() LeafQuestion {
	return LeafQuestion{
		Pods: p.facts.Pods, InUseAt: p.state.InUseAt, Skew: p.facts.Policy.Skew, Covered: p.covered,
		Lifetime: max(p.facts.Identity.LeafLifetime, p.facts.Policy.LeafLifetime), LeafSkew: p.facts.Identity.LeafSkew,
	}
}

// drained asks gate I2 and names what is in the way.
func (p *planner) drained() bool {
	if p.facts.PodsUnknown {
		return p.block(v1alpha1.NotObserved, "the pods of the mesh could not be read")
	}
	q := p.leafQuestion()
	way := LeafGate(q, p.now)
	end := q.End()
	p.again(end.Add(time.Second))
	switch {
	case len(way) == 0:
		return true
	case end.IsZero():
		return p.block(v1alpha1.LeafLifetimeUnknown, "how long leaves live cannot be read from the signing service; set spec.rotation.leafLifetime", way...)
	default:
		p.decision.BlockedBy = way
		return p.wait(v1alpha1.DrainingLeaves, fmt.Sprintf("%d workloads may hold leaves of the old issuer, until %s", len(way), end.UTC().Format(time.RFC3339)))
	}
}
