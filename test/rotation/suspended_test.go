package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/test/audit"
)

// A run is suspended in every phase, until it could well go on. It does not, and
// nothing is written but what protects the mesh: in place, the new anchor into the
// previous-anchor Secret. The rolling is the MeshTrust's and goes on, until that is
// suspended too, in mid-roll: then nothing is written at all. The API server's own
// record is asked for that. In the end the rotation has come to what any other does.
func suspendedThroughout(t *T, layout v1alpha1.Layout) {
	o := small("suspended-" + strings.ToLower(string(layout)))
	o.Layout, o.Workloads, o.Rate, o.ReadyDelay = layout, 3, 10, 3*time.Second
	o.Times.File = 20 * time.Second // ConfirmIssuer lasts for so long at least, and the run must be suspended in it
	w := newWorld(t, o, func(mt *v1alpha1.MeshTrust) {
		oneByOne(mt)
		mt.Spec.Rotation.ExternalTrust = true
	})
	w.converged()
	w.eventually(time.Minute, func() error { return w.sheltered(1) })
	w.reconfigure(func(s *v1alpha1.MeshTrustSpec) { s.Rollout.Paused = true })
	halts := w.halts()
	w.rotate()
	want := []v1alpha1.Phase{}
	for _, h := range halts {
		w.halted(h)
		want = append(want, h.phase)
	}
	run := w.complete(long)
	if diff := cmp.Diff(append(want, v1alpha1.PhaseComplete), phases(run)); diff != "" {
		t.Errorf("the phases in which it was suspended, and those that there were (-want +got):\n%s", diff)
	}
	w.rotated()
}

// halt is a phase that lasts until it is freed, and in which a run is suspended.
type halt struct {
	phase v1alpha1.Phase
	// waits returns when the run has done in the phase what it does before it waits;
	// nil when that is nothing.
	waits func()
	// free takes away what the run waits for. When it returns, the run could go on.
	free func()
	// writes are those that are made meanwhile.
	writes []string
}

// halts has every phase last that would not by itself for long enough, and returns
// them in their order.
func (w *world) halts() []halt {
	w.Helper()
	thaw, give := w.freeze(), w.withhold()
	back := w.unsource()
	issued := w.issuances()
	stuck := func(phase v1alpha1.Phase, reason v1alpha1.Reason) func() { return func() { w.stuck(phase, reason) } }
	var unknown *corev1.Pod
	return []halt{
		{phase: v1alpha1.PhasePreflight, waits: stuck(v1alpha1.PhasePreflight, v1alpha1.BundleNotOurs), free: back},
		{phase: v1alpha1.PhaseNewAnchor, waits: func() { w.eventually(time.Minute, w.anchorAsked) }, writes: w.protects(), free: func() {
			give()
			w.eventually(2*time.Minute, func() error { return w.issuedSince(issued) })
			w.eventually(time.Minute, w.protected)
		}},
		{phase: v1alpha1.PhaseWiden, waits: func() { w.eventually(time.Minute, w.offered) }, free: func() {
			thaw()
			w.eventually(time.Minute, w.widened)
		}},
		{phase: v1alpha1.PhaseRolling, writes: w.rolls(), free: func() {
			w.reconfigure(func(s *v1alpha1.MeshTrustSpec) { s.Rollout.Paused = false })
			w.halfRolled()
			w.standstill()
			w.eventually(long, w.allRolled)
		}},
		{phase: v1alpha1.PhaseSwitchIssuer, waits: stuck(v1alpha1.PhaseSwitchIssuer, v1alpha1.ApprovalRequired), free: func() {
			w.approve(v1alpha1.GateSwitchIssuer)
			w.awaitTrust(long, v1alpha1.ConditionSafeToSwitchIssuer, metav1.ConditionTrue, v1alpha1.EveryPodTrusts)
		}},
		{phase: v1alpha1.PhaseConfirmIssuer, waits: func() { w.eventually(time.Minute, func() error { return w.sheltered(2) }) }, free: func() {
			spec := w.trust.Spec
			w.past(func(s *v1alpha1.AnchorRotationStatus) *metav1.Time { return s.IssuerSwitchedAt },
				spec.Bundle.Propagation.File.Duration+spec.Admission.ClockSkew.Duration)
		}},
		{phase: v1alpha1.PhaseDrainLeaves, free: func() {
			// A leaf's life, what identity adds to it, and what clocks may differ by, twice.
			w.past(func(s *v1alpha1.AnchorRotationStatus) *metav1.Time { return s.IssuerInUseAt }, 20*time.Second+time.Second+2*time.Second)
		}},
		{phase: v1alpha1.PhaseNarrow, waits: stuck(v1alpha1.PhaseNarrow, v1alpha1.ApprovalRequired), free: func() {
			unknown = w.unknown()
			w.approve(v1alpha1.GateNarrow)
		}},
		{phase: v1alpha1.PhaseVerify, waits: stuck(v1alpha1.PhaseVerify, ""), free: func() {
			w.check(w.Client.Delete(w.Context(), unknown)) // at once, for it is on no node
		}},
	}
}

