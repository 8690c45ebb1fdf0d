package rotation

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// triggered fails unless the mesh has had just one run, of that trigger.
func (w *world) triggered(by v1alpha1.Trigger) {
	w.Helper()
	var list v1alpha1.AnchorRotationList
	w.check(w.Client.List(w.Context(), &list))
	n := 0
	for i := range list.Items {
		if r := &list.Items[i]; r.Spec.MeshTrustRef.Name == w.Mesh.Mesh {
			n++
			if got := r.Labels[v1alpha1.TriggerLabel]; got != string(by) {
				w.Errorf("run %s was opened by %q, want %q", r.Name, got, by)
			}
		}
	}
	if n != 1 {
		w.Errorf("there are %d runs, want one", n)
	}
}

// converged waits until Reanchor knows the mesh and has nothing to do.
func (w *world) converged() {
	w.Helper()
	w.awaitTrust(time.Minute, v1alpha1.ConditionReady, "True", v1alpha1.Converged)
}

// Somebody renews the anchor as cmctl does, in the middle of the day, and does
// nothing more.
func observed(t *T) { observedIn(t, small("observed")) }

// With generations nobody is meant to renew one. Its anchor stays in the bundle
// all the same, and the rotation leads to the next.
func observedGeneration(t *T) {
	observedIn(t, smallGenerations("observed-gen"))
}

// The anchor is replaced without carry-over before Reanchor comes: the bundle holds
// the new one alone, every running pod trusts the old one alone, and nobody has its
// certificate any more but cert-manager's record of who signed the issuer. It is
// put back before anything else.
func replacedBefore(t *T) {
	w := newMesh(t, smallGenerations("replaced-before"))
	w.check(w.RenewNow(t.Context(), w.AnchorKey()))
	next, err := w.Anchor(t.Context())
	w.check(err)
	w.eventually(time.Minute, func() error { return w.published(next) })
	w.entrust()
	w.eventually(time.Minute, func() error { return w.published(w.before, next) })
	w.complete(long)
	w.triggered(v1alpha1.TriggerObserved)
	w.unharmed()
	w.rolledOnce()
	w.replaced()
	w.drained(w.before)
}

// carried is nil when the anchor in use has its second source.
func (w *world) carried() error {
	key := client.ObjectKey{Namespace: w.AnchorKey().Namespace, Name: w.Mesh.Mesh + "-anchor-carried"}
	return w.Client.Get(w.Context(), key, &corev1.Secret{})
}

func observedIn(t *T, o linkerd.Options) {
	w := newWorld(t, o, nil)
	w.converged()
	if o.Layout == v1alpha1.LayoutGenerations {
		w.eventually(time.Minute, w.carried)
	}
	w.check(w.RenewNow(t.Context(), w.AnchorKey()))
	w.complete(long)
	w.triggered(v1alpha1.TriggerObserved)
	w.rotated()
	w.drainedEach()
	if anchor, err := w.Anchor(t.Context()); err != nil || anchor != w.replaced() {
		t.Errorf("the issuer is not signed by the anchor that was renewed, %.8s (%v)", anchor, err)
	}
}

// One run is kept: when that of the schedule has ended, the one before it, which
// was given up before it had begun, is deleted.
func scheduled(t *T) {
	var at time.Time
	w := newWorld(t, smallGenerations("scheduled"), func(mt *v1alpha1.MeshTrust) {
		at = time.Now().UTC().Truncate(time.Minute).Add(2 * time.Minute)
		mt.Spec.Rotation.Schedule = fmt.Sprintf("%d %d * * *", at.Minute(), at.Hour())
		mt.Spec.Rotation.HistoryLimit = new(int32(1))
	})
	w.check(w.Client.Create(t.Context(), &v1alpha1.AnchorRotation{
		ObjectMeta: metav1.ObjectMeta{Name: w.Mesh.Mesh + "-before"},
		Spec:       v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: w.Mesh.Mesh}, Abort: true},
	}))
	before := w.awaitRun(time.Minute, v1alpha1.ConditionFailed, string(v1alpha1.Aborted))
	run := w.complete(long)
	w.eventually(time.Minute, func() error { return w.deletedRun(before) })
	w.triggered(v1alpha1.TriggerSchedule)
	if late := run.CreationTimestamp.Sub(at); late < 0 || late > time.Minute {
		t.Errorf("the run was created %s after its time", late)
	}
	w.rotated()
}

