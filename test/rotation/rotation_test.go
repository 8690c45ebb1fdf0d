package rotation

import (
	"slices"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// long is more than a rotation takes that nothing is in the way of.
const long = 10 * time.Minute

// A scenario is one mesh, and what happens to it.
type scenario struct {
	name string
	run  func(*T)
}

// TestRotations runs all scenarios, in their two clusters at the same time.
func TestRotations(t *testing.T) {
	t.Run("calm", func(t *testing.T) { // nothing happens to Reanchor and the cluster
		t.Parallel()
		sideBySide(calm.test(t), 12, slices.Concat(longRotations(), rotations(), heals(), aborts()))
	})
	t.Run("rough", func(t *testing.T) {
		t.Parallel()
		t.Run("disturbed", func(t *testing.T) { sideBySide(rough.test(t), 4, disturbances()) })
		t.Run("singular", func(t *testing.T) { singular(rough.test(t)) })
	})
}

// longRotations take three minutes and more, and begin first: at the end there is
// none that the others have left alone.
func longRotations() []scenario {
	return []scenario{
		{"a queue of runs: one after another, and the generation before the last goes", queued},
		{"a schedule starts one run, at its time", scheduled},
		{"times of the schedule that were missed start one run together", missed},
		{"a run that is suspended in every phase, generations", func(t *T) { suspendedThroughout(t, v1alpha1.LayoutGenerations) }},
		{"a run that is suspended in every phase, in place", func(t *T) { suspendedThroughout(t, v1alpha1.LayoutInPlace) }},
		{"hands off: the documented layout, 40 workloads, three injectors that lag, 20,000 handshakes of which none fails", handsOff},
		{"a pipeline of one's own is told when to switch, and when not to narrow", pipeline},
		{"an anchor that has expired already: the shortest way back", func(t *T) { expired(t, smallGenerations("expired")) }},
		{"an anchor that has expired already: the shortest way back, in place", func(t *T) { expired(t, small("expired-in-place")) }},
		{"the hazard is held back in place", hazardHeld},
		{"an anchor that is due is replaced in place, and an issuer that nears its end at a shut gate is signed by the old one", rescued},
	}
}

func rotations() []scenario {
	return []scenario{
		{"an anchor that another actor renews is followed", observed},
		{"a generation that another actor renews is followed", observedGeneration},
		{"an anchor that was replaced before Reanchor came is put back first", replacedBefore},
		{"an anchor near its end is replaced", due},
		{"a Deployment that cannot become ready is waited for", unready},
		{"what is never rolled blocks by its name, until it is acknowledged", blocked},
		{"a second renewal of the anchor in mid-rotation", renewedTwice},
		{"an identity replica that stopped reloading", stoppedReloading},
		{"with generations no Secret but Reanchor's own is touched", generations},
		{"a bundle that Reanchor writes itself", ownWriter},
		{"an issuer that no anchor of the bundle signed is said within seconds", badSignature},
		{"an anchor that vanished from the bundle is put back", vanished},
		{"an old anchor that is overwritten too early is put back", copiedTooEarly},
		{"an issuer that is switched too early is switched back", func(t *T) { switchedTooEarly(t, smallGenerations("switched-too-early")) }},
		{"an issuer that is renewed too early is switched back, in place", func(t *T) { switchedTooEarly(t, small("renewed-too-early")) }},
		{"an issuer that identity cannot verify yet is skipped", skipped},
		{"a previous-anchor Secret that is deleted comes back", previousDeleted},
		{"from the documented layout to generations without a restart", migrated},
		{"a run that is deleted midway is followed by one that goes on with its anchors", deleted},
	}
}

// singular rotations change what all meshes of a cluster share: that there is
// something outside of it, who leads, and, for all of them, what cert-manager can do:
// it cannot hold back renewals. Beside them are some that wait for a renewal which
// comes by itself in mid-roll. All have their approvals.
func singular(t *T) {
	withoutRenewalField(t) // before there is any mesh: Reanchor looks for it once in minutes
	sideBySide(t, 5, []scenario{
		{"objects of what is outside demand approvals", linked},
		{"a cert-manager that cannot hold back renewals", older},
		{"the hazard: in place, an issuer that renews itself in mid-roll breaks the mesh", hazard},
		{"the hazard does not exist with generations", hazardOfGenerations},
		{"a leader that slept does nothing of what it had decided", sleeper},
	})
}

// sideBySide runs scenarios, so many of them at a time, in the order they are in: of
// subtests that wait for one another, package testing promises no order.
func sideBySide(t *T, atOnce int, scenarios []scenario) {
	hideAllAlong(t)
	var turns []chan struct{}
	slots := make(chan struct{}, atOnce)
	for _, s := range scenarios {
		t.Run(s.name, func(sub *testing.T) {
			turn := make(chan struct{})
			turns = append(turns, turn)
			sub.Parallel()
			<-turn
			sub.Cleanup(func() { <-slots })
			s.run(&T{sub, t.cluster})
		})
	}
	go func() {
		for _, turn := range turns {
			slots <- struct{}{}
			close(turn)
		}
	}()
}

func handsOff(t *T) {
	w := newWorld(t, linkerd.Options{Workloads: 40, Namespaces: 6, Rate: 120, Foreign: true}, func(mt *v1alpha1.MeshTrust) {
		mt.Spec.Rollout = v1alpha1.RolloutSpec{} // the default budget
	})
	before, began := w.Proxies.Stats().Handshakes, time.Now()
	w.rotate()
	w.startNarrow()
	w.complete(12 * time.Minute)
	handshakes, took := w.Proxies.Stats().Handshakes-before, time.Since(began)
	w.eventually(long, func() error { return atLeast(w, 20_000) })
	w.rotated()
	w.watched(handshakes, took)
	if n, most := w.Score().MaxUnavailable, 5; n > most {
		t.Errorf("%d pods were missing at the worst, want at most %d: a tenth of the workloads", n, most)
	}
}

// blind is for how long a failure of the whole mesh may have gone unseen: an eighth
// of the life of a leaf (see linkerd.Times), and a leaf that is refused is presented
// for most of its life. A machine that is as busy as the other scenarios make it
// pauses by itself.
const blind = 5 * time.Second

// watched fails unless handshakes were dense enough to see what happens to a mesh:
// 50 a second, and no long pause.
func (w *world) watched(handshakes int, took time.Duration) {
	w.Helper()
	rate, pause := float64(handshakes)/took.Seconds(), w.Proxies.Stats().LongestPause
	w.Logf("%d handshakes in %s, %.0f a second; the longest pause between two was %s", handshakes, took.Round(time.Second), rate, pause.Round(time.Millisecond))
	if rate < 50 || pause > blind {
		w.Errorf("want 50 handshakes a second and no pause longer than %s", blind)
	}
}

func ownWriter(t *T) {
	o := smallGenerations("own-writer")
	o.Writer = v1alpha1.BundleWriterReanchor
	w := newWorld(t, o, nil)
	w.rotate()
	w.complete(long)
	w.rotated()
}
