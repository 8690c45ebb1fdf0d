package lifecycle_test

import (
	"fmt"

	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// The invariants of the design that a rotation could break are judged in every
// step, each where it counts:
//
//	I1  refereeSign, when an issuer is signed
//	I2  refereePublish, when a bundle is published
//	I3  refereeReplace, when a pod is replaced, and refereeRestart for the signing
//	    service; that of bundle changes is the roller's own
//	I4  refereeSuspend, when something is decided; the rest is the roller's
//	I6  refereeKey, when a Secret with a key is copied
//	I8  I1 and I2, of pods that cannot be judged
//	I9  refereeRoll, when a pod is rolled or the signing service restarted
//
// and refereeWorld looks whether any two pods could not talk. I5 is the roller's,
// since no verb of a rotation ends a pod, and I7 is admission's.

// foul is a broken invariant.
type foul string

func (w *world) foul(format string, args ...any) { panic(foul(fmt.Sprintf(format, args...))) }

// excuse ends the judging of what somebody else has broken.
func (w *world) excuse(why string) {
	if w.excused == "" {
		w.excused = why
		w.logf("excused: %s", why)
		w.tally["worlds broken by others"]++
	}
}

// refereeWorld looks at every pair of live pods: each must verify the other's
// leaf.
func (w *world) refereeWorld() {
	if w.excused != "" {
		return
	}
	var leaves mask
	for _, p := range w.pods {
		if p.alive(w.now) {
			leaves |= 1 << p.leaf
		}
	}
	for _, p := range w.pods {
		if p.alive(w.now) && leaves&^p.trust != 0 {
			w.foul("handshake: %s trusts %b, leaves are of %b", p.name, p.trust, leaves)
		}
	}
}

// refereeSign is invariant I1 at the moment at which it counts.
func (w *world) refereeSign(before, after int) {
	if before == after || w.excused != "" {
		return
	}
	for _, p := range w.pods {
		if p.trust&(1<<before) != 0 && p.trust&(1<<after) == 0 && !w.acknowledged(p) {
			if rescuable := w.kept.exists && w.kept.ca == before; w.cfg.inPlace && !rescuable && w.issuer.notAfter.Sub(w.now) < simLeaf+simLeafSkew+3*simSkew {
				w.tally["not held back any longer"]++
				w.excuse("the issuer could not be held back any longer")
				return
			}
			w.foul("I1: the issuer is signed by ca%d, pod %s trusts %b", after, p.name, p.trust)
		}
	}
	w.tally["switches"]++
}

func (w *world) acknowledged(p *simPod) bool {
	if w.run == nil {
		return false
	}
	for _, a := range w.run.ack {
		if a.Name == p.workload {
			return true
		}
	}
	return false
}

// refereePublish is invariant I2, and that foreign anchors survive.
func (w *world) refereePublish(before, after mask) {
	gone := before &^ after
	if gone&(1<<foreignCA) != 0 {
		w.foul("a foreign anchor was dropped")
	}
	if w.excused != "" {
		return
	}
	for _, p := range w.pods {
		if p.alive(w.now) && gone&(1<<p.leaf) != 0 {
			w.foul("I2: ca%d was dropped, pod %s has a leaf of it until %s", p.leaf, p.name, p.leafEnds.Sub(simBase))
		}
	}
	for _, r := range w.signers {
		if r.ready && gone&(1<<r.issuer.signer) != 0 {
			w.foul("I2: ca%d was dropped, %s signs under it", r.issuer.signer, r.name)
		}
	}
}

// refereeRoll is invariant I9.
func (w *world) refereeRoll(what string) {
	if w.published.set&(1<<w.issuer.signer) == 0 {
		w.foul("I9: %s is rolled towards %b, the issuer is of ca%d", what, w.published.set, w.issuer.signer)
	}
}

// refereeSuspend is invariant I4 as far as a rotation goes: a decision taken with
// suspend in sight writes nothing or, where only the run is suspended, nothing
// that leads the run on.
func (w *world) refereeSuspend(f *lifecycle.Facts, d *lifecycle.Decision) {
	for _, a := range d.Actions {
		switch {
		case f.Policy.Suspend:
			w.foul("I4: %s although the MeshTrust is suspended", a.Verb)
		case f.Run != nil && f.Run.Suspend && f.Run.State.Outcome == "" && leadsOn(a) && a.Secret != simKept:
			w.foul("I4: %s although the run is suspended", a.Verb)
		}
	}
	if f.Policy.Suspend {
		w.tally["decisions while suspended"]++
	}
}

// leadsOn reports whether a write is one of a run's phases. What protects the
// mesh is not: an issuer near its end is renewed under its own anchor, by the
// copy of that where there is one.
func leadsOn(a lifecycle.Action) bool {
	switch a.Verb {
	case lifecycle.CreateAnchor, lifecycle.KeepAnchor, lifecycle.PointIssuer, lifecycle.RestartIdentity, lifecycle.DeleteAnchor, lifecycle.DropKept:
		return true
	case lifecycle.LabelAnchor, lifecycle.HoldRenewal:
		return !a.On
	case lifecycle.Renew:
		return a.Object.Name != "issuer"
	default:
		return false
	}
}

// refereeReplace is invariant I3 as far as a rotation goes: for one drain of
// leaves no pod is replaced whose predecessor was.
func (w *world) refereeReplace(old, young *simPod, stale bool) {
	if stale {
		young.replacedFor = old.replacedFor
		return
	}
	young.replacedFor = w.run.uid + w.run.state.InUseAt.String()
	if old.replacedFor == young.replacedFor {
		w.foul("I3: pod %s replaced another because of its leaf, and is replaced for that itself", old.name)
	}
	w.tally["leaf restarts"]++
}

// refereeKey is invariant I6: with generations no key is touched.
func (w *world) refereeKey() {
	if !w.cfg.inPlace {
		w.foul("I6: a Secret with a key is copied")
	}
}

// refereeRestart is invariant I3 for the signing service: it is restarted once
// for each switch of its issuer. (A run whose way back is lost switches again.)
func (w *world) refereeRestart(mark string) {
	if w.run != nil {
		mark += w.run.state.SwitchedAt.String()
	}
	if w.marks[mark] {
		w.foul("I3: the signing service is restarted for %s again", mark)
	}
	w.marks[mark] = true
}

// refereeRenew: a run has one anchor issued, whatever crashes.
func (w *world) refereeRenew() {
	w.renewedFor[w.actor]++
	if n := w.renewedFor[w.actor]; n > 1 {
		w.foul("intent: the run has %d anchors issued", n)
	}
}

// refereeEnd looks at how a run left the mesh.
func (w *world) refereeEnd() {
	s := w.run.state
	w.tally["ended "+string(s.Outcome)]++
	if s.Outcome == lifecycle.Failed && s.AbortedFrom != "" {
		w.tally["aborted from "+string(s.AbortedFrom)]++
	}
	w.tally["path "+string(s.Path)]++
	if s.Outcome == lifecycle.Complete {
		to := w.ca.mask(w.ca.set(^mask(0)).Intersect(setOf(s.To.Anchor)))
		// In place others may have renewed the anchor again in the meantime.
		if mask(1<<w.issuer.signer) != to && !w.cfg.inPlace {
			w.foul("end: complete, and the issuer is of ca%d, not of %b", w.issuer.signer, to)
		}
		if own := w.published.set &^ (1 << foreignCA); own != to && w.excused == "" && !w.cfg.inPlace {
			w.foul("end: complete, and the bundle holds %b besides %b", own, to)
		}
	}
	if s.Outcome == lifecycle.Failed && s.AbortedFrom != "" && s.From != nil && w.excused == "" {
		from := w.ca.mask(setOf(s.From.Anchor))
		if mask(1<<w.issuer.signer) != from {
			w.foul("end: aborted, and the issuer is of ca%d, not of %b", w.issuer.signer, from)
		}
		for i := range w.anchors {
			if c := &w.anchors[i]; !w.cfg.inPlace && !w.cfg.writer && c.labelled && c.ca >= 0 && mask(1<<c.ca) != from {
				w.foul("end: aborted, and ca%d is a source of the bundle still", c.ca)
			}
		}
	}
}
