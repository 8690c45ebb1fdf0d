package rollout_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

var (
	simSteps    = flag.Int("sim.steps", 1_000_000, "steps of the simulation, over all worlds")
	simOperated = flag.Bool("sim.operators", false, "simulate worlds whose other owners are all custom resources of operators")
	simSeed     = flag.Uint64("sim.seed", 0, "simulate only the world of this seed, and print what happens")
)

// config is how one world differs from another.
type config struct {
	budget, perNamespace int
	attempts             int
	windows              []rollout.Window
	whenBroken           bool
	retired              v1alpha1.RetiredPolicy
	evictAll             bool
	skewed               bool
	// forgetful leaves out of the facts what has no pods for a moment.
	forgetful bool
	heals     bool
	// operators has a world of custom resources whose operators restart pods.
	operators bool
	mutant    mutant
	trace     bool
}

// mutant is a rule that is taken away, to see that the simulation notices.
type mutant int

const (
	none mutant = iota
	actFirst
	noFence
	noTerminating
	noLags
	noEvidence
	staleStart
	noDeadline
	noConflict
	noLiveRead
	noReadiness
	noWaves
	noGate
	noPropagation
	noOwnRollouts
	noOldest
	noMissing
	noLeaves
	lostCount
)

func (c *config) vary(rng *rand.Rand) {
	c.budget, c.perNamespace = 1+rng.IntN(5), 1+rng.IntN(2)
	c.whenBroken, c.evictAll, c.skewed, c.forgetful, c.heals = rng.IntN(2) == 0, rng.IntN(4) == 0, rng.IntN(3) == 0, rng.IntN(3) == 0, rng.IntN(3) > 0
	c.attempts = []int{1, 3, 3}[rng.IntN(3)]
	c.retired = []v1alpha1.RetiredPolicy{v1alpha1.RetiredNever, v1alpha1.RetiredNever, v1alpha1.RetiredInWindow, v1alpha1.RetiredAlways}[rng.IntN(4)]
	if rng.IntN(3) == 0 {
		window, err := rollout.NewWindow("*/20 * * * *", 10*time.Minute, time.UTC)
		if err != nil {
			panic(err)
		}
		c.windows = []rollout.Window{window}
	}
}

// mutate takes away what a controller sees of a workload.
func (w *world) mutate(x *rollout.Workload) {
	switch w.cfg.mutant {
	case noTerminating:
		x.Terminating = 0
	case noReadiness:
		x.Ready, x.Pods, x.Owner.Available = x.Owner.Desired, x.Owner.Desired, x.Owner.Desired
	case noEvidence:
		for i := range x.StalePods {
			x.StalePods[i].RestartedFor = x.RestartedFor
		}
		x.Outdated = 0
	case noWaves:
		x.Wave = min(x.Wave, 0)
	case noOwnRollouts:
		x.Owner.Updated, x.Owner.Total = x.Owner.Desired, x.Owner.Desired
	case noOldest:
		x.OldestPod = x.OldestPod.Add(24 * time.Hour)
	case noMissing:
		x.Owner.Desired, x.Owner.Available = btoi(!x.Owner.ByPods)*x.Owner.Desired, btoi(!x.Owner.ByPods)*x.Owner.Available
		x.Owner.ByPods = false
	case lostCount:
		x.Terminating, x.Lost = x.Terminating+x.Lost, 0
	case noLeaves:
		for i := range x.StalePods {
			x.StalePods[i].LeafOnly = false
		}
	}
}

