package rollout_test

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// controller is one process of the companion controller: it observes through
// caches, decides, stores the state, and then acts, one step at a time. The
// rules of that protocol are those that the real one must keep:
//
//   - taking over, its caches first reach the present;
//   - the state is stored with the resourceVersion that the decision was made
//     on, before anything is acted on;
//   - a decision is acted on within seconds or not at all, and only while the
//     MeshTrust has not changed since;
//   - the workload is read live before a write, and must still call for it;
//   - what it wrote counts until its cache shows it.
type controller struct {
	id     int
	skew   time.Duration
	owners int // positions of its caches in the history of the truth
	pods   int
	stage  stage
	frozen time.Time // it does nothing until then

	decision  rollout.Decision
	next      int // the next action
	decidedAt time.Time
	rv        int64
	policyRV  int64
	seen      publication
	last      rollout.Decision
	lastAt    time.Time

	woken   bool
	written map[rollout.Key]write
	evicted map[int]bool
	refused map[rollout.Key]bool
	probed  rollout.ProbeOutcome
	probeOf string
}

type stage int

const (
	idle stage = iota
	storing
	acting
)

type write struct {
	gen int64
	at  time.Time
}

// publication is what a controller knows of the bundle that it decided on.
type publication struct {
	set                 uint8
	hash                string
	publishedAt, seenAt time.Time
	epoch               int
}

func newController(w *world, id int) *controller {
	c := &controller{id: id}
	if w.cfg.skewed && id > 0 {
		c.skew = w.between(-simSkew, simSkew)
	}
	c.restart(w)
	return c
}

// restart is a new process in the place of the old one.
func (c *controller) restart(w *world) {
	*c = controller{
		id: c.id, skew: c.skew, written: map[rollout.Key]write{}, evicted: map[int]bool{}, refused: map[rollout.Key]bool{}, woken: true,
	}
	c.catchUp(w)
	if w.cfg.mutant == staleStart {
		c.owners, c.pods = w.before(4*simLag), w.before(4*simLag)
	}
}

// catchUp lets the caches reach the present.
func (c *controller) catchUp(w *world) { c.owners, c.pods = w.latest(), w.latest() }

// before is the position in the history of a while ago.
func (w *world) before(d time.Duration) int {
	at := w.latest()
	for at > w.base && w.now.Sub(w.at(at).at) < d {
		at--
	}
	return at
}

// lag moves the caches on: a bit, or as far as they must.
func (c *controller) lag(w *world) {
	before := [2]int{c.owners, c.pods}
	c.owners = w.advance(c.owners)
	c.pods = w.advance(c.pods)
	if before != [2]int{c.owners, c.pods} {
		c.woken = true
	}
}

func (w *world) advance(from int) int {
	to := max(from, w.base)
	if left := w.latest() - to; left > 0 && w.rng.IntN(3) == 0 {
		to += w.rng.IntN(left + 1)
	}
	for to < w.latest() && w.now.Sub(w.at(to+1).at) > simLag && w.cfg.mutant != staleStart {
		to++
	}
	return to
}

func (c *controller) clock(w *world) time.Time { return w.now.Add(c.skew) }

// step does the next thing.
func (c *controller) step(w *world) {
	if w.now.Before(c.frozen) {
		return
	}
	switch c.stage {
	case idle:
		if w.leader == c.id && (c.woken || !c.last.Again.IsZero() && !c.clock(w).Before(c.last.Again)) {
			c.decide(w)
		}
	case storing:
		c.store(w)
	case acting:
		c.act(w)
	}
}

func (c *controller) decide(w *world) {
	c.woken = false
	now := c.clock(w)
	c.rv, c.policyRV = w.mt.rv, w.mt.policyRV
	c.seen = w.look(now)
	facts := c.facts(w)
	c.decision, c.decidedAt = rollout.Next(facts, now), w.now
	c.last, c.lastAt = c.decision, w.now
	w.tally["decisions"]++
	w.tally[string(c.decision.Reason)]++
	for _, e := range c.decision.Ended {
		w.tally["ended "+string(e.Reason)]++
	}
	w.logf("c%d: %s: %s", c.id, c.decision.Reason, c.decision.Message)
	for _, r := range c.decision.State.InProgress {
		w.logf("    %s attempt %d %s applied=%t left=%d: %s", r.Key, r.Attempt, r.Verb, r.Applied, r.Left, r.Message)
	}
	for _, e := range c.decision.Ended {
		w.logf("    ended %s %s", e.Key, e.Reason)
	}
	w.refereeDecision(c, facts, now)
	c.next, c.stage = 0, storing
	if w.cfg.mutant == actFirst {
		c.stage = acting
	}
}

