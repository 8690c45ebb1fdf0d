package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// foul is what the referee panics with.
type foul string

func (w *world) foul(format string, args ...any) { panic(foul(fmt.Sprintf(format, args...))) }

// lately is how old a truth may be that a write rests on: a cache lags, a
// decision waits, and the tiny world's clock jumps, whatever its caches show.
const lately = simLag + simActWithin + simJump

// observeTruth keeps the books: called after every step.
func (w *world) observeTruth() {
	for i := range w.owners {
		b := &w.books[i]
		if b.epoch != w.epoch {
			b.epoch, b.rolls, b.attempts, b.staleBack, b.revertedSinceRoll = w.epoch, 0, 0, false, false
		}
		stale, broken := false, false
		verb, _ := rollout.VerbFor(w.spec(&w.owners[i]), w.policy())
		for n := range w.pods {
			if p := &w.pods[n]; p.owner == i && !p.terminating && !w.unreachable(p) {
				if w.stale(p) {
					b.lastLacking = w.now
				}
				stale = stale || w.goes(p) || w.cfg.retired != v1alpha1.RetiredNever && w.retired(p)
				broken = broken || w.stale(p) && p.trust&w.issuer == 0
			}
		}
		if stale {
			b.lastStale = w.now
		}
		if stale && verb != "" {
			if b.staleSince.IsZero() {
				b.staleSince = w.now
			}
		} else {
			b.staleSince = time.Time{}
		}
		if broken {
			b.lastBroken = w.now
		}
		b.podless = b.podless || !slices.ContainsFunc(w.pods, func(p simPod) bool { return p.owner == i && !p.outside })
		b.through = b.through || w.through(i)
		if w.complete(i) {
			b.ours, b.replaced = false, true
		}
		if !w.replacing(i) {
			b.userRoll = time.Time{}
		}
	}
}

func (w *world) unreachable(p *simPod) bool {
	return p.lost || w.owners[p.owner].key.Kind == "DaemonSet" && p.node == w.down
}

// complete says whether in truth no pod of the owner is being replaced: all are
// there, ready and of its template, and none terminates.
func (w *world) complete(i int) bool {
	if w.owners[i].controller() && slices.ContainsFunc(w.pods, func(p simPod) bool {
		return p.owner == i && !p.ready && !w.unreachable(&p) && !(p.outside && p.terminating)
	}) {
		return false
	}
	return w.through(i)
}

// through says whether in truth all pods of the owner are there and of its template,
// and none terminates, whether or not they are ready.
func (w *world) through(i int) bool {
	o, there := &w.owners[i], 0
	for n := range w.pods {
		p := &w.pods[n]
		if p.owner != i || w.unreachable(p) || p.outside && p.terminating {
			continue
		}
		if p.terminating || o.outdatedPod(p) {
			return false
		}
		there++
	}
	if o.asked() {
		return false
	}
	return !o.controller() || there >= w.expected(i)
}

// outdated says whether pods of an earlier template are left to be replaced.
func (w *world) outdated(i int) bool {
	o := &w.owners[i]
	return (o.byTemplate() || o.op == byArgo && !o.phaseless) && slices.ContainsFunc(w.pods, func(p simPod) bool {
		return p.owner == i && !p.terminating && !w.unreachable(&p) && p.rev != o.rev && p.ordinal >= o.partition
	})
}

// replacing says whether the owner's controller replaces pods in truth.
func (w *world) replacing(i int) bool {
	o := &w.owners[i]
	for n := range w.pods {
		p := &w.pods[n]
		if p.owner == i && !w.unreachable(p) && (p.terminating && !p.outside || o.outdatedPod(p)) {
			return true
		}
	}
	return false
}

