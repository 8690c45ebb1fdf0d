package rotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// publishedStill is nil while the bundle holds what it did.
func (w *world) publishedStill(before linkerd.Anchors) error {
	published, err := w.Published(w.Context())
	if err == nil && !slices.Equal(published, before) {
		err = fmt.Errorf("the bundle has changed from %s to %s", before, published)
	}
	return err
}

// aborts are rotations that are given up, from every phase before Narrow.
func aborts() []scenario {
	out := []scenario{
		{"an abort in Rolling, InPlace, of a bundle that Reanchor writes, ends on the old anchor", func(t *T) {
			aborted(t, v1alpha1.LayoutInPlace, v1alpha1.PhaseRolling, v1alpha1.BundleWriterReanchor)
		}},
		{"an abort in DrainLeaves, Generations, of a bundle that Reanchor writes, ends on the old anchor", func(t *T) {
			aborted(t, v1alpha1.LayoutGenerations, v1alpha1.PhaseDrainLeaves, v1alpha1.BundleWriterReanchor)
		}},
	}
	for _, phase := range []v1alpha1.Phase{
		v1alpha1.PhaseRolling, v1alpha1.PhaseDrainLeaves, v1alpha1.PhaseConfirmIssuer, v1alpha1.PhaseSwitchIssuer, v1alpha1.PhaseWiden, v1alpha1.PhaseNewAnchor,
	} {
		for _, layout := range []v1alpha1.Layout{v1alpha1.LayoutGenerations, v1alpha1.LayoutInPlace} {
			name := fmt.Sprintf("an abort in %s, %s, ends on the old anchor", phase, layout)
			out = append(out, scenario{name, func(t *T) { aborted(t, layout, phase, "") }})
		}
	}
	return out
}

func aborted(t *T, layout v1alpha1.Layout, phase v1alpha1.Phase, writer v1alpha1.BundleWriter) {
	o := small(strings.ToLower(fmt.Sprintf("abort-%.4s-%s", layout, phase)))
	o.Layout, o.Writer, o.Workloads, o.Rate = layout, writer, 2, 10
	if writer != "" {
		o.Name += "-own"
	}
	if phase == v1alpha1.PhaseRolling {
		o.ReadyDelay = 8 * time.Second // long enough to be met in it
	}
	w := newWorld(t, o, nil)
	w.converged()
	issued := w.issuances()
	thaw, give := func() {}, func() {}
	switch phase {
	case v1alpha1.PhaseWiden:
		thaw = w.freeze()
	case v1alpha1.PhaseNewAnchor:
		give = w.withhold()
	}
	w.rotate()
	w.awaitPhase(4*time.Minute, phase)
	if phase == v1alpha1.PhaseNewAnchor {
		w.eventually(time.Minute, w.anchorAsked)
	}
	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Abort = true })
	w.awaitPhase(time.Minute, v1alpha1.PhaseAborting)
	give() // what was asked for comes all the same
	run := w.awaitRun(4*time.Minute, v1alpha1.ConditionFailed, string(v1alpha1.Aborted))
	if run.Status.AbortedFrom != phase {
		t.Errorf("aborted from %s, want %s", run.Status.AbortedFrom, phase)
	}
	if w.issuances() == issued {
		t.Error("no anchor was issued: the test shows nothing")
	}
	thaw()
	w.unharmed()
	w.check(w.unswitched())
	w.backOn(layout)
	// Nothing happens behind the end, no leaf was left over, and what signs from
	// then on is the old anchor.
	published, err := w.Published(t.Context())
	w.check(err)
	w.holds(o.Times.Leaf, func() error { return errors.Join(w.unswitched(), w.publishedStill(published)) })
	issuer := w.issuer()
	w.check(w.RenewNow(t.Context(), w.IssuerKey()))
	if w.issuer() == issuer {
		t.Error("the issuer was not renewed: the test shows nothing")
	}
	w.check(w.unswitched())
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
	if phase == v1alpha1.PhaseRolling {
		w.another()
	}
}

// backOn waits until an aborted run has left the bundle and the pointer as it
// should: with generations as they were, in place with the new anchor in the
// bundle, which is in its Secret, and with the copy of the old one to sign.
func (w *world) backOn(layout v1alpha1.Layout) {
	w.Helper()
	back := func() error { return w.published(w.before) }
	if layout == v1alpha1.LayoutInPlace {
		back = func() error {
			now, err := w.Anchor(w.Context())
			return errors.Join(err, w.publishedAll(w.before, now))
		}
		if have, want := w.signsNext(), w.Mesh.Mesh+"-anchor-kept"; have != want {
			w.Errorf("Secret %s would sign the next issuer, want the copy of the old anchor, %s", have, want)
		}
	}
	w.eventually(time.Minute, back)
}

// issuances is how many anchors cert-manager has issued for the mesh.
func (w *world) issuances() (issued int64) {
	w.Helper()
	anchors, err := w.anchorCertificates(w.Context())
	w.check(err)
	for i := range anchors {
		revision, _, err := unstructured.NestedInt64(anchors[i].Object, "status", "revision")
		w.check(err)
		issued += revision
	}
	return issued
}

// another is a run that follows one that was given up, and ends as it should.
func (w *world) another() {
	w.Helper()
	w.check(w.Client.Create(w.Context(), &v1alpha1.AnchorRotation{
		ObjectMeta: metav1.ObjectMeta{Name: w.Mesh.Mesh + "-again"},
		Spec:       v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: w.Mesh.Mesh}},
	}))
	ended := w.ended(w.Mesh.Mesh + "-again")
	if ended.Status.FromAnchor.Fingerprint != w.before {
		w.Errorf("the next run leads from %.8s, want %.8s", ended.Status.FromAnchor.Fingerprint, w.before)
	}
	w.unharmed()
	w.replaced()
	w.drained(w.before)
}