// step lets one thing happen somewhere.
func (w *world) step() {
	w.steps++
	w.now = w.now.Add(w.between(0, 1500*time.Millisecond))
	w.livePods()
	if w.dirty {
		w.observeTruth()
	}
	w.liveInjectors()
	w.oldLeaves()
	w.revert()
	switch n := w.rng.IntN(100); {
	case n < 45:
		w.workOwner(w.rng.IntN(len(w.owners)))
	case n < 85:
		c := w.controllers[w.rng.IntN(len(w.controllers))]
		c.lag(w)
		c.step(w)
	case !w.quiet && n < 88:
		w.disturb()
	case !w.quiet && (n < 90 || n < 97 && w.cfg.mutant == noConflict && w.frees()) && w.controllers[w.leader].stage == storing:
		w.takeOver() // when it matters most
	case !w.quiet && n < 91 && w.rng.IntN(3) == 0:
		w.userRollout(w.rng.IntN(len(w.owners)))
	case !w.quiet && n < 94 && w.controllers[w.leader].stage == acting && w.controllers[w.leader].next > 0:
		w.crash() // when it has just written
	case !w.quiet && n < 97 && w.cfg.mutant == staleStart:
		w.crash()
	case !w.quiet && n < 97 && (w.cfg.mutant == noLiveRead || w.cfg.mutant == noDeadline):
		w.stepIn()
	}
	if w.dirty {
		w.snapshot()
	}
	w.observeTruth()
}

// frees says whether the leader has decided that a roll ended: who leads next begins
// another in its place, and must not lose that to what this one still stores.
func (w *world) frees() bool { return len(w.controllers[w.leader].decision.Ended) > 0 }

// disturb does what users, nodes and other controllers do.
func (w *world) disturb() {
	i := w.rng.IntN(len(w.owners))
	o := &w.owners[i]
	switch n := w.rng.IntN(60); {
	case n < 2:
		w.publish(w.bundle | w.issuer | 1<<w.rng.IntN(3))
	case n < 3:
		w.publish(w.bundle&uint8(w.rng.IntN(8)) | w.issuer)
	case n < 4 && w.rng.IntN(8) == 0:
		w.publish(1 + uint8(w.rng.IntN(7)))
	case n < 5:
		w.publish(w.older)
	case n < 6 && w.bundle&0b100 != 0:
		w.issuer = 0b100
	case n < 7:
		w.issuer = 0b001
	case n < 12:
		w.scale(i)
	case n < 16 && len(w.pods) > 0:
		w.terminate(&w.pods[w.rng.IntN(len(w.pods))])
	case n < 19:
		w.userRollout(i)
	case n < 22:
		o.optOut, w.dirty = !o.optOut, true
		w.tally["opted out in flight"] += btoi(o.optOut && w.books[i].ours)
	case n < 24 && o.key.Kind == "Deployment" && o.wave > 0:
		o.paused, w.dirty = !o.paused, true
		o.gen++
	case n < 26:
		w.refuse(i)
	case n < 28 && w.rng.IntN(3) == 0:
		o.broken, w.dirty = !o.broken, true
	case n < 30:
		w.down, w.nodesAt, w.dirty = w.rng.IntN(6)-3, w.now, true
	case n < 34:
		w.mt.paused = w.rng.IntN(4) == 0
		w.toggled()
	case n < 37:
		w.mt.suspend = w.rng.IntN(4) == 0
		w.toggled()
	case n < 42:
		w.crash()
	case n < 46:
		w.takeOver()
	case n < 48:
		w.now = w.now.Add(w.between(0, 3*time.Minute))
	case n < 52:
		w.dieStale()
	case n < 55:
		w.loseNode()
	case n < 56:
		w.nodeBack()
	case n < 58 && w.rng.IntN(2) == 0:
		w.leafNext = w.now.Truncate(time.Second).Add(time.Second)
	}
}

// dieStale is an outage: the proxy of a stale pod restarts, and does not become
// ready with the bundle that it has. An ordered StatefulSet's comes first; none of
// an operator that restarts its pods does, since it would wait for that one for
// ever, and only its user could help.
func (w *world) dieStale() {
	var found *simPod
	for i := range w.pods {
		p := &w.pods[i]
		if p.ready && !p.terminating && w.stale(p) && !w.owners[p.owner].asked() && w.owners[p.owner].op != byArgo && (found == nil || w.owners[p.owner].ordered) {
			found = p
		}
	}
	if found != nil {
		w.logf("pod %d of %s restarts, and is dead", found.id, w.owners[found.owner].key)
		found.ready, found.dead, w.dirty = false, true, true
		w.tally["pods that died stale"]++
	}
}

