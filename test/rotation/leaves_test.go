package rotation

import (
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Leaves live half an hour. Nobody waits for them: the pods are replaced once
// more, after the switch.
func leavesRestart(t *T) {
	o := smallGenerations("leaves")
	o.Times.Leaf, o.Times.Anchor, o.Times.Issuer, o.Times.IssuerRenewBefore = 30*time.Minute, 24*time.Hour, 6*time.Hour, time.Hour
	w := newWorld(t, o, func(mt *v1alpha1.MeshTrust) { mt.Spec.Rotation.Leaves = v1alpha1.LeavesRestart })
	w.rotate()
	w.complete(long)
	w.unharmed()
	for _, r := range w.History.Restarted() {
		if !r.ControlPlane && (r.Templates != 2 || r.Replaced != 2*r.Pods) {
			t.Errorf("%s %s/%s had %d new templates and %d pods replaced of %d, want two rolls", r.Kind, r.Namespace, r.Name, r.Templates, r.Replaced, r.Pods)
		}
	}
	w.replaced()
	w.drained(w.before)
	w.check(w.gone(w.issuerBefore()))
}

// issuerBefore is the issuer that the run has replaced.
func (w *world) issuerBefore() string {
	w.Helper()
	run, err := w.run(w.Context())
	w.check(err)
	if run.Status.IssuerBefore == nil || run.Status.IssuerBefore.Fingerprint == "" {
		w.Fatal("the run does not say which issuer there was before")
	}
	return run.Status.IssuerBefore.Fingerprint
}