// look reads the bundle and its record. The same set again is the same
// publication, even when another was there in between and nobody saw it.
func (w *world) look(now time.Time) publication {
	p := publication{set: w.bundle, hash: w.mt.hash, publishedAt: w.mt.publishedAt, seenAt: w.mt.seenAt, epoch: w.epoch}
	if hash := hashOf(w.bundle); hash != p.hash {
		p.hash, p.publishedAt, p.seenAt = hash, w.publishedAt, now
	}
	return p
}

func (c *controller) facts(w *world) rollout.Facts {
	f := rollout.Facts{
		Bundle: rollout.Bundle{Hash: c.seen.hash, PublishedAt: c.seen.publishedAt, SeenAt: c.seen.seenAt},
		Hold:   w.hold(), Policy: w.policy(), State: w.mt.state, Waves: []string{"control-plane", "first", "rest"},
		Fence: c.fence(w),
	}
	if w.cfg.mutant == noPropagation {
		f.Bundle.PublishedAt, f.Bundle.SeenAt = time.Time{}, time.Time{}
	}
	owners, pods := slices.Clone(w.at(c.owners).owners), w.at(c.pods).pods
	for i := range owners {
		if owners[i].op != notOperated {
			owners[i] = w.owners[i] // no cache holds them
		}
	}
	byOwner := make([][]simPod, len(owners))
	for _, p := range pods {
		if p.outside {
			continue
		}
		byOwner[p.owner] = append(byOwner[p.owner], p)
	}
	for i := range owners {
		if len(byOwner[i]) == 0 && (!owners[i].controller() || w.cfg.forgetful || !named(f.State, owners[i].key)) {
			continue
		}
		f.Workloads = append(f.Workloads, c.workload(w, &owners[i], byOwner[i]))
	}
	w.rng.Shuffle(len(f.Workloads), func(i, j int) { f.Workloads[i], f.Workloads[j] = f.Workloads[j], f.Workloads[i] })
	return f
}

func named(s rollout.State, k rollout.Key) bool {
	return slices.ContainsFunc(s.InProgress, func(r rollout.Roll) bool { return r.Key == k }) ||
		slices.ContainsFunc(s.Failed, func(f rollout.Failure) bool { return f.Key == k })
}

func (c *controller) fence(w *world) rollout.FenceEvidence {
	f := rollout.FenceEvidence{Needed: true, KnownAt: c.seen.seenAt.Add(simFileDelay)}
	f.Known = !c.clock(w).Before(f.KnownAt)
	if c.probeOf == c.seen.hash+c.seen.seenAt.String() {
		f.Probe = c.probed
	}
	return f
}

// workload is what the caches show of an owner.
func (c *controller) workload(w *world, o *simOwner, pods []simPod) rollout.Workload {
	spec := w.spec(o)
	spec.Lost = countLost(pods)
	out := rollout.Workload{
		Key: o.key, Wave: o.wave, RestartedFor: o.mark,
		Owner: rollout.Owner{Observed: true},
	}
	out.Verb, out.Block = rollout.VerbFor(spec, w.policy())
	if o.controller() {
		out.Owner = rollout.Owner{
			Observed: o.observed >= o.gen, Desired: o.desired, Updated: o.updated, Total: o.total, Available: o.available,
			ByTemplate: o.byTemplate(), Partition: o.partition,
		}
	}
	if o.op != notOperated {
		w.describeOperated(o, &out)
	}
	own := c.written[o.key]
	out.WrittenAt = own.at
	lags := o.gen < own.gen
	for i := range pods {
		p := &pods[i]
		if p.created.After(out.NewestPod) {
			out.NewestPod = p.created
		}
		if !p.terminating && c.evicted[p.id] {
			lags = true
		}
		c.countPod(w, &out, p)
	}
	if c.refused[o.key] {
		out.Refused = "a budget"
	}
	out.Owner.Lags = lags && w.cfg.mutant != noLags
	w.mutate(&out)
	return out
}

