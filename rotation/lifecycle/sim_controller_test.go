package lifecycle_test

import (
	"slices"
	"strconv"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// controller is one process of the companion controller: it observes, decides,
// stores and then acts, one write at a time. Before each it looks whether the
// MeshTrust and the run are as they were decided on. It may be stopped between
// any two of these.
type controller struct {
	id     int
	skew   time.Duration
	frozen time.Time

	stage    stage
	decision lifecycle.Decision
	run      string
	rv       int
	next     int
	checked  bool
	mt       int // the MeshTrust's generation
	live     bool
	cache    lifecycle.Facts
	cacheRV  int
	cacheRun string // the uid of the run, if it has ended too
	cacheMT  int
	cachedAt time.Time
}

type stage int

const (
	idle stage = iota
	storing
	acting
)

func (s stage) String() string { return [...]string{"idle", "storing", "acting"}[s] }

func (c *controller) clock(w *world) time.Time { return w.now.Add(c.skew) }

func (c *controller) step(w *world) {
	if w.now.Before(c.frozen) {
		return
	}
	switch c.stage {
	case idle:
		if w.leader == c.id {
			c.decide(w)
		}
	case storing:
		c.store(w)
	case acting:
		c.act(w)
	}
}

// decide reads from its cache, which lags, or from the API server when the last
// decision asked for it.
func (c *controller) decide(w *world) {
	if w.run == nil || w.run.state.Outcome != "" {
		c.open(w)
	}
	if c.cachedAt.IsZero() || c.live || w.now.Sub(c.cachedAt) > 5*time.Second || w.rng.IntN(3) == 0 {
		c.cache, c.cachedAt, c.cacheRV, c.cacheMT = w.facts(c), w.now, 0, w.mtGen
		c.cacheRun = ""
		if w.run != nil {
			c.cacheRV, c.cacheRun = w.run.rv, w.run.uid
		}
	}
	f := c.cache
	f.Read.Live = c.live
	c.live = false
	c.rv, c.run, c.mt = c.cacheRV, "", c.cacheMT
	if f.Run != nil {
		c.run = f.Run.UID
	}
	c.decision = lifecycle.Next(f, c.clock(w))
	w.tally["decisions"]++
	d := &c.decision
	w.tally[string(d.Reason)]++
	w.logf("c%d (live=%t) %s: %s: %s %v %d actions", c.id, f.Read.Live, d.State.Phase, d.Reason, d.Message, d.BlockedBy, len(d.Actions))
	w.refereeSuspend(&f, d)
	c.next, c.checked, c.stage, c.live = 0, false, storing, d.NeedLive
	if w.cfg.mutant == actFirst {
		c.stage = acting
	}
}

// open creates an AnchorRotation when one is due.
func (c *controller) open(w *world) {
	if w.rng.IntN(20) > 0 {
		return
	}
	f := w.facts(c)
	f.Run = nil
	o := lifecycle.Open(lifecycle.Opening{Facts: f, Runs: w.lastEnded, RotateBefore: time.Minute, HistoryLimit: 5}, c.clock(w))
	if o.Name != "" {
		w.newRun(o.Name)
		w.tally["opened "+string(o.Trigger)]++
	}
}

// store writes the state, unless somebody else wrote since.
func (c *controller) store(w *world) {
	if w.run == nil || w.run.uid != c.run {
		c.stage = idle
		if c.run == "" && (w.run == nil || w.run.state.Outcome != "") {
			c.stage = acting // nothing to store without a run
		}
		return
	}
	if w.run.rv != c.rv && w.cfg.mutant != noConflict {
		c.stage = idle
		return
	}
	ended := w.run.state.Outcome != ""
	w.run.state = c.decision.State
	w.run.rv = w.rv()
	c.rv = w.run.rv
	if !ended && w.run.state.Outcome != "" {
		w.refereeEnd()
		w.lastEnded = append(w.lastEnded, lifecycle.RunSummary{Name: w.run.name, Outcome: w.run.state.Outcome, EndedAt: c.clock(w)})
	}
	c.stage = acting
	if w.cfg.mutant == actFirst {
		c.stage = idle
	}
}

// act carries out the next action, or gives up the rest on a Conflict.
func (c *controller) act(w *world) {
	if c.next >= len(c.decision.Actions) {
		c.stage = idle
		if w.cfg.mutant == actFirst && c.run != "" {
			c.stage, c.decision.Actions = storing, nil
		}
		return
	}
	if !c.checked && w.cfg.mutant != noConflict {
		c.checked = c.inForce(w)
		if !c.checked {
			c.stage = idle
		}
		return
	}
	a := c.decision.Actions[c.next]
	c.next++
	c.checked, w.actor = false, c.run
	ok := w.do(a)
	w.logf("c%d does %s %s %s%s set=%b on=%t: %t", c.id, a.Verb, a.Object.Name, a.Secret, a.Token, w.ca.mask(a.Set), a.On, ok)
	w.tally["did "+string(a.Verb)]++
	if !ok {
		c.stage = idle
	}
}

// inForce reports whether nobody has changed what was decided on.
func (c *controller) inForce(w *world) bool {
	if c.mt != w.mtGen {
		return false
	}
	switch {
	case w.cfg.mutant == actFirst:
		return true
	case c.run == "": // no run has begun since the look
		return w.run == nil || w.run.uid == c.cacheRun
	}
	return w.run != nil && w.run.uid == c.run && w.run.rv == c.rv
}

func rvOf(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// do is the API server: a write on an older resourceVersion is refused.
func (w *world) do(a lifecycle.Action) bool {
	if w.cfg.mutant == noConflict {
		w.forgetVersions(&a)
	}
	switch a.Verb {
	case lifecycle.WriteArchive:
		return w.write(&w.archive, a)
	case lifecycle.WriteCarrier:
		if w.cfg.mutant == noStanding && (w.run == nil || w.run.state.Outcome != "") {
			return true
		}
		return w.write(&w.carrier, a)
	case lifecycle.WriteBundle:
		if rvOf(w.published.rv) != a.ResourceVersion {
			return false
		}
		w.publish(w.ca.mask(a.Set))
		return true
	case lifecycle.CreateAnchor:
		return w.create(a)
	case lifecycle.PointIssuer:
		return w.point(a)
	case lifecycle.RestartIdentity:
		if rvOf(w.idRV) != a.ResourceVersion || rvOf(w.published.rv) != a.BundleVersion {
			return false
		}
		w.refereeRoll("the signing service")
		w.refereeRestart(a.Token)
		w.idMark, w.idRV = a.Token, w.rv()
		return true
	case lifecycle.KeepAnchor, lifecycle.DropKept:
		return w.keep(a)
	default:
		return w.onCertificate(a)
	}
}

// forgetVersions lets a write through whatever it was decided on.
func (w *world) forgetVersions(a *lifecycle.Action) {
	a.SignerVersion, a.BundleVersion = "", rvOf(w.published.rv)
	a.Signer.Name = ""
	switch a.Verb {
	case lifecycle.WriteArchive:
		a.ResourceVersion = rvOf(w.archive.rv)
	case lifecycle.WriteCarrier:
		a.ResourceVersion = rvOf(w.carrier.rv)
	case lifecycle.WriteBundle:
		a.ResourceVersion = rvOf(w.published.rv)
	case lifecycle.PointIssuer:
		a.ResourceVersion = rvOf(w.pointerRV)
	case lifecycle.RestartIdentity:
		a.ResourceVersion = rvOf(w.idRV)
	case lifecycle.KeepAnchor, lifecycle.DropKept:
		a.ResourceVersion = rvOf(w.kept.rv)
		return // its Object is the Certificate, of which it needs no version
	}
	for _, c := range append([]simCert{w.issuer}, w.anchors...) {
		if c.name == a.Object.Name {
			a.ResourceVersion = rvOf(c.rv)
		}
	}
}

func (w *world) write(h *holder, a lifecycle.Action) bool {
	if rvOf(h.rv) != a.ResourceVersion {
		return false
	}
	if w.cfg.inPlace && h == &w.carrier && a.Set.Empty() {
		w.foul("the previous-anchor Secret is left empty")
	}
	*h = holder{!a.Set.Empty(), w.ca.mask(a.Set), w.rv()}
	if !h.exists {
		h.rv = 0
	}
	return true
}

func (w *world) create(a lifecycle.Action) bool {
	for i := range w.anchors {
		if w.anchors[i].name == a.Object.Name {
			return true
		}
	}
	if w.run != nil && w.run.uid == w.actor && w.run.state.Outcome == "" {
		w.refereeRenew()
	} else {
		// A create has no version to be refused by. What a controller creates that
		// was left behind by a whole run is in no bundle: the next run takes it, or
		// it is swept away.
		w.tally["created by a run that is over"]++
	}
	w.anchors = append(w.anchors, simCert{name: a.Object.Name, secret: a.Secret, gen: a.Generation, rv: w.rv(), ca: -1, held: true, issuing: true, issuingAt: w.now})
	return true
}

func (w *world) point(a lifecycle.Action) bool {
	if rvOf(w.pointerRV) != a.ResourceVersion {
		return false
	}
	if w.pointer.secret != a.Secret {
		w.pointer.before, w.pointedAt = w.pointer.secret, w.now
	}
	w.pointer.secret, w.pointer.token, w.pointerRV = a.Secret, a.Token, w.rv()
	return true
}

func (w *world) keep(a lifecycle.Action) bool {
	w.refereeKey()
	if a.Verb == lifecycle.DropKept {
		if rvOf(w.kept.rv) != a.ResourceVersion {
			return false
		}
		w.kept.exists, w.kept.rv = false, 0
		return true
	}
	if w.ca.anchors[w.anchors[0].ca].Fingerprint != a.Anchor || rvOf(w.kept.rv) != a.ResourceVersion {
		return false
	}
	w.kept.exists, w.kept.ca, w.kept.rv = true, w.anchors[0].ca, w.rv()
	return true
}

func (w *world) onCertificate(a lifecycle.Action) bool {
	c := &w.issuer
	at := -1
	for i := range w.anchors {
		if w.anchors[i].name == a.Object.Name {
			c, at = &w.anchors[i], i
		}
	}
	if c.name != a.Object.Name || rvOf(c.rv) != a.ResourceVersion {
		return false
	}
	for i := range w.anchors {
		if w.anchors[i].name == a.Signer.Name && rvOf(w.anchors[i].rv) != a.SignerVersion {
			return false
		}
	}
	switch a.Verb {
	case lifecycle.LabelAnchor:
		c.labelled = a.On
	case lifecycle.HoldRenewal:
		c.held = a.On
	case lifecycle.DeleteAnchor:
		w.anchors = slices.Delete(w.anchors, at, at+1)
		return true
	case lifecycle.Renew:
		if at >= 0 && w.cfg.inPlace && c.failedAt.IsZero() {
			w.refereeRenew()
		}
		if !c.issuing {
			c.issuing, c.issuingAt = true, w.now
		}
	}
	c.rv = w.rv()
	return true
}

func setOf(a ...bundle.Anchor) bundle.Set { return bundle.FromAnchors(a...) }

// facts is what an observer would see now.
func (w *world) facts(c *controller) lifecycle.Facts {
	f := lifecycle.Facts{
		Mesh: "mesh", Policy: w.policy(),
		Read:    lifecycle.Read{StartedAt: c.clock(w), ServerTime: w.now.Add(w.server)},
		Bundle:  lifecycle.Bundle{Set: w.ca.set(w.published.set), ResourceVersion: rvOf(w.published.rv)},
		Archive: lifecycle.Carrier{Set: w.ca.set(w.archive.set), ResourceVersion: rvOf(w.archive.rv)},
		Marked:  w.ca.set(w.marked),
		Pointer: lifecycle.Pointer{Known: true, SecretName: w.pointer.secret, Token: w.pointer.token, ResourceVersion: rvOf(w.pointerRV)},
		Checks:  lifecycle.Checks{Expected: 12 * time.Minute},
	}
	if !w.cfg.writer {
		f.Carrier = lifecycle.Carrier{Set: w.ca.set(w.carrier.set), ResourceVersion: rvOf(w.carrier.rv)}
	}
	for i := range w.anchors {
		f.Anchors = append(f.Anchors, w.anchorFact(&w.anchors[i]))
	}
	f.Issuers = []lifecycle.Certificate{w.issuerFact()}
	if w.kept.exists {
		f.Kept = lifecycle.Kept{Exists: true, SecretName: simKept, Anchor: w.ca.anchors[w.kept.ca].Fingerprint, ResourceVersion: rvOf(w.kept.rv)}
	}
	for _, e := range w.earlier {
		if w.now.Before(e.until) {
			f.Earlier = append(f.Earlier, lifecycle.Earlier{SignedBy: w.ca.set(1 << e.signer), LeavesUntil: e.until})
		}
	}
	f.Pods = w.podFacts()
	f.Identity = w.identityFact()
	f.Roller = lifecycle.Roller{BundleHash: w.ca.set(w.rolledHash).Hash(), FencedAt: w.fencedAt, Message: "rolling"}
	if !w.fencedAt.IsZero() {
		f.Roller.FencedAt = w.fencedAt.Add(w.controllers[0].skew) // by the clock of whoever stored it
	}
	if at := w.recorded.at; !at.IsZero() && !w.now.Before(at) {
		w.recorded = recordedIssuer{signer: w.issuer.signer, since: at.Add(w.controllers[0].skew)}
	}
	f.Roller.Issuer = &lifecycle.RecordedIssuer{VerifiedBy: w.ca.set(1 << w.recorded.signer), Since: w.recorded.since}
	if w.run != nil {
		f.Run = &lifecycle.Run{Name: w.run.name, UID: w.run.uid, Suspend: w.run.suspend, Abort: w.run.abort, Acknowledge: w.run.ack, State: w.run.state}
	}
	w.unread(&f)
	w.mark(&f)
	w.mutate(&f)
	return f
}

// mark is what a look writes into the MeshTrust's status besides.
func (w *world) mark(f *lifecycle.Facts) {
	own := lifecycle.OwnAnchors(f)
	var marked mask
	for i := range w.ca.anchors {
		if w.published.set&(1<<i) != 0 && own.Contains(w.ca.anchors[i].Fingerprint) {
			marked |= 1 << i
		}
	}
	w.marked = marked
}

// taken takes an unread Certificate for one that never issued anything, in the
// worlds that lack the rule against that.
func (w *world) taken(c *lifecycle.Certificate) {
	if w.cfg.mutant == noUnread {
		c.Revision = 0
	}
}

// unread hides now and then what a Certificate issued: often while the next is on
// its way, when cert-manager has deleted its request, and sometimes when somebody
// else has.
func (w *world) unread(f *lifecycle.Facts) {
	hidden := func(c *lifecycle.Certificate) bool {
		if c.Issuing {
			return w.rng.IntN(3) == 0
		}
		return w.rng.IntN(300) == 0
	}
	if c := &f.Issuers[0]; hidden(c) {
		c.Issued, c.SignedBy = nil, bundle.Set{}
		w.taken(c)
		w.tally["issuers unread"]++
	}
	for i := range f.Anchors {
		if c := &f.Anchors[i]; c.Issued != nil && hidden(c) {
			c.Issued = nil
			w.taken(c)
			w.tally["anchors unread"]++
		}
	}
}

func (w *world) policy() lifecycle.Policy {
	p := lifecycle.Policy{
		Layout: v1alpha1.LayoutGenerations, Writer: v1alpha1.BundleWriterTrustManager, Leaves: v1alpha1.LeavesExpire, MaxCarryOver: 1,
		AnchorNamespace: "cert-manager", Suspend: w.suspended, FileDelay: simFile, Skew: simSkew,
	}
	if w.cfg.inPlace {
		p.Layout = v1alpha1.LayoutInPlace
	}
	if w.cfg.writer {
		p.Writer = v1alpha1.BundleWriterReanchor
	}
	if w.cfg.restart {
		p.Leaves = v1alpha1.LeavesRestart
	}
	return p
}

func (w *world) anchorFact(c *simCert) lifecycle.Certificate {
	out := lifecycle.Certificate{
		Ref: v1alpha1.ObjectRef{Namespace: "cert-manager", Name: c.name}, ResourceVersion: rvOf(c.rv), Generation: c.gen,
		Revision: int64(c.revision), SecretName: c.secret, Labelled: c.labelled, Issuing: c.issuing, FailedAt: c.failedAt,
		CanHold: true, Held: c.held, HoldSeen: c.heldSeen,
	}
	if c.ca >= 0 {
		out.Issued = &w.ca.anchors[c.ca]
	}
	return out
}

func (w *world) issuerFact() lifecycle.Certificate {
	c := &w.issuer
	return lifecycle.Certificate{
		Ref: v1alpha1.ObjectRef{Namespace: "linkerd", Name: c.name}, ResourceVersion: rvOf(c.rv), SecretName: c.secret, Revision: int64(max(c.revision, 1)),
		Issued:   &bundle.Anchor{Fingerprint: bundle.Fingerprint{0xff, byte(c.id >> 8), byte(c.id)}, NotBefore: c.notBefore, NotAfter: c.notAfter},
		SignedBy: w.ca.set(1 << c.signer), Issuing: c.issuing, FailedAt: c.failedAt,
		CanHold: true, Held: c.held, HoldSeen: c.heldSeen, RenewalTime: c.notBefore.Add(simRenewAfter),
	}
}

func (w *world) podFacts() []lifecycle.Pod {
	var out []lifecycle.Pod
	for _, p := range w.pods {
		x := lifecycle.Pod{
			Workload:  v1alpha1.WorkloadRef{Namespace: "app", Kind: "Deployment", Name: p.workload},
			Namespace: "app", Name: p.name, CreatedAt: p.created.Add(w.server).Truncate(time.Second), NotRolled: v1alpha1.Reason(p.reason),
			Trust: w.trust(p.trust, w.now.Before(p.unknownUntil)),
		}
		if !p.started.IsZero() {
			x.StartedAt = p.started.Add(p.skew).Truncate(time.Second)
		}
		out = append(out, x)
	}
	for _, r := range w.signers {
		if r.ready {
			out = append(out, lifecycle.Pod{
				Workload:  v1alpha1.WorkloadRef{Namespace: "linkerd", Kind: "Deployment", Name: "identity"},
				Namespace: "linkerd", Name: r.name, CreatedAt: r.startAt.Add(w.server), Trust: w.trust(r.trust, false),
			})
		}
	}
	return out
}

func (w *world) trust(m mask, unknown bool) *mesh.Trust {
	if unknown {
		return &mesh.Trust{Why: "nobody looked"}
	}
	return &mesh.Trust{Knowledge: mesh.Known, Sure: w.ca.set(m), Maybe: w.ca.set(m)}
}

func (w *world) identityFact() lifecycle.Identity {
	id := lifecycle.Identity{
		Known: true, Workload: v1alpha1.WorkloadRef{Namespace: "linkerd", Kind: "Deployment", Name: "identity"},
		ResourceVersion: rvOf(w.idRV), Mark: w.idMark, Complete: true, LeafLifetime: simLeaf, LeafSkew: simLeafSkew,
	}
	for _, r := range w.signers {
		id.Pods = append(id.Pods, lifecycle.IdentityPod{Name: r.name, Mark: r.mark, Ready: r.ready, Terminating: !r.dieAt.IsZero()})
		id.Complete = id.Complete && r.ready
	}
	return id
}