func (w *world) toggled() {
	w.mt.rv++
	w.mt.policyRV++
	w.wake()
}

// stepIn is a user who opts out, or pauses all, just before something is written.
func (w *world) stepIn() {
	c := w.controllers[w.leader]
	if c.stage == idle || c.next >= len(c.decision.Actions) {
		return
	}
	if o := &w.owners[w.ownerOf(c.decision.Actions[c.next].Key)]; w.rng.IntN(2) == 0 {
		o.optOut, w.dirty = true, true
		return
	}
	w.mt.paused = true
	w.toggled()
}

func (w *world) wake() {
	for _, c := range w.controllers {
		c.woken = true
	}
}

func (w *world) scale(i int) {
	o := &w.owners[i]
	if o.key.Kind != "Deployment" && o.key.Kind != "StatefulSet" && o.op == notOperated {
		return
	}
	o.desired = max(1, o.desired+w.rng.IntN(3)-1)
	o.gen++
	w.dirty = true
}

// refuse is a budget that allows no disruption for a while, most often until
// shortly before the time for a roll runs out, or until it has.
func (w *world) refuse(i int) {
	until := w.now.Add(w.between(0, 2*w.deadline()))
	for _, r := range w.mt.state.InProgress {
		if r.Verb == v1alpha1.VerbEvict {
			i = w.ownerOf(r.Key)
			if w.rng.IntN(2) == 0 {
				until = r.ProgressAt.Add(w.deadline() - w.between(0, time.Minute))
			}
		}
	}
	w.owners[i].refusesUntil = until
}

func (w *world) userRollout(i int) {
	o := &w.owners[i]
	switch {
	case !o.controller():
		return
	case o.op != notOperated && (o.op != byArgo || w.rng.IntN(2) == 0):
		w.userRestart(i)
		return
	}
	o.userGen++
	o.retemplate()
	w.dirty = true
	w.books[i].userRoll, w.books[i].overlaid = w.now, w.books[i].ours
	w.tally["rollouts of others"]++
	w.tally["rollouts of others over ours"] += btoi(w.books[i].ours)
	w.logf("user rolls %s", o.key)
}

// revert is the GitOps tool.
func (w *world) revert() {
	for i := range w.owners {
		o := &w.owners[i]
		if o.revertAt.IsZero() || w.now.Before(o.revertAt) {
			continue
		}
		w.logf("gitops reverts %s", o.key)
		w.tally["reverts"]++
		w.observeTruth()
		o.mark, o.revertAt = "", time.Time{}
		o.retemplate()
		w.books[i].reverts++
		w.books[i].revertedSinceRoll, w.books[i].overlaid = true, w.books[i].ours
		w.dirty = true
	}
}

func (w *world) crash() {
	c := w.controllers[w.leader]
	w.logf("c%d crashes in stage %d", c.id, c.stage)
	w.tally[fmt.Sprintf("crashes in stage %d", c.stage)]++
	c.restart(w)
}

// takeOver freezes the leader in whatever it is doing; the other takes over
// when the lease has run out, and the first wakes up at some time.
func (w *world) takeOver() {
	old := w.controllers[w.leader]
	old.frozen = w.now.Add(w.between(time.Second, 4*time.Minute))
	w.leader = 1 - w.leader
	next := w.controllers[w.leader]
	w.now = w.now.Add(simActWithin)
	next.restart(w) // a process that loses the lead exits
	w.logf("c%d takes over from c%d in stage %d", next.id, old.id, old.stage)
	w.tally[fmt.Sprintf("taken over in stage %d", old.stage)]++
}