// inFlight says whether the owner takes a place in the budget in truth. One
// whose roll failed takes none once nothing of it moves.
func (w *world) inFlight(i int, begun time.Time) bool {
	b, o := &w.books[i], &w.owners[i]
	switch {
	case !b.ours:
		// A DaemonSet's status does not tell which of its pods are on a node that is
		// down, so neither whether the others are of its template.
		return !b.userRoll.IsZero() && begun.Sub(b.userRoll) > lately && w.outdated(i) && !w.nodeTurned(o) && !w.partlyDown(o) && !w.stalled(i, begun)
	case named(rollout.State{InProgress: w.mt.state.InProgress}, o.key):
		return true
	case w.cfg.forgetful && b.podless:
		return false // a caller that leaves it out of the facts has it forgotten after a minute
	case w.givenUp(b) && !b.userRoll.IsZero() && begun.Sub(b.userRoll) <= lately:
		return false // somebody rolls it just now, and nobody could know
	case w.givenUp(b):
		return named(rollout.State{Failed: w.mt.state.Failed}, o.key) && o.byTemplate() && w.replacing(i) && !w.stalled(i, begun)
	default:
		return true
	}
}

// stalled says whether a rollout may have been seen to have come to a halt: it
// brought no pod for long, and none was seen to terminate.
func (w *world) stalled(i int, begun time.Time) bool {
	seen := begun.Add(-simLag)
	return w.newest(i, seen).Before(begun.Add(w.clockMargin()-w.deadline())) && !slices.ContainsFunc(w.pods, func(p simPod) bool {
		return p.owner == i && p.terminating && !p.outside && p.endsSince.Before(seen) && !w.unreachable(&p)
	})
}

// nodeTurned says whether a node of the owner came or went lately: its rollout
// goes on or stands still from one moment to the next.
func (w *world) nodeTurned(o *simOwner) bool {
	return o.key.Kind == "DaemonSet" && w.now.Sub(w.nodesAt) < lately
}

func (w *world) partlyDown(o *simOwner) bool { return o.key.Kind == "DaemonSet" && w.down >= 0 }

// givenUp says whether a roll may have run out of time: by the clocks of two
// controllers, where they differ.
func (w *world) givenUp(b *book) bool {
	return w.now.Sub(b.lastWrite) > w.deadline()-w.clockMargin()
}

// clockMargin is how far the clocks of two controllers may differ.
func (w *world) clockMargin() time.Duration {
	if w.cfg.skewed {
		return simSkew
	}
	return 0
}

// refereeStart judges a write that begins, or goes on with, a roll.
func (w *world) refereeStart(c *controller, i int) {
	o, b := &w.owners[i], &w.books[i]
	changed := w.epoch != c.seen.epoch // since the decision: nobody could know
	switch {
	case w.mt.suspend || w.mt.paused:
		w.foul("I4: %s is written while suspended or paused", o.key)
	case o.optOut:
		w.foul("I4: %s is written although it opted out", o.key)
	case o.key.Kind == "StatefulSet" && w.lostLong(i):
		w.foul("lost: %s is written although a member of it cannot be replaced", o.key)
	case w.bundle&w.issuer == 0 && !changed:
		w.foul("I9: %s is rolled towards a bundle that does not verify the issuer", o.key)
	case !w.windowOpen(c) && !(w.cfg.whenBroken && w.now.Sub(b.lastBroken) < lately):
		w.foul("I4: %s is written outside the windows", o.key)
	case !changed && !w.blip(c) && w.now.Before(w.publishedAt.Add(simEnvDelay)):
		w.foul("order: %s is written before the bundle is surely read", o.key)
	}
	if o.wave > 0 && !changed && !w.blip(c) {
		for _, in := range w.injectors {
			if in.serves != w.bundle {
				w.foul("fence: %s is written while an injector serves %03b", o.key, in.serves)
			}
		}
	}
	if roll := w.rollOf(i); !b.ours || !b.roll.Equal(roll) {
		b.roll = roll
		w.refereeBudget(i)
		w.refereeWaves(c, i)
	}
	b.ours, b.lastWrite, b.overlaid, b.podless, b.through = true, w.now, false, false, false
}

// rollOf tells the roll of an owner in the state by the time when it was decided.
func (w *world) rollOf(i int) time.Time {
	for _, r := range w.mt.state.InProgress {
		if r.Key == w.owners[i].key {
			return r.StartedAt
		}
	}
	return time.Time{}
}

