package lifecycle_test

import (
	"slices"
	"strconv"
	"time"

	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// simPod is a meshed pod with its proxy.
type simPod struct {
	name, workload   string
	trust            mask
	created, started time.Time // true time; started is zero while it is pending
	skew             time.Duration
	startAt          time.Time
	leaf             int // who signed the leaf; -1 without one
	leafEnds         time.Time
	refreshAt        time.Time
	dieAt            time.Time // terminating since it is set
	unknownUntil     time.Time // the observer cannot tell what it trusts
	reason           string    // why it is not rolled
	endsAt           time.Time // of a Job
	replacedFor      string    // the drain of leaves for which it replaces another
}

// alive reports whether it may take part in a handshake.
func (p *simPod) alive(now time.Time) bool { return p.leaf >= 0 && now.Before(p.leafEnds) }

// replica is one pod of the signing service: it reads the bundle and the issuer
// when it starts, and a changed issuer when it sees the file, unless its watch
// has ended. What it cannot verify it skips, and does not start with.
type replica struct {
	name, mark string
	trust      mask
	issuer     simCert
	ready      bool
	deaf       bool
	startAt    time.Time
	reloadAt   time.Time
	dieAt      time.Time
}

type injector struct {
	serves mask
	readAt time.Time
}

// kubelets lets files become fresh.
func (w *world) kubelets() {
	for _, in := range w.inject {
		if !in.readAt.IsZero() && !w.now.Before(in.readAt) {
			in.serves, in.readAt = w.published.set, time.Time{}
		}
	}
	for _, r := range w.signers {
		if r.reloadAt.IsZero() || w.now.Before(r.reloadAt) {
			continue
		}
		r.reloadAt = time.Time{}
		if r.ready && !r.deaf && w.verifies(r.trust, w.issuer) {
			r.issuer = w.issuer
		}
	}
}

func (w *world) verifies(trust mask, issuer simCert) bool {
	return trust&(1<<issuer.signer) != 0 && w.now.Before(w.ca.anchors[issuer.signer].NotAfter) && w.now.Before(issuer.notAfter)
}

// signing restarts replicas whose template has another mark, or that lack an
// anchor of the bundle, one after the other, and starts those that are new.
func (w *world) signing() {
	var live []*replica
	starting := 0
	for _, r := range w.signers {
		if !r.dieAt.IsZero() && !w.now.Before(r.dieAt) {
			continue
		}
		live = append(live, r)
		if !r.ready && r.dieAt.IsZero() {
			starting++
			w.startReplica(r)
		}
	}
	w.signers = live
	if starting > 0 || w.rng.IntN(3) > 0 {
		return
	}
	for _, r := range w.signers {
		if r.dieAt.IsZero() && (r.mark != w.idMark || w.published.set&^r.trust != 0 && w.mayRoll()) {
			if r.mark == w.idMark { // by the roller
				w.refereeRoll("the signing service")
			}
			w.newReplica()
			r.dieAt = w.now.Add(w.between(0, 30*time.Second))
			return
		}
	}
}

func (w *world) newReplica() *replica {
	w.podN++
	r := &replica{name: "id-" + strconv.Itoa(w.podN), mark: w.idMark, deaf: w.rng.IntN(4) == 0, startAt: w.now.Add(w.between(0, 10*time.Second))}
	w.signers = append(w.signers, r)
	return r
}

// startReplica starts it with the file as it was up to simFile ago.
func (w *world) startReplica(r *replica) {
	if w.now.Before(r.startAt) {
		return
	}
	seen := w.now.Add(-w.between(0, simFile))
	read := w.issuerHistory[0].issuer
	for _, h := range w.issuerHistory {
		if !h.at.After(seen) {
			read = h.issuer
		}
	}
	if !w.verifies(w.published.set, read) {
		r.startAt = w.now.Add(w.between(time.Second, 20*time.Second)) // it refuses, and is started again
		return
	}
	r.trust, r.issuer, r.ready = w.published.set, read, true
	if read.id != w.issuer.id {
		r.reloadAt = w.now.Add(w.between(0, simFile))
	}
}

// newPod creates a pod; some injector writes its bundle.
func (w *world) newPod(workload string) *simPod {
	w.podN++
	in := w.inject[w.rng.IntN(len(w.inject))]
	if in.serves != w.published.set {
		w.tally["injectors that lag"]++
	}
	p := &simPod{
		name: workload + "-" + strconv.Itoa(w.podN), workload: workload, created: w.now, leaf: -1,
		trust: in.serves, skew: w.skew(),
		startAt: w.now.Add(w.between(0, 15*time.Second)),
	}
	if w.rng.IntN(8) == 0 {
		p.startAt = w.now.Add(w.between(0, 30*time.Minute)) // it stays Pending
	}
	if w.rng.IntN(3) == 0 {
		p.created = w.now.Add(w.between(0, 50*time.Second)) // it is injected, and not written yet
		w.unborn = append(w.unborn, p)
		w.tally["late pods"]++
		return p
	}
	w.pods = append(w.pods, p)
	return p
}

// births shows the pods whose admission has ended.
func (w *world) births() {
	w.unborn = slices.DeleteFunc(w.unborn, func(p *simPod) bool {
		if w.now.Before(p.created) {
			return false
		}
		p.created = w.now
		w.pods = append(w.pods, p)
		return true
	})
}

// proxies starts proxies, refreshes leaves and ends pods.
func (w *world) proxies() {
	kept := w.pods[:0]
	for _, p := range w.pods {
		if !p.dieAt.IsZero() && !w.now.Before(p.dieAt) || !p.endsAt.IsZero() && !w.now.Before(p.endsAt) {
			continue
		}
		kept = append(kept, p)
		if p.started.IsZero() && !w.now.Before(p.startAt) {
			p.started, p.refreshAt = w.now, w.now
		}
		if !p.started.IsZero() && !w.now.Before(p.refreshAt) {
			w.refresh(p)
		}
	}
	for i := len(kept); i < len(w.pods); i++ {
		w.pods[i] = nil
	}
	w.pods = kept
}

// refresh gets a leaf from some replica; the proxy verifies it.
func (w *world) refresh(p *simPod) {
	if len(w.signers) == 0 {
		return
	}
	r := w.signers[w.rng.IntN(len(w.signers))]
	if !r.ready || !w.now.Before(r.issuer.notAfter) || p.trust&(1<<r.issuer.signer) == 0 && p.leaf >= 0 {
		p.refreshAt = w.now.Add(w.between(time.Second, 10*time.Second))
		if r.ready && p.trust&(1<<r.issuer.signer) == 0 && w.excused == "" {
			w.foul("handshake: pod %s is given a leaf of ca%d and trusts %b", p.name, r.issuer.signer, p.trust)
		}
		return
	}
	life := simLeaf + simLeafSkew
	if left := r.issuer.notAfter.Sub(w.now); left < life {
		life = left
	}
	p.leaf, p.leafEnds = r.issuer.signer, w.now.Add(life+w.between(0, simSkew))
	p.refreshAt = w.now.Add(life * 7 / 10)
}

// mayRoll is invariant I9 as the roller keeps it.
func (w *world) mayRoll() bool {
	return w.cfg.mutant == noI9 || w.published.set&(1<<w.issuer.signer) != 0 && !w.lacksEarlier()
}

func (w *world) lacksEarlier() bool {
	for _, e := range w.earlier {
		if w.now.Before(e.until) && w.published.set&(1<<e.signer) == 0 && w.now.Before(w.ca.anchors[e.signer].NotAfter) && w.signsOrLives(e.signer) {
			return true
		}
	}
	return false
}

func (w *world) signsOrLives(ca int) bool {
	for _, p := range w.pods {
		if p.alive(w.now) && p.leaf == ca {
			return true
		}
	}
	return false
}

// roller is a simple model of the real one: fence, then one pod at a time.
func (w *world) roller() {
	if w.rolledHash != w.published.set {
		w.rolledHash, w.seenAt, w.fencedAt = w.published.set, w.now, time.Time{}
	}
	if w.fencedAt.IsZero() && (!w.now.Before(w.seenAt.Add(simFile))) {
		w.fencedAt = w.now
	}
	if w.cfg.mutant == noFence {
		w.fencedAt = simBase.Add(-time.Hour)
	}
	if w.fencedAt.IsZero() || w.now.Before(w.rollAt) || !w.mayRoll() {
		return
	}
	grace := 40 * time.Second
	w.rollAt = w.now.Add(w.between(0, 20*time.Second))
	if w.cfg.busy {
		w.rollAt, grace = w.now, time.Second
	}
	for _, p := range w.pods {
		stale := w.published.set&^p.trust != 0
		if p.dieAt.IsZero() && p.reason == "" && (stale || w.restartLeaf(p)) {
			w.refereeRoll(p.name)
			w.refereeReplace(p, w.newPod(p.workload), stale)
			p.dieAt = w.now.Add(w.between(0, grace))
			if w.cfg.busy {
				continue
			}
			return
		}
	}
}

// restartLeaf reports whether the run asks for the pod to be replaced because of
// its leaf (leaves: Restart). The roller goes by the leader's clock, and the API
// server dates the pods.
func (w *world) restartLeaf(p *simPod) bool {
	if w.run == nil {
		return false
	}
	asked := w.controllers[w.leader].clock(w)
	switch w.cfg.mutant {
	case noDelay:
		asked = asked.Add(2*simSkew + 2*time.Second)
	case halfDelay:
		asked = asked.Add(simSkew + time.Second)
	}
	before := lifecycle.RestartBefore(&w.run.state, w.policy(), asked)
	return p.created.Add(w.server).Truncate(time.Second).Before(before)
}
