package lifecycle_test

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

var (
	simSteps = flag.Int("sim.steps", 1_000_000, "steps of the simulation, over all worlds")
	simSeed  = flag.Uint64("sim.seed", 0, "simulate only the world of this seed, and print what happens")
)

// config is how one world differs from another.
type config struct {
	inPlace, writer, restart bool
	short                    bool // the first anchor ends early
	hostile                  bool // others move the pointer and take labels away
	busy                     bool // pods come and go all the time, and an injector is slow
	deletes                  bool // the user deletes rotations that run
	suspends                 bool // the user suspends the MeshTrust
	shaky                    bool // the leader hardly ever gets to the end of a decision
	mutant                   mutant
	trace                    bool
}

// mutant is a rule that is taken away, to see that the simulation notices.
type mutant int

const (
	none mutant = iota
	noGateSwitch
	noGateLeaf
	noI9
	noFence
	noConfirm
	noPointer
	noStanding
	actFirst
	noConflict
	noHold
	noLeafTime
	noUnknown
	noPending
	noUnread
	noDelay
	halfDelay
)

// mutate takes away what a controller sees.
func (w *world) mutate(f *lifecycle.Facts) {
	switch w.cfg.mutant {
	case noGateSwitch:
		for i := range f.Pods {
			f.Pods[i].Trust = &mesh.Trust{Knowledge: mesh.Reloads}
		}
	case noGateLeaf:
		for i := range f.Pods {
			f.Pods[i].StartedAt = w.now.Add(time.Hour)
		}
	case noI9:
		f.Bundle.Set = f.Bundle.Set.Union(f.Issuers[0].SignedBy)
	case noHold:
		for i := range f.Issuers {
			f.Issuers[i].CanHold = false
		}
	case noLeafTime:
		f.Identity.LeafLifetime, f.Identity.LeafSkew, f.Policy.Skew = time.Second, 0, 0
	case noUnknown:
		f.Pods = slices.DeleteFunc(f.Pods, func(p lifecycle.Pod) bool { return p.Trust.Knowledge == mesh.Unknown })
	case noPending:
		f.Pods = slices.DeleteFunc(f.Pods, func(p lifecycle.Pod) bool { return p.StartedAt.IsZero() })
	case noConfirm:
		f.Identity.None, f.Policy.FileDelay = true, 0
	}
}