// calm ends the disturbances and puts right what hinders, at once or in a while.
func (w *world) calm() {
	w.logf("calm")
	w.quiet = true
	w.mt.paused, w.mt.suspend, w.down, w.nodesAt, w.dirty = false, false, -1, w.now, true
	if w.bundle&w.issuer == 0 {
		w.publish(w.bundle | w.issuer)
	}
	if w.rng.IntN(2) == 0 {
		w.nodeBack() // others never come back
	}
	for i := range w.owners {
		o := &w.owners[i]
		if o.refusesUntil = (time.Time{}); w.rng.IntN(4) == 0 {
			o.refusesUntil = w.now.Add(w.between(0, 2*w.deadline())) // it allows a disruption in the end
		}
		if w.cfg.heals {
			o.broken = false
			if o.paused {
				o.paused = false
				o.gen++
			}
		}
	}
	for i := range w.pods {
		if p := &w.pods[i]; w.cfg.heals && p.never {
			p.never, p.readyAt = false, w.now.Add(w.between(0, 8*time.Minute))
		}
	}
	w.toggled()
}

// rest runs the world until the controllers have nothing to do, and says
// whether they came to that.
func (w *world) rest() bool {
	lastChange, last := w.steps, ""
	for range 60_000 {
		w.step()
		if now := w.fingerprint(); now != last {
			last, lastChange = now, w.steps
		}
		if w.steps-lastChange > 1500 {
			return true
		}
		if w.steps-lastChange > 300 && w.rng.IntN(50) == 0 {
			w.now = w.now.Add(time.Minute)
		}
	}
	return false
}

func (w *world) fingerprint() string {
	d := w.controllers[w.leader].last
	var b strings.Builder
	fmt.Fprint(&b, len(d.State.Failed))
	for _, r := range d.State.InProgress {
		if named(rollout.State{Failed: d.State.Failed}, r.Key) {
			continue // what failed is tried again for ever
		}
		fmt.Fprint(&b, r.Key.Name, r.Attempt, r.Applied)
	}
	for i := range w.pods {
		if !w.pods[i].terminating {
			fmt.Fprint(&b, w.pods[i].id, w.pods[i].ready)
		}
	}
	return b.String()
}

// refereeEnd judges how the world stands in the end.
func (w *world) refereeEnd(rested bool) {
	d := w.controllers[w.leader].last
	if !rested {
		w.foul("livelock: it does not come to rest: %s, %s", d.Reason, d.Message)
	}
	if len(w.cfg.windows) > 0 && d.Reason == v1alpha1.OutsideWindow {
		w.foul("starvation: nothing was rolled in the windows: %s", d.Message)
	}
	var left, starved []string
	for i := range w.owners {
		verb, _ := rollout.VerbFor(w.spec(&w.owners[i]), w.policy())
		for _, n := range w.podsOf(i) {
			if p := &w.pods[n]; verb != "" && w.goes(p) && !w.unreachable(p) {
				left = append(left, fmt.Sprintf("%s(p%d)", w.owners[i].key, p.id))
				if !w.hindered(i) {
					starved = left[len(left)-1:]
				}
			}
		}
	}
	switch {
	case len(left) == 0 && d.Reason != v1alpha1.Converged && w.cfg.heals:
		w.foul("truth: nothing is stale, but %s: %s", d.Reason, d.Message)
	case len(left) > 0 && d.Reason == v1alpha1.Converged:
		w.foul("truth: Converged, but stale are %v", left)
	case len(left) > 0 && w.cfg.heals && !w.exhausted():
		w.foul("starvation: %v are stale: %s, %s\n%+v", left, d.Reason, d.Message, d.State)
	case len(starved) > 0 && !w.hindered(0) && !w.anyAsked() && d.Reason != v1alpha1.FailureThresholdExceeded && !w.exhausted():
		w.foul("starvation: %v is stale although nothing hinders it: %s, %s\n%+v", starved, d.Reason, d.Message, d.State)
	}
}