// blip says that a publication came and went again unseen.
func (w *world) blip(c *controller) bool { return w.publishedAt.After(c.seen.publishedAt) }

func (w *world) windowOpen(c *controller) bool {
	if len(w.cfg.windows) == 0 {
		return true
	}
	at := c.clock(w)
	return slices.ContainsFunc(w.cfg.windows, func(x rollout.Window) bool { return x.Open(at) })
}

func (w *world) refereeBudget(i int) {
	all, space, ramped := 1, 1, 1
	for n := range w.owners {
		if n == i || !w.inFlight(n, w.begun(i)) || w.goesOn(n, i) {
			continue
		}
		all++
		if w.books[n].ours && !named(rollout.State{Failed: w.mt.state.Failed}, w.owners[n].key) && named(rollout.State{InProgress: w.mt.state.InProgress}, w.owners[n].key) {
			ramped++
		}
		if w.owners[n].key.Namespace == w.owners[i].key.Namespace {
			space++
		}
	}
	ramp, done := 1, w.done[w.owners[i].key]
	for ramp*2 <= done+1 {
		ramp *= 2
	}
	again := named(rollout.State{Failed: w.mt.state.Failed}, w.owners[i].key)
	switch {
	case all > w.cfg.budget:
		w.foul("I4: %d workloads in flight with %s, the budget is %d", all, w.owners[i].key, w.cfg.budget)
	case space > w.cfg.perNamespace:
		w.foul("I4: %d workloads in flight in namespace %s with %s", space, w.owners[i].key.Namespace, w.owners[i].key)
	case ramped > ramp && !again:
		w.foul("canary: %d in flight with %s after %d were done", ramped, w.owners[i].key, done)
	}
}

// goesOn says whether a roll was taken up, without a write, after another began:
// what had come to a halt goes on by itself.
func (w *world) goesOn(n, i int) bool {
	return named(rollout.State{InProgress: w.mt.state.InProgress}, w.owners[n].key) && w.begun(n).After(w.begun(i))
}

// begun is when the roll was decided.
func (w *world) begun(i int) time.Time {
	if at, ok := w.began[w.owners[i].key]; ok {
		return at
	}
	return w.now
}

// refereeWaves: no earlier wave has a workload that could be rolled, that was
// stale for long enough to be seen, and that did not fail.
func (w *world) refereeWaves(c *controller, i int) {
	begun := w.begun(i)
	for n := range w.owners {
		o, b := &w.owners[n], &w.books[n]
		verb, _ := rollout.VerbFor(w.spec(o), w.policy())
		mine := w.owners[i].wave
		if o.wave >= mine || verb == "" || b.staleSince.IsZero() || begun.Sub(b.staleSince) < lately || w.epoch != c.seen.epoch {
			continue
		}
		if named(rollout.State{Failed: w.mt.state.Failed}, o.key) && o.wave > 0 || w.onlyRetired(n) || w.nodeTurned(o) {
			continue
		}
		// What Argo says is progressing while it makes up for a pod that is lost.
		madeUpFor := o.op == byArgo && !o.phaseless && w.lost(o) > 0
		if o.wave > 0 && (o.observed != o.gen || w.replacing(n) || madeUpFor) && w.newest(n, begun.Add(-simLag)).Before(begun.Add(w.clockMargin()-w.deadline())) {
			continue // somebody else's rollout that is stuck, as far as could be seen
		}
		w.foul("waves: %s of wave %d is written while %s of wave %d is stale", w.owners[i].key, mine, o.key, o.wave)
	}
}

func (w *world) onlyRetired(i int) bool {
	for n := range w.pods {
		if p := &w.pods[n]; p.owner == i && !p.terminating && !w.unreachable(p) && w.goes(p) {
			return false
		}
	}
	return true
}