func newWorld(seed uint64, ca *authorities, cfg config) *world {
	w := &world{
		cfg: cfg, rng: rand.New(rand.NewPCG(seed, 7)), ca: ca, now: simBase, tally: map[string]int{}, renewedFor: map[string]int{}, marks: map[string]bool{},
	}
	if cfg.mutant == none || cfg.mutant == actFirst || cfg.mutant == noConflict {
		w.cfg.inPlace, w.cfg.writer = w.rng.IntN(2) == 0, w.rng.IntN(4) == 0
	}
	w.cfg.inPlace = w.cfg.inPlace || cfg.mutant == noStanding || cfg.mutant == noHold || cfg.mutant == noUnread
	w.cfg.restart = w.rng.IntN(3) == 0 || cfg.mutant == noDelay || cfg.mutant == halfDelay
	w.cfg.short = cfg.mutant == none && w.rng.IntN(10) == 0
	w.cfg.hostile = w.rng.IntN(8) == 0 || cfg.mutant == noI9
	w.cfg.busy = w.rng.IntN(3) == 0 || cfg.mutant == noConflict || cfg.mutant == noFence
	w.cfg.deletes = w.rng.IntN(10) == 0
	w.cfg.suspends = w.rng.IntN(8) == 0
	w.cfg.shaky = w.rng.IntN(4) == 0 && cfg.mutant != noUnread || cfg.mutant == noConflict
	w.server = w.skew()
	old := mask(0)
	if w.cfg.inPlace && !w.cfg.writer && (w.rng.IntN(3) == 0 || cfg.mutant == noStanding) {
		old = 1 << w.issueCA() // nobody copied the anchor after the last rotation
	}
	first := w.issueCA()
	if w.cfg.short {
		first = shortLived
	}
	name := "mesh-anchor-1"
	w.anchors = []simCert{{name: name, secret: name, gen: 1, revision: 1, ca: first, rv: w.rv(), labelled: true, secretLabel: true}}
	w.pointer.secret, w.pointerRV = name, w.rv()
	w.issuer = simCert{name: "issuer", secret: "issuer", revision: 1, rv: w.rv(), ca: -1, signer: first, id: 1, notBefore: simBase.Add(-w.between(0, simRenewAfter))}
	w.recorded = recordedIssuer{signer: first, since: simBase}
	w.issuer.notAfter = w.issuer.notBefore.Add(simIssuer)
	w.issuerHistory = []issuerAt{{simBase.Add(-time.Hour), w.issuer}}
	w.published = holder{true, old | 1<<first | 1<<foreignCA, w.rv()}
	w.rolledHash, w.seenAt, w.fencedAt = w.published.set, simBase.Add(-time.Hour), simBase.Add(-time.Hour)
	if w.cfg.inPlace && !w.cfg.writer {
		w.carrier = holder{true, 1 << first, w.rv()}
		if old != 0 {
			w.carrier.set = old
		}
	}
	for range 3 {
		w.inject = append(w.inject, &injector{serves: w.published.set})
	}
	for i := range 4 {
		w.controllers = append(w.controllers, &controller{id: i, skew: w.skew()})
	}
	for range 2 {
		r := w.newReplica()
		r.trust, r.issuer, r.ready = w.published.set, w.issuer, true
	}
	for i := range 3 {
		for range 1 + w.rng.IntN(2) {
			w.newPod("web" + strconv.Itoa(i))
		}
	}
	w.idRV = w.rv()
	return w
}

func (w *world) newRun(name string) {
	w.runN++
	w.run = &simRun{name: name, uid: "uid" + strconv.Itoa(w.runN), rv: w.rv()}
	w.logf("rotation %s begins", name)
}

// step lets time pass and one thing happen everywhere.
func (w *world) step() {
	w.steps++
	d := w.between(0, 2*time.Second)
	if w.rng.IntN(w.leaps()) == 0 {
		d = w.between(0, 30*time.Second)
	}
	w.now = w.now.Add(d)
	w.kubelets()
	w.signing()
	w.births()
	w.proxies()
	w.certManager()
	w.trustManager()
	w.roller()
	for _, c := range w.controllers {
		if w.rng.IntN(2) == 0 {
			c.step(w)
		}
	}
	if w.cfg.busy && !w.quiet && w.rng.IntN(4) == 0 {
		w.churn()
	}
	if !w.quiet {
		w.interrupt()
	}
	if !w.quiet && w.rng.IntN(12) == 0 {
		w.disturb()
	}
	if w.excused == "" && w.cfg.short && !w.now.Before(w.ca.anchors[shortLived].NotAfter.Add(-simLeaf)) && w.issuer.signer == shortLived {
		w.excuse("the anchor expires before it was rotated")
	}
	if w.excused == "" && !w.now.Before(w.issuer.notAfter) {
		w.excuse("the issuer expired")
	}
	w.refereeWorld()
}

// leaps is how rarely much time passes at once: more rarely while a run does
// what must be done in time.
func (w *world) leaps() int {
	if w.run == nil || w.run.state.Outcome != "" {
		return 5
	}
	switch w.run.state.Phase {
	case v1alpha1.PhaseWiden, v1alpha1.PhaseRolling, v1alpha1.PhaseSwitchIssuer:
		return 12
	default:
		return 5
	}
}

