package rollout_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// The simulated world. Trust is a set of anchors in the bits of a byte. The
// truth is what the API server holds; controllers see it through caches that
// lag, owners and pods each on their own.

const (
	simEnvDelay  = 10 * time.Second
	simFileDelay = 40 * time.Second
	// simLag bounds how far a cache lags.
	simLag = 15 * time.Second
	// simActWithin is how long a decision may be acted on.
	simActWithin = 5 * time.Second
	// simSkew bounds how far the clock of a controller is from that of the API
	// server, and of the other controller.
	simSkew = 5 * time.Minute
)

type simPod struct {
	id, owner, ordinal, node int
	rev, mark                string
	trust                    uint8
	created                  time.Time
	ready, terminating       bool
	// never says that it does not become ready, dead that it does not while it is
	// stale: it restarted with a bundle that is not in force any more.
	never, dead     bool
	readyAt, goneAt time.Time
	outside         bool      // it is no member of the mesh, and nobody sees it
	endsSince       time.Time // when it began to terminate
	lost            bool      // it is to end on a node that is not ready, and stays until that is back
}

type simOwner struct {
	key                                rollout.Key
	wave                               int
	strategy                           rollout.Strategy
	desired, partition, surge, unavail int
	gen, observed                      int64
	userGen                            int
	op                                 operating
	markAt                             time.Time // when the operator's annotation was set
	restarting                         bool      // the operator has taken up its annotation
	restartAt, restartedAt             time.Time // of an Argo Rollout
	phaseless                          bool      // its Argo is too old to tell a phase
	outsideRev                         string    // pods of this template are no members
	pausedUntil                        time.Time // it does nothing until then
	mark, rev, stable                  string
	optOut, paused, evictOnly          bool
	broken, gitops                     bool
	ordered                            bool      // a StatefulSet of the policy OrderedReady
	refusesUntil                       time.Time // evictions, by a budget
	updated, total, available          int
	revertAt                           time.Time
}

func (o *simOwner) controller() bool { return o.key.Kind != "Pod" }

func (o *simOwner) byTemplate() bool {
	return o.controller() && o.op == notOperated && o.strategy != rollout.OnDelete && !o.paused
}

// book is what the referee knows of an owner; nobody else reads it.
type book struct {
	// ours says that a roll of a controller has begun and is not complete.
	ours      bool
	lastWrite time.Time
	roll      time.Time // when the roll of the last write was decided
	// staleBack says that a pod of the last roll came back stale; rolls counts
	// the template writes for the epoch, attempts those that did not make good
	// for a revert.
	epoch, rolls, attempts, reverts int
	staleBack, revertedSinceRoll    bool
	leafDue                         bool      // it may be rolled once for its leaves
	lastLacking                     time.Time // a pod lacked the bundle
	lastStale, staleSince           time.Time
	lastBroken                      time.Time
	userRoll                        time.Time
	podless                         bool // it had no pod since the last write
	overlaid                        bool // somebody rolled it before our roll was complete
	evicted                         int  // the pod last evicted
	replaced                        bool
	through                         bool // all was replaced since the last write, if not ready
	seen                            int  // how many pods its roll answers for
}

type snapshot struct {
	at     time.Time
	owners []simOwner
	pods   []simPod
}

type meshTrust struct {
	rv, policyRV    int64
	paused, suspend bool
	state           rollout.State
	// The publication on record.
	hash                string
	publishedAt, seenAt time.Time
	epoch               int
}

type world struct {
	rng   *rand.Rand
	cfg   config
	now   time.Time
	dirty bool
	base  int
	hist  []snapshot

	owners  []simOwner
	books   []book
	pods    []simPod
	nextID  int
	down    int       // the node that is down; -1 for none
	nodesAt time.Time // when that last changed

	bundle      uint8
	issuer      uint8
	epoch       int
	publishedAt time.Time
	older       uint8     // the bundle before
	leafBefore  time.Time // pods from before then are to be replaced for their leaves
	leafNext    time.Time // the next such time
	injectors   []injector

	mt          meshTrust
	controllers []*controller
	leader      int
	quiet       bool // no disturbance any more
	steps       int
	tally       map[string]int
	began       map[rollout.Key]time.Time // when rolls in flight were decided
	done        map[rollout.Key]int       // how many of the wave were done by then
	log         []string
}