// newest is when the owner's newest pod of a time was created.
func (w *world) newest(i int, at time.Time) time.Time {
	var t time.Time
	for n := range w.pods {
		if p := &w.pods[n]; p.owner == i && !p.outside && p.created.After(t) && p.created.Before(at) {
			t = p.created
		}
	}
	return t
}

// refereeMark judges a template write that changes the template.
func (w *world) refereeMark(c *controller, i int, a rollout.Action) {
	o, b := &w.owners[i], &w.books[i]
	w.refereeStart(c, i)
	switch {
	case !o.controller() || o.evictOnly || o.strategy != rollout.RollingUpdate || o.paused || o.op == byEviction || o.op == byItself:
		w.foul("verb: the template of %s is written", o.key)
	case (a.Verb == v1alpha1.VerbAnnotate) != o.annotated() || (a.Verb == v1alpha1.VerbRestartAt) != (o.op == byArgo):
		w.foul("verb: %s is rolled by %s", o.key, a.Verb)
	case b.rolls > 0 && !b.staleBack && !b.revertedSinceRoll && !b.leafDue && strings.HasPrefix(a.Mark, hashOf(w.bundle)) && !w.blip(c):
		w.foul("I3: %s is rolled again (%s) although its new pods were not stale", o.key, a.Mark)
	case w.now.Sub(b.lastStale) > lately:
		w.foul("I3: %s is rolled although nothing of it was stale lately", o.key)
	case b.attempts >= w.cfg.attempts && !b.revertedSinceRoll && !b.leafDue && !w.blip(c):
		w.foul("attempts: %s is rolled %d times", o.key, b.attempts+1)
	}
	if strings.HasPrefix(a.Mark, hashOf(w.bundle)) { // else decided before the bundle changed
		b.rolls++
		b.attempts += 1 - btoi(b.revertedSinceRoll || b.leafDue)
	}
	b.staleBack, b.revertedSinceRoll, b.leafDue = false, false, false
}

// refereeEvict judges an eviction that was granted.
func (w *world) refereeEvict(c *controller, i int, p *simPod) {
	o, b := &w.owners[i], &w.books[i]
	w.refereeStart(c, i)
	unwanted := w.goes(p) || w.cfg.retired != v1alpha1.RetiredNever && w.retired(p)
	switch {
	case (o.key.Kind == "Pod" || o.op == byItself) && !w.cfg.evictAll:
		w.foul("I5: pod %d of %s is evicted", p.id, o.key)
	case !unwanted && w.epoch == c.seen.epoch:
		w.foul("I3: pod %d of %s is evicted although it carries the bundle", p.id, o.key)
	case o.restartsAll():
		w.foul("I5: pod %d of %s is evicted, whose operator restarts it", p.id, o.key)
	case w.byMark(i) && p.ordinal >= o.partition && b.reverts < 2 && !w.heldUp(o, p):
		w.foul("verb: pod %d of %s is evicted", p.id, o.key)
	case p.ready && b.evicted >= 0 && !b.replaced:
		w.foul("evict: pod %d of %s goes before pod %d was replaced", p.id, o.key, b.evicted)
	case p.ready && o.key.Kind == "StatefulSet" && w.higher(p) && w.epoch == c.seen.epoch:
		w.foul("evict: pod %d of %s goes before one with a higher ordinal", p.id, o.key)
	}
	b.evicted, b.replaced, b.lastWrite = p.id, !o.controller(), w.now
}

// heldUp says whether the pod holds up its StatefulSet's roll: it was not ready
// as far as could be seen.
func (w *world) heldUp(o *simOwner, p *simPod) bool {
	return o.key.Kind == "StatefulSet" && (!p.ready || w.now.Sub(p.readyAt) < lately)
}

func (w *world) byMark(i int) bool {
	verb, _ := rollout.VerbFor(w.spec(&w.owners[i]), w.policy())
	return verb == v1alpha1.VerbRestart
}

