package rollout_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

var simDepth = flag.Int("sim.depth", 2, "how many things happen out of order at each point of the tiny world's course")

// simJump is longer than a pod takes to become ready.
const simJump = 21 * time.Second

// events are what may happen next in the tiny world.
var events = map[string]func(*world){
	"the leader takes its next step":          func(w *world) { w.controllers[w.leader].step(w) },
	"the leader's cache of owners catches up": func(w *world) { w.caught(func(c *controller) { c.owners = w.latest() }) },
	"the leader's cache of pods catches up":   func(w *world) { w.caught(func(c *controller) { c.pods = w.latest() }) },
	"the owners' controllers work": func(w *world) {
		for i := range w.owners {
			w.workOwner(i)
		}
	},
	"time passes":        func(w *world) { w.now = w.now.Add(simJump) },
	"the leader dies":    (*world).crash,
	"another leads":      (*world).takeOver,
	"a user restarts it": func(w *world) { w.userRollout(1) },
}

// course is the order in which things happen when nothing goes wrong.
var course = []string{
	"the leader takes its next step", "the leader takes its next step", "the leader takes its next step", "the leader takes its next step",
	"the leader takes its next step", "the leader takes its next step", "the owners' controllers work",
	"the leader's cache of pods catches up", "the leader's cache of owners catches up", "time passes",
}

func (w *world) caught(move func(*controller)) {
	c := w.controllers[w.leader]
	move(c)
	c.woken = true
}

// happen lets one event happen, and everything judge it.
func (w *world) happen(event string) {
	w.steps++
	w.now = w.now.Add(time.Millisecond)
	w.logf("-- %s", event)
	w.livePods()
	w.liveInjectors()
	events[event](w)
	if w.dirty {
		w.snapshot()
	}
	w.observeTruth()
}

// newTinyWorld has a control plane and two workloads, one of which is evicted,
// and a bundle that was just widened.
func newTinyWorld() *world {
	w := newWorld(1, config{})
	w.cfg = config{budget: 1, perNamespace: 1, attempts: 3, retired: v1alpha1.RetiredNever, heals: true}
	w.owners, w.books, w.pods, w.hist, w.base = nil, nil, nil, nil, 0
	for i, o := range []simOwner{
		{wave: 0, surge: 1, desired: 1, key: rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "mesh", Name: "w0"}},
		{wave: 1, unavail: 1, desired: 2, key: rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "a", Name: "w1"}},
		{wave: 1, strategy: rollout.OnDelete, desired: 2, key: rollout.Key{Group: "apps", Kind: "StatefulSet", Namespace: "b", Name: "w2"}},
	} {
		o.retemplate()
		o.stable = o.rev
		w.owners, w.books = append(w.owners, o), append(w.books, book{evicted: -1})
		for n := range o.desired {
			p := w.create(i, n, o.rev, o.mark)
			p.trust, p.ready, p.created = w.bundle, true, w.now.Add(-time.Hour)
		}
		w.sync(i)
	}
	w.quiet = true
	w.snapshot()
	for _, c := range w.controllers {
		c.skew = 0
		c.catchUp(w)
	}
	w.publish(0b011)
	return w
}

// TestEveryOrderOfEventsAtEveryPointOfTheCourse lets a tiny world run its course
// up to each point, then every sequence of a few events, and then go on.
func TestEveryOrderOfEventsAtEveryPointOfTheCourse(t *testing.T) {
	var names []string
	for name := range events {
		names = append(names, name)
	}
	sequences := [][]string{nil}
	for range *simDepth {
		var longer [][]string
		for _, s := range sequences {
			for _, name := range names {
				longer = append(longer, append(append([]string(nil), s...), name))
			}
		}
		sequences = longer
	}
	worlds, steps := 0, 0
	for at := range 8 * len(course) {
		for _, deviation := range sequences {
			w, f := runTiny(at, deviation)
			worlds, steps = worlds+1, steps+w.steps
			if f != "" {
				t.Fatalf("after %d events, then %q: %s", at, deviation, f)
			}
		}
	}
	t.Logf("%d worlds, %d steps", worlds, steps)
}

func runTiny(at int, deviation []string) (w *world, f foul) {
	w = newTinyWorld()
	defer func() {
		if r := recover(); r != nil {
			x, ok := r.(foul)
			if !ok {
				panic(r)
			}
			f = x
		}
	}()
	for n := range at {
		w.happen(course[n%len(course)])
	}
	for _, event := range deviation {
		w.happen(event)
	}
	for n := range 60 * len(course) {
		if d := w.controllers[w.leader].last; n > 20*len(course) && n%len(course) == 0 && d.Reason == v1alpha1.Converged {
			break
		}
		w.happen(course[n%len(course)])
	}
	if w.controllers[w.leader].last.Reason != v1alpha1.Converged {
		w.foul("livelock: %s: %s", w.controllers[w.leader].last.Reason, fmt.Sprintf("%+v", w.mt.state))
	}
	w.refereeEnd(true)
	return w, ""
}