// interrupt stops the leader where it matters: between its decision, what it
// stores and each of its writes. It crashes, or it is only slow, and carries on
// with the rest when another has long taken over.
func (w *world) interrupt() {
	c := w.controllers[w.leader]
	one := 100
	if w.cfg.shaky {
		one = 12
	}
	if c.stage == idle || len(c.decision.Actions) == 0 || w.rng.IntN(one) > 0 {
		return
	}
	w.tally["interrupted "+c.stage.String()]++
	if w.rng.IntN(3) == 0 {
		w.crash()
	} else {
		w.takeOver()
	}
}

// disturb does what users, nodes and other actors do.
func (w *world) disturb() {
	switch n := w.rng.IntN(100); {
	case n < 12 && (w.run == nil || w.run.state.Outcome != ""):
		w.newRun("manual-" + strconv.Itoa(w.runN))
	case n < 24:
		w.newPod("web" + strconv.Itoa(w.rng.IntN(3)))
	case n < 36 && len(w.pods) > 4:
		if p := w.pods[w.rng.IntN(len(w.pods))]; p.dieAt.IsZero() {
			p.dieAt = w.now.Add(w.between(0, time.Minute))
		}
	case n < 44:
		w.crash()
	case n < 50:
		w.takeOver()
	case n < 54:
		w.cmDownUntil = w.now.Add(w.between(0, time.Minute))
	case n < 58:
		w.tmDownUntil = w.now.Add(w.between(0, time.Minute))
	case n < 68:
		w.oddPod()
	case n < 80:
		w.user()
	default:
		w.foreign()
	}
}

// churn replaces a pod, as an autoscaler does.
func (w *world) churn() {
	if len(w.pods) == 0 {
		return
	}
	p := w.pods[w.rng.IntN(len(w.pods))]
	if p.dieAt.IsZero() && p.reason == "" {
		w.newPod(p.workload)
		p.dieAt = w.now.Add(w.between(0, time.Minute))
	}
}

// oddPod creates a pod that is not rolled, or that cannot be judged for a while.
func (w *world) oddPod() {
	if len(w.pods) == 0 {
		return
	}
	switch w.rng.IntN(5) {
	case 0:
		p := w.oddly(w.newPod("bare"))
		p.reason = string(v1alpha1.BarePod)
		if w.rng.IntN(2) == 0 {
			p.endsAt = w.now.Add(w.between(time.Minute, 20*time.Minute)) // whoever made it has done with it
		}
	case 1:
		p := w.oddly(w.newPod("job"))
		p.reason, p.endsAt = string(v1alpha1.JobPod), w.now.Add(w.between(time.Minute, 40*time.Minute))
	default:
		p := w.pods[w.rng.IntN(len(w.pods))]
		p.unknownUntil = w.now.Add(w.between(0, 10*time.Minute))
	}
}

// oddly makes a pod Pending for long, or one that nobody can judge.
func (w *world) oddly(p *simPod) *simPod {
	switch w.rng.IntN(3) {
	case 0:
		p.startAt = w.now.Add(w.between(0, 30*time.Minute))
	case 1:
		p.unknownUntil = w.now.Add(w.between(0, 30*time.Minute))
	}
	return p
}

// user suspends, aborts and goes on.
func (w *world) user() {
	if w.cfg.suspends && w.rng.IntN(3) == 0 {
		w.suspend(!w.suspended)
	}
	r := w.run
	if r == nil || r.state.Outcome != "" {
		return
	}
	switch n := w.rng.IntN(10); {
	case n < 2:
		r.suspend = !r.suspend
	case n < 5:
		r.suspend = false
	case n < 6:
		r.abort = true
		w.logf("user aborts in %s", r.state.Phase)
	case n < 7:
		w.acknowledge()
	case n < 8 && w.cfg.deletes:
		w.logf("user deletes the rotation")
		w.run = nil
		return
	default:
		return
	}
	r.rv = w.rv()
}

