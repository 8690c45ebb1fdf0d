package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// deleted: the object goes at once, and what was begun is not left so.
func deleted(t *T) {
	o := smallGenerations("deleted")
	o.ReadyDelay = 2 * time.Second
	w := newWorld(t, o, oneByOne)
	w.rotate()
	to := w.toAnchor()
	w.halfRolled()
	run, err := w.run(t.Context())
	w.check(err)
	if !controllerutil.ContainsFinalizer(run, v1alpha1.RotationFinalizer) {
		t.Errorf("the run in force has the finalizers %v, want %s", run.Finalizers, v1alpha1.RotationFinalizer)
	}
	w.check(w.Client.Delete(t.Context(), run))
	w.eventually(time.Minute, func() error {
		next, err := w.run(t.Context())
		if err == nil && next.UID == run.UID {
			err = fmt.Errorf("the run that was deleted is there still: %s", describeRun(next))
		}
		return err
	})
	next := w.complete(long)
	w.triggered(v1alpha1.TriggerObserved)
	if next.Status.FromAnchor.Fingerprint != w.before || next.Status.ToAnchor.Fingerprint != to.Fingerprint {
		t.Errorf("the next run leads from %.8s to %.8s, want from %.8s to %.8s",
			next.Status.FromAnchor.Fingerprint, next.Status.ToAnchor.Fingerprint, w.before, to.Fingerprint)
	}
	w.rotated()
}

// queued: three runs at once. Each of the others waits until the one before has
// ended. The second keeps the generation that the first has made, since a mistake could be
// healed with it; the third deletes it.
func queued(t *T) {
	o := smallGenerations("queued")
	o.Workloads, o.Rate, o.Times.Leaf, o.Times.InjectorLags = 2, 10, 20*time.Second, []time.Duration{time.Second, 2 * time.Second}
	w := newWorld(t, o, nil)
	w.converged()
	names := w.queue(3)
	w.waitsFor(names[1], names[0])
	w.waitsFor(names[2], names[0])
	made := []string{w.AnchorKey().Name}
	var ended time.Time
	for i, name := range names {
		run := w.ended(name)
		if began := run.Status.Steps[0].StartedAt.Time; began.Before(ended) {
			t.Errorf("run %s began %s before the one before it ended", name, ended.Sub(began))
		}
		ended = apimeta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionComplete).LastTransitionTime.Time
		made = append(made, run.Status.ToAnchor.CertificateRef.Name)
		if i < 2 {
			w.check(w.certificates(made...))
		}
	}
	w.eventually(time.Minute, func() error { return w.certificates(made[0], made[2], made[3]) })
	w.unharmed()
	w.replaced()
	for _, r := range w.History.Restarted() {
		if !r.ControlPlane && (r.Templates != len(names) || r.Replaced != len(names)*r.Pods) {
			t.Errorf("%s %s/%s had %d new templates and %d of its %d pods replaced, want %d rolls", r.Kind, r.Namespace, r.Name, r.Templates, r.Replaced, r.Pods, len(names))
		}
	}
}

// queue creates so many runs, and returns their names in the order of their turns:
// that of their creation, and of their names in one second.
func (w *world) queue(runs int) []string {
	w.Helper()
	var names []string
	for i := range runs {
		run := &v1alpha1.AnchorRotation{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", w.Mesh.Mesh, i+1)},
			Spec:       v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: w.Mesh.Mesh}},
		}
		w.check(w.Client.Create(w.Context(), run))
		names = append(names, run.Name)
	}
	return names
}

// waitsFor fails unless a run says that it waits for another.
func (w *world) waitsFor(name, other string) {
	w.Helper()
	w.eventually(time.Minute, func() error {
		run, err := w.runNamed(name)
		if err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionBlocked)
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != string(v1alpha1.AnotherRotation) || !strings.Contains(c.Message, other) || len(run.Status.Steps) > 0 {
			return fmt.Errorf("want a run that waits for %s, have %s", other, describeRun(run))
		}
		return nil
	})
}

func (w *world) runNamed(name string) (*v1alpha1.AnchorRotation, error) {
	run := &v1alpha1.AnchorRotation{}
	return run, w.Client.Get(w.Context(), client.ObjectKey{Name: name}, run)
}

// ended waits until a run is complete.
func (w *world) ended(name string) *v1alpha1.AnchorRotation {
	w.Helper()
	var run *v1alpha1.AnchorRotation
	w.eventually(long, func() (err error) {
		if run, err = w.runNamed(name); err == nil && !isTrue(run, v1alpha1.ConditionComplete) {
			err = fmt.Errorf("want a run that is complete, have %s", describeRun(run))
		}
		return err
	})
	return run
}

// anchorCertificates are the first Certificate of the anchor, which the user made,
// and the generations that came later.
func (w *world) anchorCertificates(ctx context.Context) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(certManagers("CertificateList").GroupVersionKind())
	if err := w.Client.List(ctx, list, client.InNamespace(linkerd.TrustNamespace)); err != nil {
		return nil, fmt.Errorf("listing Certificates: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(u unstructured.Unstructured) bool {
		return u.GetName() != w.AnchorKey().Name && u.GetLabels()[v1alpha1.AnchorOfLabel] != w.Mesh.Mesh
	}), nil
}

// certificates is nil when the anchors' Certificates have just these names.
func (w *world) certificates(want ...string) error {
	anchors, err := w.anchorCertificates(w.Context())
	if err != nil {
		return err
	}
	var have []string
	for i := range anchors {
		have = append(have, anchors[i].GetName())
	}
	slices.Sort(have)
	want = slices.Sorted(slices.Values(want))
	if diff := cmp.Diff(want, have); diff != "" {
		return fmt.Errorf("the anchors' Certificates (-want +got):\n%s", diff)
	}
	return nil
}
