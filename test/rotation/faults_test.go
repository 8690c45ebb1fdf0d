package rotation

import (
	"fmt"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Somebody renews the anchor once more while the pods are rolled for the first
// new one: that one is skipped, and the rotation leads to the newer.
func renewedTwice(t *T) {
	w := newWorld(t, small("renewed-twice"), nil)
	w.rotate()
	w.awaitPhase(long, v1alpha1.PhaseRolling)
	w.check(w.RenewNow(t.Context(), w.AnchorKey()))
	w.complete(long)
	w.unharmed()
	w.drained(w.before)
	if anchor, err := w.Anchor(t.Context()); err != nil || anchor != w.replaced() {
		t.Errorf("the issuer is not signed by the anchor that was renewed last, %.8s (%v)", anchor, err)
	}
}

// A replica's file watcher has left its loop for good: it signs with the old
// issuer for ever, and the other sees the new one late. The rotation restarts both
// before it drops the old anchor, and waits until the leaves have ended that were
// given out meanwhile.
func stoppedReloading(t *T) {
	o := small("stopped-reloading")
	// It signs for so long at least before it may be restarted: a proxy that renews
	// its leaf must ask it meanwhile, and which replica one asks is chance.
	o.Times.File = 25 * time.Second
	// The issuer is switched when the replica is deaf, and not before.
	w := newWorld(t, o, func(mt *v1alpha1.MeshTrust) { mt.Spec.Rotation.ExternalTrust = true })
	w.rotate(v1alpha1.GateNarrow)
	w.awaitApproval(v1alpha1.PhaseSwitchIssuer, v1alpha1.GateSwitchIssuer)
	replicas, old := w.Identity.Replicas(), w.issuer()
	deaf, late := replicas[0], replicas[1]
	w.check(w.Identity.StopReloading(deaf.Number))
	w.Identity.SetLag(late.Number, 6*time.Second) // within what file propagation allows
	w.approve(v1alpha1.GateSwitchIssuer)
	w.signsOn(deaf.Pod, old)
	w.startNarrow()
	w.complete(long)
	w.rotated()
}

// signsOn waits until a replica of identity, and no other, gives out leaves of an
// issuer that has been replaced.
func (w *world) signsOn(replica, old string) {
	w.Helper()
	w.eventually(3*time.Minute, func() error {
		for _, r := range w.Identity.Replicas() {
			if (r.Pod == replica) != (r.Issuer == old) {
				return fmt.Errorf("replica %s signs with %.8s, the issuer before the switch is %.8s", r.Pod, r.Issuer, old)
			}
		}
		return nil
	})
	before := w.Identity.Counters().Signed[old]
	w.eventually(time.Minute, func() error {
		if n := w.Identity.Counters().Signed[old]; n == before {
			return fmt.Errorf("no leaf was signed with the old issuer after the switch")
		}
		return nil
	})
	for _, r := range w.Identity.Replicas() {
		if r.Pod == replica && r.Issuer == old {
			return
		}
	}
	w.Fatalf("replica %s was restarted before it signed with the old issuer: the test shows nothing", replica)
}