type injector struct {
	serves  uint8
	freshAt time.Time
}

// deadline is the policy's for progress: longer than the clocks are apart, or it
// would have passed whenever another controller leads.
func (w *world) deadline() time.Duration {
	if w.cfg.skewed {
		return 2 * simSkew
	}
	return 5 * time.Minute
}

func hashOf(set uint8) string { return fmt.Sprintf("v1:%03b", set) }

func newWorld(seed uint64, cfg config) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 7)), cfg: cfg, now: time.Date(2030, 3, 1, 8, 0, 0, 0, time.UTC), down: -1,
		bundle: 0b001, issuer: 0b001, older: 0b001, tally: map[string]int{},
	}
	w.cfg.vary(w.rng)
	w.publishedAt = w.now.Add(-time.Hour)
	for range 1 + w.rng.IntN(3) {
		w.injectors = append(w.injectors, injector{serves: w.bundle})
	}
	w.populate()
	w.mt = meshTrust{hash: hashOf(w.bundle), publishedAt: w.publishedAt, seenAt: w.publishedAt}
	w.snapshot()
	for i := range 2 {
		w.controllers = append(w.controllers, newController(w, i))
	}
	return w
}

func (w *world) logf(format string, args ...any) {
	if w.cfg.trace {
		w.log = append(w.log, w.now.Format("15:04:05.0 ")+fmt.Sprintf(format, args...))
	}
}

// populate makes the owners, with their pods running.
func (w *world) populate() {
	add := func(kind, ns string, o simOwner) {
		o.key = rollout.Key{Group: groupOf(kind), Kind: kind, Namespace: ns, Name: fmt.Sprintf("w%d", len(w.owners))}
		if o.desired == 0 {
			o.desired = 1 + w.rng.IntN(3)
		}
		o.retemplate()
		o.stable = o.rev
		w.owners = append(w.owners, o)
		w.books = append(w.books, book{evicted: -1})
	}
	add("Deployment", "mesh", simOwner{wave: 0, surge: 1})
	for range 1 + w.rng.IntN(3) {
		add("Deployment", w.namespace(), simOwner{wave: 1 + w.rng.IntN(2), surge: w.rng.IntN(2), unavail: 1})
	}
	kinds := []func(){
		func() { add("StatefulSet", w.namespace(), simOwner{wave: 1, ordered: w.rng.IntN(4) > 0}) },
		func() {
			add("StatefulSet", w.namespace(), simOwner{wave: 2, desired: 3, partition: 1 + w.rng.IntN(2), ordered: w.rng.IntN(2) > 0})
		},
		func() { add("StatefulSet", w.namespace(), simOwner{wave: 1, strategy: rollout.OnDelete}) },
		func() { add("Deployment", w.namespace(), simOwner{wave: 2, strategy: rollout.Recreate}) },
		func() { add("DaemonSet", w.namespace(), simOwner{wave: 1, desired: 3, unavail: 1}) },
		func() { add("Deployment", w.namespace(), simOwner{wave: 2, surge: 1, evictOnly: true}) },
		func() { add("Pod", w.namespace(), simOwner{wave: 2, desired: 1}) },
		func() { add("Job", w.namespace(), simOwner{wave: 2, desired: 1 + w.rng.IntN(2), op: byItself}) },
		func() { add("Unknown", w.namespace(), simOwner{wave: 1 + w.rng.IntN(2), desired: 3, op: byItself}) },
		func() {
			add("Rollout", w.namespace(), simOwner{wave: 1 + w.rng.IntN(2), desired: 3, op: byArgo, phaseless: w.rng.IntN(2) == 0})
		},
		func() { add("ByToken", w.namespace(), simOwner{wave: 1, op: byToken}) },
		func() { add("ByTime", w.namespace(), simOwner{wave: 1 + w.rng.IntN(2), op: byTime}) },
		func() { add("ByText", w.namespace(), simOwner{wave: 2, op: byText}) },
		func() { add("ByEviction", w.namespace(), simOwner{wave: 1, op: byEviction}) },
	}
	if operated := kinds[7:]; w.cfg.operators {
		kinds = append(operated, operated...)
	}
	for _, i := range w.rng.Perm(len(kinds))[:2+w.rng.IntN(5)] {
		kinds[i]()
	}
	for i := range w.owners {
		o := &w.owners[i]
		o.gitops = o.byTemplate() && w.rng.IntN(6) == 0
		for n := range o.desired {
			p := w.create(i, n, o.rev, o.mark)
			p.trust, p.ready, p.created = w.bundle, true, w.now.Add(-time.Hour)
		}
		if o.op == notOperated && o.desired > 1 && w.rng.IntN(4) == 0 {
			w.joinPartly(i)
		}
		w.sync(i)
	}
}