// suspend suspends the MeshTrust, or lets it go on. While nobody may hold back
// renewals, those that nobody has held back yet are the user's own risk.
func (w *world) suspend(on bool) {
	if on == w.suspended {
		return
	}
	w.suspended = on
	w.mtGen++
	w.logf("suspend of the MeshTrust is %t", on)
	if on && w.cfg.inPlace && !w.issuer.heldSeen {
		w.excuse("nothing is held back while the MeshTrust is suspended")
	}
}

// acknowledge names every workload that is not rolled: its pods may break.
func (w *world) acknowledge() {
	for _, p := range w.pods {
		if p.reason != "" && !w.acknowledged(p) {
			w.run.ack = append(w.run.ack, v1alpha1.Acknowledgement{Namespace: "app", Kind: "Deployment", Name: p.workload})
			w.excuse("a pod was acknowledged that lacks an anchor")
		}
	}
}

// foreign are the deeds of others. What they break is not held against us, but
// it must come to an end all the same.
func (w *world) foreign() {
	switch n := w.rng.IntN(20); {
	case n < 6 && !w.cfg.inPlace && !w.issuer.issuing: // safe at any moment
		w.issuer.issuing, w.issuer.issuingAt, w.issuer.rv = true, w.now, w.rv()
		w.tally["foreign renewals"]++
	case n < 8 && w.cfg.inPlace && !w.anchors[0].issuing && w.mayRenewAnchor():
		w.anchors[0].issuing, w.anchors[0].issuingAt, w.anchors[0].rv = true, w.now, w.rv()
		w.renewals++
		w.tally["foreign anchor renewals"]++
	case n < 11 && !w.cfg.writer:
		w.logf("somebody deletes the carrier")
		w.deleteCarrier()
	case n < 13:
		w.logf("somebody deletes the archive")
		w.archive = holder{}
	case n < 15 && !w.cfg.inPlace && w.cfg.hostile:
		w.early()
	case n < 19 && !w.cfg.inPlace && w.cfg.hostile:
		w.unlabel()
	}
}

// heedAdvice takes anchors out of a bundle that has come to hold too many, as the
// run asks for: those that it names are needed by nothing, so that I2 holds.
func (w *world) heedAdvice() {
	d := w.controllers[w.leader].decision
	if !w.cfg.writer || d.Reason != v1alpha1.CarryOverExceeded {
		return
	}
	set := w.published.set
	for i := range w.ca.anchors {
		if strings.Contains(d.Message, w.ca.anchors[i].Fingerprint.Short()) {
			set &^= 1 << i
		}
	}
	if set != w.published.set {
		w.logf("somebody takes out what the bundle has too much")
		w.tally["advice heeded"]++
		w.publish(set)
	}
}

// mayRenewAnchor leaves out what no controller could make good, or wants to: whoever
// keeps renewing is stopped (spareAnchors). It is an issuer that
// renews itself within the moment that it takes to hold it back, or is issued a
// second time, and a renewal before the standing rule is written.
func (w *world) mayRenewAnchor() bool {
	a := mask(1 << w.anchors[0].ca)
	carried := w.cfg.mutant == noStanding || w.carrier.set&a != 0 || w.cfg.writer && w.published.set&a != 0
	moment := 3 * time.Minute
	if w.cfg.shaky {
		moment = 12 * time.Minute
	}
	soon := !w.now.Before(w.issuer.notBefore.Add(simRenewAfter-moment)) && !(w.issuer.heldSeen && w.issuer.held)
	return w.renewals < 2 && carried && !soon && !w.issuer.issuing && !w.issuer.twice && !w.suspended
}

func (w *world) deleteCarrier() { w.carrier = holder{} }

// early points the issuer at the newest anchor before its time.
func (w *world) early() {
	c := &w.anchors[len(w.anchors)-1]
	if c.ca < 0 || c.secret == w.pointer.secret {
		return
	}
	w.excuse("somebody moved the pointer")
	w.pointer.before, w.pointedAt = w.pointer.secret, w.now
	w.pointer.secret, w.pointerRV = c.secret, w.rv()
	w.issuer.issuing, w.issuer.issuingAt, w.issuer.rv = true, w.now, w.rv()
}