// halted suspends the run in a phase and frees it. It fails unless the run stays
// where it is and just the writes are made that are allowed, and has the run go on.
func (w *world) halted(h halt) {
	w.Helper()
	w.awaitPhase(long, h.phase)
	if h.waits != nil {
		h.waits()
	}
	r := w.record(string(h.phase))
	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Suspend = true })
	asked := time.Now()
	w.eventually(time.Minute, w.saysSuspended)
	said := time.Now()
	h.free()
	r.looked()
	r.judge(asked, said, h.writes)
	run, err := w.run(w.Context())
	w.check(err)
	if inPhase(run) != h.phase {
		w.Errorf("suspended in %s, the run went on to %s", h.phase, inPhase(run))
	}
	w.check(w.noneFailed())
	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Suspend = false })
}

// standstill suspends the MeshTrust in mid-roll until the next workload is long due,
// and fails if anything is written.
func (w *world) standstill() {
	w.Helper()
	r := w.record("mid-roll, all of the mesh")
	w.suspend(true)
	asked := time.Now()
	w.awaitTrust(time.Minute, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.Suspended)
	said := time.Now()
	w.eventually(time.Minute, w.atRest)
	r.looked()
	r.judge(asked, said, nil)
	if w.allRolled() == nil {
		w.Error("every workload is rolled: the test shows nothing")
	}
	w.suspend(false)
}

// saysSuspended is nil when the run does, and that of its spec as it is.
func (w *world) saysSuspended() error {
	run, err := w.run(w.Context())
	if err != nil {
		return err
	}
	c := apimeta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionBlocked)
	if run.Status.ObservedGeneration != run.Generation || c == nil || c.Reason != string(v1alpha1.Suspended) {
		return fmt.Errorf("want a run that says that it is suspended; %s", describeRun(run))
	}
	return nil
}

// protects are the writes for the mesh's safety that follow when an anchor is
// issued. In place trust-manager brings it at once, and must never drop it again,
// or what came before it. A generation is in no bundle yet.
func (w *world) protects() []string {
	if w.trust.Spec.Rotation.Layout == v1alpha1.LayoutGenerations {
		return nil
	}
	return []string{"patch secrets " + w.PreviousKey().String()}
}

// protected is nil when those writes have been made.
func (w *world) protected() error {
	if w.protects() == nil {
		return nil
	}
	var previous corev1.Secret
	if err := w.Client.Get(w.Context(), w.PreviousKey(), &previous); err != nil {
		return err
	}
	if n := strings.Count(string(previous.Data[corev1.TLSCertKey]), "BEGIN CERTIFICATE"); n < 2 {
		return fmt.Errorf("the previous-anchor Secret holds %d certificates, want the old anchor and the new one", n)
	}
	return nil
}

// rolls are the writes that roll every workload.
func (w *world) rolls() []string {
	var out []string
	for _, x := range w.Workloads() {
		out = append(out, "patch "+strings.ToLower(x.Kind)+"s "+x.Namespace+"/"+x.Name)
	}
	slices.Sort(out)
	return out
}

// issuedSince is nil when an anchor was issued besides those that were, and none
// is being issued.
func (w *world) issuedSince(before int64) error {
	if w.issuances() == before || w.anchorAsked() == nil {
		return fmt.Errorf("the next anchor is not issued yet")
	}
	return nil
}

// offered is nil when every anchor is where the bundle is made from: a generation
// by its label; in place they are all the same.
func (w *world) offered() error {
	anchors, err := w.anchorCertificates(w.Context())
	if err != nil || w.trust.Spec.Rotation.Layout != v1alpha1.LayoutGenerations {
		return err
	}
	for i := range anchors {
		labels, _, err := unstructured.NestedStringMap(anchors[i].Object, "spec", "secretTemplate", "labels")
		if err != nil || labels[v1alpha1.AnchorOfLabel] != w.Mesh.Mesh {
			return fmt.Errorf("the Secret of %s is not to be labelled yet (%v)", anchors[i].GetName(), err)
		}
	}
	return nil
}

// sheltered is nil when so many anchors that signed something have their second
// source, and the first does not renew itself: with generations Reanchor sees to that
// with a run or without. In place it has nothing to do.
func (w *world) sheltered(anchors int) error {
	if w.trust.Spec.Rotation.Layout != v1alpha1.LayoutGenerations {
		return nil
	}
	first := linkerd.Certificate()
	if err := w.Client.Get(w.Context(), w.AnchorKey(), first); err != nil {
		return err
	}
	var carrier corev1.Secret
	if err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: w.Mesh.Mesh + "-anchor-carried"}, &carrier); err != nil {
		return err
	}
	policy, _, err := unstructured.NestedString(first.Object, "spec", "renewal", "policy")
	if n := strings.Count(string(carrier.Data[corev1.TLSCertKey]), "BEGIN CERTIFICATE"); err != nil || policy != "Disabled" || n < anchors {
		return fmt.Errorf("%d anchors are carried, want %d; the first has the renewal policy %q, want Disabled (%v)", n, anchors, policy, err)
	}
	return nil
}