func (c *controller) countPod(w *world, out *rollout.Workload, p *simPod) {
	missing := c.seen.set &^ p.trust
	if out.Key.Kind == "DaemonSet" && p.node == w.down {
		out.Owner.Unreachable++
		out.Stranded += btoi(missing != 0 || w.outlived(p))
		return
	}
	switch {
	case p.lost:
		out.Lost++
		out.Stranded += btoi(missing != 0 || w.outlived(p))
		return
	case p.terminating:
		out.Terminating++
		return
	}
	out.Pods++
	if out.OldestPod.IsZero() || p.created.Before(out.OldestPod) {
		out.OldestPod = p.created
	}
	out.Ready += btoi(p.ready)
	if until := out.AskedUpTo(); !until.IsZero() {
		out.Outdated += btoi(p.created.Before(until))
	} else {
		out.Outdated += btoi(p.mark != out.RestartedFor)
	}
	pod := rollout.Pod{
		Name: "p" + strconv.Itoa(p.id), UID: strconv.Itoa(p.id), CreatedAt: p.created, Ready: p.ready, RestartedFor: p.mark, Ordinal: p.ordinal,
	}
	switch {
	case missing != 0:
		out.StalePods = append(out.StalePods, pod)
		out.Broken = out.Broken || p.trust&w.issuer == 0
	case w.outlived(p):
		pod.LeafOnly = true
		out.StalePods = append(out.StalePods, pod)
	case p.trust != c.seen.set:
		out.RetiredPods = append(out.RetiredPods, pod)
	}
}

// store writes the state, unless somebody else wrote since.
func (c *controller) store(w *world) {
	if c.rv != w.mt.rv && w.cfg.mutant != noConflict {
		w.tally["conflicts"]++
		c.stage, c.woken = idle, true
		return
	}
	c.put(w)
	c.stage, c.next = acting, 0
}

func (c *controller) put(w *world) {
	w.refereeStore(c)
	w.mt.state = roundTrip(c.decision.State)
	if w.mt.hash != c.seen.hash {
		w.mt.hash, w.mt.publishedAt, w.mt.seenAt, w.mt.epoch = c.seen.hash, c.seen.publishedAt, c.seen.seenAt, c.seen.epoch
	}
	w.mt.rv++
	c.rv = w.mt.rv
}

// roundTrip keeps of the state what the API keeps.
func roundTrip(s rollout.State) rollout.State {
	for i := range s.Failed {
		s.Failed[i].Since = s.Failed[i].Since.Truncate(time.Second)
	}
	for i := range s.Attempts {
		s.Attempts[i].LastAt = s.Attempts[i].LastAt.Truncate(time.Second)
	}
	for i := range s.InProgress {
		s.InProgress[i].StartedAt = s.InProgress[i].StartedAt.Truncate(time.Microsecond)
		s.InProgress[i].ProgressAt = s.InProgress[i].ProgressAt.Truncate(time.Microsecond)
	}
	return s
}

// act carries out the next action.
func (c *controller) act(w *world) {
	until := c.decision.Until
	late := w.now.Sub(c.decidedAt) > simActWithin || w.mt.policyRV != c.policyRV || !until.IsZero() && !c.clock(w).Before(until)
	if late && w.cfg.mutant != noDeadline {
		w.tally["actions that came too late"] += len(c.decision.Actions) - min(c.next, len(c.decision.Actions))
		c.stage, c.woken = idle, true
		return
	}
	if c.next >= len(c.decision.Actions) {
		c.finish(w)
		return
	}
	a := c.decision.Actions[c.next]
	c.next++
	i := w.ownerOf(a.Key)
	o := &w.owners[i]
	spec := w.spec(o)
	spec.Lost = 0 // the workload is read, not its other pods
	if verb, _ := rollout.VerbFor(spec, w.policy()); verb == "" && w.cfg.mutant != noLiveRead {
		return
	}
	if a.Verb == v1alpha1.VerbEvict {
		c.evict(w, i, a)
	} else {
		c.mark(w, i, a)
	}
}