// anyAsked says whether an operator was asked and does not come to the end of it.
func (w *world) anyAsked() bool {
	return slices.ContainsFunc(w.owners, func(o simOwner) bool { return o.asked() })
}

// hindered says whether something keeps the owner from being rolled that nobody
// puts right: its pods do not become ready, or its user paused it.
func (w *world) hindered(i int) bool {
	return w.owners[i].broken || w.owners[i].paused || slices.ContainsFunc(w.pods, func(p simPod) bool { return p.owner == i && p.never })
}

// exhausted says whether a workload had all its attempts.
func (w *world) exhausted() bool {
	for _, f := range w.mt.state.Failed {
		if f.Reason == v1alpha1.StillStale {
			return true
		}
	}
	return false
}

// simulate runs one world and returns how many steps it took and the foul.
func simulate(seed uint64, cfg config, disturbed int) (w *world, f foul) {
	w = newWorld(seed, cfg)
	defer func() {
		if r := recover(); r != nil {
			if x, ok := r.(foul); ok {
				f = x
				for i := range w.owners {
					w.logf("%+v", w.owners[i])
				}
				for i := range w.pods {
					w.logf("%+v", w.pods[i])
				}
				return
			}
			panic(r)
		}
	}()
	for range disturbed {
		w.step()
	}
	w.calm()
	w.refereeEnd(w.rest())
	return w, ""
}

func TestSimulatedWorldsKeepTheInvariantsAndConverge(t *testing.T) {
	if *simSeed > 0 {
		w, f := simulate(*simSeed, config{trace: true, operators: *simOperated}, disturbedSteps)
		t.Log(strings.Join(w.log, "\n"))
		if f != "" {
			t.Fatal(f)
		}
		return
	}
	total, tally := 0, map[string]int{}
	for seed := uint64(1); total < *simSteps; seed++ {
		w, f := simulate(seed, config{operators: *simOperated}, disturbedSteps)
		if f != "" {
			t.Errorf("world %d after %d steps: %s\n(again: go test ./rotation/rollout -run Simulated -sim.seed=%d -v)", seed, w.steps, f, seed)
		}
		total += w.steps
		for what, n := range w.tally {
			tally[what] += n
		}
	}
	t.Logf("%d steps: %v", total, tally)
	if total < 1_000_000 {
		return
	}
	for _, what := range simulated(*simOperated) {
		if tally[what] < 5 {
			t.Errorf("%s: %d times; the worlds must meet that more often", what, tally[what])
		}
	}
}

// simulated is what a million steps must meet for their silence to tell anything.
// Pods that come back stale three times are too rare, thanks to the fence.
func simulated(operators bool) []string {
	out := []string{
		"Restart", "RestartAt", "Annotate", "evictions", "evictions after reverts", "attempt 2", "refusals", "pods that died stale",
		"pods that were lost", "reverts", "overlooked", "opted out in flight", "old leaves", "rollouts of others", "rollouts of others over ours",
		"bundles that changed in flight", "conflicts", "actions that came too late",
		"ended Converged", "ended ProgressDeadlineExceeded", "EvictionBlocked",
	}
	for stage := idle; stage <= acting; stage++ {
		out = append(out, fmt.Sprintf("crashes in stage %d", stage), fmt.Sprintf("taken over in stage %d", stage))
	}
	for _, reason := range []v1alpha1.Reason{
		v1alpha1.Suspended, v1alpha1.Paused, v1alpha1.BundleDoesNotTrustIssuer, v1alpha1.WaitingForPropagation, v1alpha1.WaitingForInjector,
		v1alpha1.ProbeRefused, v1alpha1.OutsideWindow, v1alpha1.BudgetExhausted, v1alpha1.RolloutInFlight, v1alpha1.CanaryInFlight, v1alpha1.Rolling,
	} {
		out = append(out, string(reason))
	}
	if !operators {
		out = append(out, "partly in the mesh", "evictions below a partition", "evictions of what held up a roll")
	}
	return out
}

const disturbedSteps = 2500
