package rotation

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// aborts are rotations that are given up, from every phase before Narrow.
func aborts() []scenario {
	var out []scenario
	for _, phase := range []v1alpha1.Phase{
		v1alpha1.PhaseDrainLeaves, v1alpha1.PhaseConfirmIssuer, v1alpha1.PhaseSwitchIssuer, v1alpha1.PhaseRolling, v1alpha1.PhaseWiden, "",
	} {
		for _, layout := range []v1alpha1.Layout{v1alpha1.LayoutGenerations, v1alpha1.LayoutInPlace} {
			name := fmt.Sprintf("an abort in %s, %s, ends on the old anchor", cmp.Or(phase, "its first seconds"), layout)
			out = append(out, scenario{name, func(t *testing.T) { aborted(t, layout, phase) }})
		}
	}
	return out
}

func aborted(t *testing.T, layout v1alpha1.Layout, phase v1alpha1.Phase) {
	o := small(strings.ToLower(fmt.Sprintf("abort-%.4s-%s", layout, cmp.Or(phase, "first"))))
	o.Layout, o.Workloads, o.Rate = layout, 2, 10
	if phase == v1alpha1.PhaseRolling {
		o.ReadyDelay = 8 * time.Second // long enough to be met in it
	}
	w := newWorld(t, o, nil)
	w.converged()
	thaw := func() {}
	if phase == v1alpha1.PhaseWiden {
		thaw = w.freeze()
	}
	w.rotate()
	w.awaitPhase(4*time.Minute, cmp.Or(phase, v1alpha1.PhaseNewAnchor))
	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Abort = true })
	run := w.awaitRun(4*time.Minute, v1alpha1.ConditionFailed, string(v1alpha1.Aborted))
	if phase != "" && run.Status.AbortedFrom != phase {
		t.Errorf("aborted from %s, want %s", run.Status.AbortedFrom, phase)
	}
	thaw()
	w.unharmed()
	w.check(w.unswitched())
	if layout == v1alpha1.LayoutGenerations {
		w.eventually(20*time.Second, func() error { return w.published(w.before) })
	} else if have, want := w.signsNext(), w.Mesh.Mesh+"-anchor-kept"; run.Status.ToAnchor != nil && have != want {
		t.Errorf("Secret %s would sign the next issuer, want the copy of the old anchor, %s", have, want)
	}
	// Nothing happens behind the end, and no leaf was left over.
	w.holds(o.Times.Leaf, w.unswitched)
	w.unharmed()
	w.drainedEach()
	if published, err := w.Published(t.Context()); err != nil || !published.Has(w.before) || !published.Has(w.Foreign()) {
		t.Errorf("the old anchor or the foreign one is gone from the bundle: %s (%v)", published, err)
	}
	w.runs(1)
	for _, r := range w.History.Restarted() {
		if !r.ControlPlane && r.Templates > 1 {
			t.Errorf("%s %s/%s was rolled %d times, want once at most", r.Kind, r.Namespace, r.Name, r.Templates)
		}
	}
}