// Two times of the schedule pass while the MeshTrust is suspended, and nothing is
// opened. When it is not any more, they start one run together, that of the latter.
// It is given up, ends and is deleted: neither time starts another.
func missed(t *T) {
	o := smallGenerations("missed")
	o.Workloads, o.Rate = 2, 10
	var first, last time.Time
	w := newWorld(t, o, func(mt *v1alpha1.MeshTrust) {
		first = time.Now().UTC().Add(30 * time.Second).Truncate(time.Minute).Add(time.Minute)
		last = first.Add(time.Minute)
		mt.Spec.Suspend = true
		mt.Spec.Rotation.Schedule = fmt.Sprintf("%d,%d * * * *", first.Minute(), last.Minute())
	})
	if created := w.trust.CreationTimestamp; !created.Before(&metav1.Time{Time: first}) {
		t.Fatalf("the MeshTrust was created at %s, when the first time had passed: the test shows nothing", created)
	}
	w.eventually(3*time.Minute, func() error {
		if left := time.Until(last.Add(5 * time.Second)); left > 0 {
			return fmt.Errorf("the last time of the schedule has passed in %s", left)
		}
		return nil
	})
	w.runs(0)
	w.suspend(false)
	var run *v1alpha1.AnchorRotation
	w.eventually(time.Minute, func() (err error) {
		run, err = w.run(t.Context())
		return err
	})
	w.triggered(v1alpha1.TriggerSchedule)
	if want := fmt.Sprintf("%s-%d", w.Mesh.Mesh, last.Unix()); run.Name != want {
		t.Errorf("the run that was opened is %s, want that of the last time, %s", run.Name, want)
	}
	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Abort = true })
	w.awaitRun(4*time.Minute, v1alpha1.ConditionFailed, string(v1alpha1.Aborted))
	w.reconfigure(func(s *v1alpha1.MeshTrustSpec) { s.Rotation.HistoryLimit = new(int32(0)) })
	w.eventually(time.Minute, func() error { return w.deletedRun(run) })
	w.holds(10*time.Second, func() error {
		if again, err := w.run(t.Context()); err == nil {
			return fmt.Errorf("another was opened: %s", describeRun(again))
		}
		return nil
	})
	w.runs(0)
	var mt v1alpha1.MeshTrust
	w.check(w.Client.Get(t.Context(), client.ObjectKeyFromObject(w.trust), &mt))
	if at := mt.Status.LastScheduleTime; at == nil || !at.Time.Equal(last) {
		t.Errorf("the last time that started a run is noted as %s, want %s", at, last)
	}
	w.eventually(time.Minute, func() error { return w.published(w.before) })
	w.unharmed()
}

// deletedRun is nil when there is no such run any more.
func (w *world) deletedRun(run *v1alpha1.AnchorRotation) error {
	err := w.Client.Get(w.Context(), client.ObjectKeyFromObject(run), &v1alpha1.AnchorRotation{})
	if err == nil {
		err = fmt.Errorf("run %s is there still", run.Name)
	}
	return client.IgnoreNotFound(err)
}

// The anchor has an hour to live and is due a moment from now; the next will not
// be for long.
func due(t *T) {
	o := smallGenerations("due")
	o.Times.Anchor = time.Hour
	w := newMesh(t, o)
	w.trust.Spec.Rotation.AnchorTemplate.Duration.Duration = 24 * time.Hour
	soon := time.Until(w.anchorEnd()) - 20*time.Second
	w.trust.Spec.Rotation.RotateBefore = duration(soon.Truncate(time.Second))
	w.entrust()
	w.holds(10*time.Second, func() error {
		if _, err := w.run(t.Context()); err == nil {
			return fmt.Errorf("a run was opened before its time")
		}
		return nil
	})
	w.complete(long)
	w.triggered(v1alpha1.TriggerDue)
	w.rotated()
}