// unlabel takes the label from a generation that is in use.
func (w *world) unlabel() {
	c := &w.anchors[w.rng.IntN(len(w.anchors))]
	if c.labelled {
		w.excuse("somebody took a label away")
		c.labelled, c.rv = false, w.rv()
	}
}

func (w *world) crash() {
	c := w.controllers[w.leader]
	w.logf("c%d crashes in stage %d", c.id, c.stage)
	*c = controller{id: c.id, skew: c.skew}
}

// takeOver freezes the leader in whatever it is doing; it wakes up at some time.
func (w *world) takeOver() {
	old := w.controllers[w.leader]
	old.frozen = w.now.Add(w.between(time.Second, 20*time.Minute))
	if w.rng.IntN(3) == 0 {
		old.frozen = old.frozen.Add(w.between(0, 2*time.Hour)) // until the run is over, or turned back
	}
	w.leader = w.heir()
	next := w.controllers[w.leader]
	next.frozen, next.stage, next.cachedAt = time.Time{}, idle, time.Time{}
	w.now = w.now.Add(10 * time.Second)
	w.logf("c%d takes over from c%d in stage %d", next.id, old.id, old.stage)
}

// heir is who takes over: one that has nothing left to do, as long as there is
// one.
func (w *world) heir() int {
	other := (w.leader + 1) % len(w.controllers)
	for i, c := range w.controllers {
		if i != w.leader && !w.now.Before(c.frozen) && c.stage == idle {
			return i
		}
	}
	return other
}

// calm ends the disturbances and puts right what only people can.
func (w *world) calm() {
	w.quiet = true
	w.logf("calm")
	w.cmDownUntil, w.tmDownUntil = time.Time{}, time.Time{}
	w.suspend(false)
	for _, p := range append(w.unborn, w.pods...) {
		p.unknownUntil = time.Time{}
		if p.reason == string(v1alpha1.BarePod) {
			p.dieAt = w.now.Add(2 * time.Minute)
		}
	}
	if w.run == nil {
		w.newRun("manual")
	}
	w.run.suspend = false
	w.run.rv = w.rv()
}

// simulate runs one world and returns the foul, if there was one.
func simulate(seed uint64, ca *authorities, cfg config) (w *world, f foul) {
	w = newWorld(seed, ca, cfg)
	defer func() {
		if r := recover(); r != nil {
			x, ok := r.(foul)
			if !ok {
				panic(r)
			}
			f = x
		}
	}()
	for range 300 + w.rng.IntN(1500) {
		w.step()
	}
	w.calm()
	for range 6000 {
		w.heedAdvice()
		switch {
		case w.run == nil:
		case w.run.state.Outcome != "":
			w.refereeRest()
			return w, ""
		}
		w.step()
	}
	if w.run == nil {
		if f := w.facts(w.controllers[0]); len(f.Anchors) == 0 || w.published.set&(1<<w.issuer.signer) == 0 {
			w.foul("nothing takes up what is midway")
		}
		return w, ""
	}
	d := w.controllers[w.leader].decision
	w.foul("it does not end: %s: %s: %s %v", w.run.state.Phase, d.Reason, d.Message, d.BlockedBy)
	return w, ""
}

// refereeRest looks at the world after the end: what is left midway is taken up
// again, and the mesh comes to rest.
func (w *world) refereeRest() {
	for range 6000 {
		w.step()
		if w.run.state.Outcome != "" && w.rng.IntN(100) == 0 && w.published.set&(1<<w.issuer.signer) != 0 {
			return
		}
	}
	w.foul("it does not come to rest: %s", w.run.state.Phase)
}