func (c *controller) finish(w *world) {
	if c.decision.Probe {
		c.probed, c.probeOf = rollout.AllFresh, c.seen.hash+c.seen.seenAt.String()
		for i := range w.injectors {
			if w.injectors[i].serves != w.bundle {
				c.probed = rollout.SomeStale
			}
		}
		if w.rng.IntN(10) == 0 {
			c.probed = rollout.Refused
		}
	}
	c.stage = idle
	if w.cfg.mutant == actFirst {
		c.stage = storing
		c.decision.Actions = nil
	}
}

// mark applies the annotation; a repeat changes nothing.
func (c *controller) mark(w *world, i int, a rollout.Action) {
	o, mark := &w.owners[i], a.Mark
	if o.op != notOperated {
		mark = a.Value
	}
	if a.Verb == v1alpha1.VerbRestartAt {
		c.restartAt(w, i, a)
		return
	}
	if o.mark != mark {
		w.refereeMark(c, i, a)
		w.tally["marks"]++
		w.tally[fmt.Sprintf("attempt %d", a.Attempt)]++
		w.tally[string(a.Verb)]++
		w.logf("c%d marks %s %s (was %s)", c.id, o.key, mark, o.mark)
		o.mark, o.markAt = mark, w.now
		o.retemplate()
		w.dirty = true
		// Pods of a time that the bundle was in force before are of the template
		// already, and are not replaced by it.
		w.books[i].staleBack = slices.ContainsFunc(w.pods, func(p simPod) bool {
			return p.owner == i && !p.terminating && p.mark == mark && p.rev == o.rev && w.stale(&p)
		})
		if o.gitops {
			o.revertAt = w.now.Add(w.between(0, 30*time.Second))
		}
	}
	c.written[a.Key] = write{gen: o.gen, at: c.clock(w)}
}

// restartAt sets the time up to which Argo replaces pods.
func (c *controller) restartAt(w *world, i int, a rollout.Action) {
	o := &w.owners[i]
	if !o.restartAt.Equal(a.RestartAt) {
		w.refereeMark(c, i, a)
		w.tally[string(a.Verb)]++
		w.logf("c%d restarts %s up to %s (was %s)", c.id, o.key, a.RestartAt.Format(time.TimeOnly), o.restartAt.Format(time.TimeOnly))
		o.restartAt, w.dirty = a.RestartAt, true
		o.gen++
	}
	c.written[a.Key] = write{gen: o.gen, at: c.clock(w)}
}

func (c *controller) evict(w *world, i int, a rollout.Action) {
	for n := range w.pods {
		p := &w.pods[n]
		if strconv.Itoa(p.id) != a.Pod.UID {
			continue
		}
		delete(c.refused, a.Key)
		if w.now.Before(w.owners[i].refusesUntil) && !p.terminating {
			c.refused[a.Key], c.woken = true, true
			w.tally["refusals"]++
			return
		}
		c.evicted[p.id] = true
		if !p.terminating {
			w.refereeEvict(c, i, p)
			w.tallyEviction(i, p)
			w.logf("c%d evicts %s of %s", c.id, a.Pod.Name, a.Key)
			w.terminate(p)
		}
		return
	}
}

// tallyEviction notes what an eviction was for.
func (w *world) tallyEviction(i int, p *simPod) {
	switch o := &w.owners[i]; {
	case !w.byMark(i):
		w.tally["evictions"]++
	case p.ordinal < o.partition:
		w.tally["evictions below a partition"]++
	case o.key.Kind == "StatefulSet":
		w.tally["evictions of what held up a roll"]++
	default:
		w.tally["evictions after reverts"]++
	}
}

func (w *world) ownerOf(k rollout.Key) int {
	for i := range w.owners {
		if w.owners[i].key == k {
			return i
		}
	}
	panic(fmt.Sprintf("no owner %s", k))
}