// higher says whether a ready stale pod of the same owner, old enough to be
// seen, has a higher ordinal.
func (w *world) higher(p *simPod) bool {
	for n := range w.pods {
		q := &w.pods[n]
		o := &w.owners[p.owner]
		if q.owner == p.owner && q.ordinal > p.ordinal && !q.terminating && q.ready && (w.stale(q) || w.outlived(q) && q.created.Before(w.books[p.owner].roll) && w.now.Sub(w.leafBefore) > lately) && w.now.Sub(q.readyAt) > lately &&
			(!w.byMark(p.owner) || q.ordinal < o.partition) {
			return true
		}
	}
	return false
}

// refereeDecision judges a decision as such: it is the same for facts in
// another order, it rests on its own state, and what it waits for is told.
func (w *world) refereeDecision(c *controller, f rollout.Facts, now time.Time) {
	d := c.decision
	shuffled := f
	shuffled.Workloads = slices.Clone(f.Workloads)
	w.rng.Shuffle(len(shuffled.Workloads), func(i, j int) {
		shuffled.Workloads[i], shuffled.Workloads[j] = shuffled.Workloads[j], shuffled.Workloads[i]
	})
	if w.steps%16 == 0 {
		if other := rollout.Next(shuffled, now); fmt.Sprint(other) != fmt.Sprint(d) {
			w.foul("determinism: the order of the workloads decides:\n%+v\n%+v", d, other)
		}
		again := f
		again.State = d.State
		for _, r := range rollout.Next(again, now).State.InProgress {
			if !named(rollout.State{InProgress: d.State.InProgress}, r.Key) && !named(rollout.State{Failed: d.State.Failed}, r.Key) {
				w.foul("idempotence: %s starts when the decision is made again", r.Key)
			}
		}
	}
	if len(d.State.InProgress) > 0 && (d.Again.IsZero() || !d.Again.After(now)) {
		w.foul("again: rolls are in flight and Again is %s", d.Again)
	}
	if d.Reason == "" || d.Message == "" {
		w.foul("reason: none is given")
	}
	for _, a := range d.Actions {
		if !named(rollout.State{InProgress: d.State.InProgress}, a.Key) {
			w.foul("state: %s is written without being in the state", a.Key)
		}
	}
}

// refereeStore judges what a decision says has ended.
func (w *world) refereeStore(c *controller) {
	began, done := map[rollout.Key]time.Time{}, map[rollout.Key]int{}
	for _, r := range c.decision.State.InProgress {
		w.books[w.ownerOf(r.Key)].seen = r.Pods
		began[r.Key], done[r.Key] = c.decidedAt, c.decision.State.Completed
		if at, ok := w.began[r.Key]; ok && named(rollout.State{InProgress: w.mt.state.InProgress}, r.Key) {
			began[r.Key], done[r.Key] = at, max(w.done[r.Key], c.decision.State.Completed)
		}
	}
	w.began, w.done = began, done
	for _, e := range c.decision.Ended {
		i := w.ownerOf(e.Key)
		b := &w.books[i]
		if e.Reason == v1alpha1.StillStale && w.now.Sub(b.lastLacking) > lately && w.epoch == c.seen.epoch && !w.blip(c) {
			w.foul("attempts: %s is given up, and no pod of it lacked the bundle lately", e.Key)
		}
		if e.Failed && e.Reason != v1alpha1.StillStale && !w.givenUp(b) {
			w.foul("deadline: the roll of %s fails (%s) %s after its last write", e.Key, e.Reason, w.now.Sub(b.lastWrite))
		}
		asBefore := strings.Contains(e.Message, "no fewer than")
		w.tally["ended as before"] += btoi(asBefore)
		switch {
		case asBefore && !w.givenUp(b):
			w.foul("done: the roll of %s ends %s after its last write, though not all pods are ready", e.Key, w.now.Sub(b.lastWrite))
		case asBefore && b.through:
			continue // its pods do not become ready, and did not before
		}
		if !e.Failed && b.ours && !b.overlaid && !(w.owners[i].op != notOperated && w.givenUp(b)) {
			w.foul("done: the roll of %s is said to be done, and in truth it is not", e.Key)
		}
	}
}