// widened is nil when the bundle holds another own anchor besides the old one.
func (w *world) widened() error {
	published, err := w.Published(w.Context())
	if err == nil && (len(published) < 3 || !published.Has(w.before) || !published.Has(w.Foreign())) {
		err = fmt.Errorf("want the old anchor, a new one and the foreign one in the bundle, have %s", published)
	}
	return err
}

func (w *world) allRolled() error {
	if done, all := w.rolled(); done < all {
		return fmt.Errorf("%d of %d workloads are rolled", done, all)
	}
	return nil
}

// atRest is nil when no workload is being rolled: the next one is due.
func (w *world) atRest() error {
	for _, x := range w.Workloads() {
		var d appsv1.Deployment
		if err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: x.Namespace, Name: x.Name}, &d); err != nil {
			return err
		}
		s, n := d.Status, int32(x.Pods)
		if s.ObservedGeneration != d.Generation || s.Replicas != n || s.UpdatedReplicas != n || s.ReadyReplicas != n {
			return fmt.Errorf("Deployment %s/%s is being rolled: %+v", x.Namespace, x.Name, s)
		}
	}
	return nil
}

// past waits until so long after a time of the run's status, in which the API cuts
// it to the second.
func (w *world) past(since func(*v1alpha1.AnchorRotationStatus) *metav1.Time, delay time.Duration) {
	w.Helper()
	run, err := w.run(w.Context())
	w.check(err)
	at := since(&run.Status)
	if at == nil {
		w.Fatalf("the time is not on record: %s", describeRun(run))
	}
	w.eventually(2*time.Minute, func() error {
		if left := time.Until(at.Add(delay + time.Second)); left > 0 {
			return fmt.Errorf("it is over in %s", left)
		}
		return nil
	})
}

// unknown creates a meshed pod of which nobody can tell what it will trust. No node
// will have it.
func (w *world) unknown() *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace(0), Name: "unknown", Labels: map[string]string{linkerd.ControlPlaneLabel: w.Mesh.Mesh}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"no-node": "has-this"}, Containers: []corev1.Container{{Name: "linkerd-proxy", Image: "proxy"}},
		},
	}
	w.check(w.Client.Create(w.Context(), pod))
	return pod
}

// record is what the controller has asked of the API server about the mesh since
// the record was begun.
type record struct {
	*world
	in       string
	tail     *audit.Tail
	requests []audit.Request
}

func (w *world) record(in string) *record {
	w.Helper()
	tail, err := w.cluster.audit.Tail()
	w.check(err)
	return &record{world: w, in: in, tail: tail}
}

func (r *record) read() {
	r.Helper()
	more, err := r.tail.Read()
	r.check(err)
	r.requests = append(r.requests, slices.DeleteFunc(more, func(x audit.Request) bool { return !r.ours(x) })...)
}

// looked waits until the controller has looked at the mesh's certificates twice from
// now on. A look may read everything twice, at once; what it writes it has written
// when the next begins, a second later at least.
func (r *record) looked() {
	r.Helper()
	since := time.Now()
	r.eventually(time.Minute, func() error {
		r.read()
		var first time.Time
		for _, x := range r.requests {
			switch {
			case x.String() != "get clusterissuers "+r.ClusterIssuer || x.At.Before(since):
			case first.IsZero():
				first = x.At
			case x.At.Sub(first) >= time.Second:
				return nil
			}
		}
		return fmt.Errorf("the controller has not looked at the mesh twice")
	})
}

// judge fails unless the controller has written just what is wanted since it said
// that it is suspended. Before each write it asks whether it is: so of those that
// were decided before, one at most comes after it was told.
func (r *record) judge(told, said time.Time, want []string) {
	r.Helper()
	r.read()
	if under := r.writes(told, said); len(under) > 1 {
		r.Errorf("when it was suspended in %s, there were the writes %q, want one at most, that was under way", r.in, under)
	}
	if diff := cmp.Diff(want, slices.Compact(r.writes(said, time.Now()))); diff != "" {
		r.Errorf("while it was suspended in %s, there were the writes (-want +got):\n%s", r.in, diff)
	}
}

// writes are those of a time to objects of the mesh, its statuses left out, sorted.
func (r *record) writes(from, to time.Time) []string {
	var out []string
	for _, x := range r.requests {
		if x.Writes() && !x.At.Before(from) && x.At.Before(to) {
			out = append(out, x.String())
		}
	}
	slices.Sort(out)
	return out
}

// ours tells whether a request is about the mesh, and not what Reanchor says of it.
func (r *record) ours(x audit.Request) bool {
	switch x.Resource {
	case "events", "meshtrusts/status", "anchorrotations/status":
		return false
	}
	return strings.Contains(x.Name, r.Mesh.Mesh) || slices.Contains(r.namespaces(), x.Namespace)
}
