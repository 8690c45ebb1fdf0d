package rotation

import (
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Somebody renews the anchor once more while the pods are rolled for the first
// new one: that one is skipped, and the rotation leads to the newer.
func renewedTwice(t *testing.T) {
	w := newWorld(t, small("renewed-twice"), nil)
	w.rotate()
	w.awaitPhase(time.Minute, v1alpha1.PhaseRolling)
	w.check(w.RenewNow(t.Context(), w.AnchorKey()))
	w.complete(long)
	w.unharmed()
	if anchor, err := w.Anchor(t.Context()); err != nil || anchor != w.replaced() {
		t.Errorf("the issuer is not signed by the anchor that was renewed last, %.8s (%v)", anchor, err)
	}
}

// A replica's file watcher has left its loop for good. It would sign with the old
// issuer for ever; the rotation restarts it before it drops the old anchor.
func stoppedReloading(t *testing.T) {
	w := newWorld(t, small("stopped-reloading"), nil)
	w.rotate()
	w.awaitPhase(3*time.Minute, v1alpha1.PhaseSwitchIssuer)
	for _, replica := range w.Identity.Replicas() {
		w.check(w.Identity.StopReloading(replica.Number))
	}
	w.complete(long)
	w.rotated()
}