// joinPartly makes only some of the pods members: those above the partition, whose
// template has a proxy by now, or those that came after their namespace was
// injected.
func (w *world) joinPartly(i int) {
	o := &w.owners[i]
	w.tally["partly in the mesh"]++
	if o.partition > 0 {
		o.outsideRev = o.stable
		o.userGen++
		o.retemplate()
	}
	for _, n := range w.podsOf(i) {
		p := &w.pods[n]
		switch {
		case o.partition == 0:
			p.outside = p.ordinal < o.desired-1
		case p.ordinal < o.partition:
			p.outside = true
		default:
			p.rev = o.rev
		}
	}
}

func (w *world) namespace() string { return []string{"a", "b", "c"}[w.rng.IntN(3)] }

func (o *simOwner) retemplate() {
	o.gen++
	o.rev = fmt.Sprintf("%d/%s", o.userGen, o.mark)
	if o.op == byText {
		o.rev = fmt.Sprint(o.userGen)
	}
}

// create makes a pod; what it trusts is what its injector serves now, or for
// the control plane what its kubelet reads.
func (w *world) create(owner, ordinal int, rev, mark string) *simPod {
	w.nextID++
	w.dirty = true
	o := &w.owners[owner]
	w.pods = append(w.pods, simPod{
		id: w.nextID, owner: owner, ordinal: ordinal, node: ordinal, rev: rev, mark: mark, created: w.now.Truncate(time.Second),
		trust: w.inject(o), never: o.broken, outside: o.outsideRev != "" && rev == o.outsideRev, readyAt: w.now.Add(w.between(0, 20*time.Second)),
	})
	p := &w.pods[len(w.pods)-1]
	w.logf("pod %d of %s is created (%s, ordinal %d, trust %03b)", p.id, o.key, rev, ordinal, p.trust)
	b := &w.books[owner]
	if b.epoch == w.epoch && b.rolls > 0 && p.mark == o.mark && w.stale(p) {
		b.staleBack = true
	}
	return p
}

func (w *world) inject(o *simOwner) uint8 {
	if o.wave == 0 {
		if w.now.Sub(w.publishedAt) < w.between(0, simEnvDelay) {
			return w.older
		}
		return w.bundle
	}
	return w.injectors[w.rng.IntN(len(w.injectors))].serves
}

func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rng.Int64N(int64(b-a)))
}

func (w *world) stale(p *simPod) bool { return w.bundle&^p.trust != 0 && !p.outside }
func (w *world) retired(p *simPod) bool {
	return !w.stale(p) && p.trust != w.bundle && !p.outside
}

// outlived says whether a pod is to be replaced for its leaf.
func (w *world) outlived(p *simPod) bool { return !p.outside && p.created.Before(w.leafBefore) }

func (w *world) goes(p *simPod) bool { return w.stale(p) || w.outlived(p) }

// oldLeaves is when a rotation comes to where old leaves must go: from when on all
// pods that come are dated later.
func (w *world) oldLeaves() {
	if w.leafNext.IsZero() || w.now.Before(w.leafNext.Add(time.Second)) {
		return
	}
	w.logf("leaves from before %s are to go", w.leafNext.Format(time.TimeOnly))
	w.tally["old leaves"]++
	w.leafBefore, w.leafNext = w.leafNext, time.Time{}
	for i := range w.books {
		w.books[i].leafDue = true
	}
	w.wake()
}

// podsOf returns the indexes of an owner's pods.
func (w *world) podsOf(owner int) []int {
	var out []int
	for i := range w.pods {
		if w.pods[i].owner == owner {
			out = append(out, i)
		}
	}
	return out
}