func TestSimulatedRotationsKeepTheInvariantsAndEnd(t *testing.T) {
	ca := newAuthorities(t)
	if *simSeed > 0 {
		w, f := simulate(*simSeed, ca, config{trace: true})
		t.Log(strings.Join(w.log, "\n"))
		if f != "" {
			t.Fatal(f)
		}
		return
	}
	total, worlds, fouls, tally := 0, 0, 0, map[string]int{}
	for seed := uint64(1); total < *simSteps && fouls < 10; seed++ {
		w, f := simulate(seed, ca, config{})
		if f != "" {
			fouls++
			t.Errorf("world %d (%+v) after %d steps: %s\n(again: go test ./rotation/lifecycle -run Simulated -sim.seed=%d -v)", seed, w.cfg, w.steps, f, seed)
		}
		total, worlds = total+w.steps, worlds+1
		for what, n := range w.tally {
			tally[what] += n
		}
	}
	t.Logf("%d steps in %d worlds: %v", total, worlds, tally)
	if total < 1_000_000 {
		return
	}
	for _, what := range simulated() {
		if tally[what] < 5 {
			t.Errorf("%s: %d times; the worlds must meet that more often", what, tally[what])
		}
	}
}

// simulated is what a million steps must meet for their silence to tell anything.
func simulated() []string {
	out := []string{
		"natural renewals", "issued twice", "foreign renewals", "foreign anchor renewals", "failed requests", "anchors unread", "issuers unread",
		"interrupted storing", "interrupted acting", "late pods", "injectors that lag", "leaf restarts", "switches",
		"decisions while suspended", "opened observed", "path Recover", "ended Complete",
	}
	for _, phase := range v1alpha1.Phases() {
		if phase == v1alpha1.PhaseNarrow {
			break
		}
		out = append(out, "aborted from "+string(phase))
	}
	return out
}

func TestTheSimulationNoticesAMissingRule(t *testing.T) {
	ca := newAuthorities(t)
	rules := map[string]struct {
		rule mutant
		want []string // the invariants that it serves
	}{
		"gate I1":                                      {noGateSwitch, []string{"I1:", "handshake:"}},
		"gate I2":                                      {noGateLeaf, []string{"I2:", "handshake:"}},
		"I9":                                           {noI9, []string{"I9:"}},
		"the injector fence":                           {noFence, []string{"I1:", "handshake:"}},
		"ConfirmIssuer":                                {noConfirm, []string{"I2:", "handshake:"}},
		"the pointer rule of Generations":              {noPointer, []string{"I1:", "handshake:"}},
		"the standing rule of InPlace":                 {noStanding, []string{"I2:", "handshake:"}},
		"the intent is stored before a write":          {actFirst, []string{"intent:", "I1:", "I2:", "handshake:"}},
		"a write on an older version is refused":       {noConflict, []string{"intent:", "I1:", "I2:", "I9:", "handshake:"}},
		"renewals are held back (InPlace)":             {noHold, []string{"I1:", "handshake:"}},
		"leaves outlive the issuer that signed":        {noLeafTime, []string{"I2:", "handshake:"}},
		"what is unknown is in the way (I8)":           {noUnknown, []string{"I1:", "handshake:"}},
		"a terminating or pending pod is counted":      {noPending, []string{"I1:", "I2:", "handshake:"}},
		"a pod is replaced for its leaf but once":      {noDelay, []string{"I3:"}},
		"by the API server's clock too":                {halfDelay, []string{"I3:"}},
		"what is not known of a Certificate stops all": {noUnread, []string{"I1:", "handshake:"}},
	}
	for name, c := range rules {
		t.Run(name, func(t *testing.T) {
			steps := 0
			for seed := uint64(1); seed <= 200; seed++ {
				w, f := simulate(seed, ca, config{mutant: c.rule})
				steps += w.steps
				if slices.ContainsFunc(c.want, func(s string) bool { return strings.HasPrefix(string(f), s) }) {
					t.Logf("world %d, %d steps in all: %s", seed, steps, f)
					return
				}
			}
			t.Errorf("%d steps without a foul: the worlds must meet what the rule is for more often", steps)
		})
	}
}