func (w *world) terminate(p *simPod) {
	if p.terminating {
		return
	}
	w.logf("pod %d of %s terminates (%s, ready=%t)", p.id, w.owners[p.owner].key, p.rev, p.ready)
	p.terminating, p.endsSince, p.goneAt = true, w.now, w.now.Add(w.between(0, 40*time.Second))
	w.dirty = true
}

// livePods moves pods through their lives.
func (w *world) livePods() {
	kept := w.pods[:0]
	for i := range w.pods {
		p := w.pods[i]
		unreachable := w.owners[p.owner].key.Kind == "DaemonSet" && p.node == w.down
		switch {
		case p.terminating && w.now.After(p.goneAt) && !unreachable && !p.lost:
			w.dirty = true
			w.logf("pod %d of %s is gone", p.id, w.owners[p.owner].key)
			continue
		case unreachable && p.ready:
			p.ready, w.dirty = false, true
		case !p.ready && !p.terminating && !p.never && !(p.dead && w.stale(&p)) && !unreachable && w.now.After(p.readyAt):
			p.ready, p.readyAt, w.dirty = true, w.now, true
			if p.never = false; p.id != 0 {
				w.noteReady(&p)
			}
		}
		kept = append(kept, p)
	}
	w.pods = kept
}

// noteReady tells the referee that the pod evicted last has its replacement.
func (w *world) noteReady(p *simPod) {
	if b := &w.books[p.owner]; b.evicted >= 0 && p.id > b.evicted {
		b.replaced = true
	}
}

// snapshot records the truth for the caches to come by.
func (w *world) snapshot() {
	w.dirty = false
	w.hist = append(w.hist, snapshot{w.now, append([]simOwner(nil), w.owners...), append([]simPod(nil), w.pods...)})
	if len(w.hist) > 400 {
		w.hist = append([]snapshot(nil), w.hist[200:]...)
		w.base += 200
	}
}

func (w *world) latest() int { return w.base + len(w.hist) - 1 }

func (w *world) at(index int) *snapshot { return &w.hist[max(0, index-w.base)] }

// publish changes the bundle.
func (w *world) publish(set uint8) {
	if set == w.bundle {
		return
	}
	w.logf("publish %03b -> %03b", w.bundle, set)
	w.tally["bundles that changed in flight"] += btoi(len(w.mt.state.InProgress) > 0)
	w.older, w.bundle = w.bundle, set
	w.epoch++
	w.publishedAt = w.now.Truncate(time.Second)
	for i := range w.injectors {
		w.injectors[i].freshAt = w.now.Add(w.between(0, 2*simFileDelay))
	}
	for _, c := range w.controllers {
		c.woken = true
	}
}

func (w *world) liveInjectors() {
	for i := range w.injectors {
		if in := &w.injectors[i]; in.serves != w.bundle && w.now.After(in.freshAt) {
			in.serves = w.bundle
		}
	}
}

func (w *world) spec(o *simOwner) rollout.OwnerSpec {
	return rollout.OwnerSpec{
		Key: o.key, Strategy: o.strategy, Found: true, OptedOut: o.optOut, Paused: o.paused, EvictOnly: o.evictOnly,
		Desired: o.desired, Partition: o.partition, Lost: w.lost(o),
	}
}

func (w *world) policy() rollout.Policy {
	p := rollout.Policy{
		Suspend: w.mt.suspend, Paused: w.mt.paused, MaxConcurrent: w.cfg.budget, MaxConcurrentPerNamespace: w.cfg.perNamespace,
		Windows: w.cfg.windows, WhenBroken: w.cfg.whenBroken, FailureThreshold: 3, ProgressDeadline: w.deadline(), MaxAttempts: w.cfg.attempts,
		Retired: w.cfg.retired, EvictBarePods: w.cfg.evictAll, EvictJobs: w.cfg.evictAll, EvictUnmanaged: w.cfg.evictAll, EnvDelay: simEnvDelay, NoFence: w.cfg.mutant == noFence,
		Operators: simOperators(),
	}
	return p
}

func (w *world) hold() rollout.Hold {
	if w.bundle&w.issuer == 0 && w.cfg.mutant != noGate {
		return rollout.Hold{Reason: v1alpha1.BundleDoesNotTrustIssuer, Message: "the bundle lacks the issuer's anchor"}
	}
	return rollout.Hold{}
}
