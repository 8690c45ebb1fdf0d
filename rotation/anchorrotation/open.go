package anchorrotation

import (
	"context"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/lifecycle"
	"github.com/reanchor/reanchor/rotation/record"
)

// open creates a run when one is called for, and deletes those that are too
// many. It reports whether it created one.
func (r *Reconciler) open(ctx context.Context, w *world) (bool, error) {
	opening, err := openingOf(w)
	if err != nil {
		r.Reporter.misscheduled(w.mt, err)
	}
	decided := lifecycle.Open(opening, r.Clock.Now())
	w.openAgain = decided.Again
	for _, name := range decided.Delete {
		run := &v1alpha1.AnchorRotation{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := r.Client.Delete(ctx, run); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("deleting the ended AnchorRotation %s: %w", name, err)
		}
	}
	if decided.Name == "" {
		return false, nil
	}
	run := newRun(w.mt, decided)
	if err := r.Client.Create(ctx, run); err != nil && !apierrors.IsAlreadyExists(err) {
		return false, fmt.Errorf("creating AnchorRotation %s: %w", run.Name, err)
	}
	r.Reporter.opened(w.mt, run, decided.Message)
	return true, nil
}

// openingOf puts together what is decided on. A schedule that cannot be read is
// an error beside an opening without one: the other causes still count.
func openingOf(w *world) (lifecycle.Opening, error) {
	ro := w.spec.Rotation
	o := lifecycle.Opening{Facts: w.facts, HistoryLimit: int(*ro.HistoryLimit), LastSchedule: lastSchedule(w.mt)}
	for i := range w.runs {
		o.Runs = append(o.Runs, lifecycle.RunSummary{Name: w.runs[i].Name, Outcome: outcomeOf(&w.runs[i]), EndedAt: endedAt(&w.runs[i])})
	}
	if ro.RotateBefore != nil {
		o.RotateBefore = ro.RotateBefore.Duration
	}
	var err error
	if ro.Schedule != "" {
		var s cron.Schedule
		if s, err = lifecycle.ParseSchedule(ro.Schedule); err == nil {
			o.Schedule = s
		}
	}
	return o, err
}

// lastSchedule is the last time of the schedule that is known to have started a
// run. Times before the MeshTrust was created start none.
func lastSchedule(mt *v1alpha1.MeshTrust) time.Time {
	if at := mt.Status.LastScheduleTime; at != nil {
		return at.Time
	}
	return mt.CreationTimestamp.Time
}

// noteSchedule stores the last time of the schedule that started a run, as the
// runs show. So the run comes first and its note second: a crash between the two
// loses no run, and the run, which bears the time in its name, is there to be
// noted until open deletes it.
func (r *Reconciler) noteSchedule(ctx context.Context, w *world) error {
	noted, now := lastSchedule(w.mt), r.Clock.Now()
	last := noted
	for i := range w.runs {
		// A name of the future is somebody's choice, and would end the schedule.
		if at, ok := lifecycle.ScheduledAt(w.mt.Name, w.runs[i].Name); ok && at.After(last) && !at.After(now) {
			last = at
		}
	}
	if last.Equal(noted) || w.spec.Suspend {
		return nil
	}
	next := w.mt.DeepCopy()
	next.Status.LastScheduleTime = timeRef(last)
	if err := record.PatchStatus(ctx, r.Client, next, w.mt); err != nil {
		return fmt.Errorf("storing the schedule's time in MeshTrust %s: %w", w.mt.Name, err)
	}
	w.mt = next
	return nil
}

// markOwn notes in the MeshTrust's status which anchors are the mesh's own. That
// status is another controller's, which keeps what is marked.
func (r *Reconciler) markOwn(ctx context.Context, w *world) error {
	own := lifecycle.OwnAnchors(&w.facts)
	next, changed := w.mt.DeepCopy(), false
	for i := range next.Status.Bundle.Anchors {
		a := &next.Status.Bundle.Anchors[i]
		if f, err := bundle.ParseFingerprint(a.Fingerprint); err == nil && !a.Own && own.Contains(f) {
			a.Own, changed = true, true
		}
	}
	if !changed || w.spec.Suspend {
		return nil
	}
	if err := record.PatchStatus(ctx, r.Client, next, w.mt); err != nil {
		return fmt.Errorf("marking the own anchors in MeshTrust %s: %w", w.mt.Name, err)
	}
	w.mt = next
	return nil
}

// newRun is owned by the MeshTrust: without that it means nothing.
func newRun(mt *v1alpha1.MeshTrust, o lifecycle.Opened) *v1alpha1.AnchorRotation {
	return &v1alpha1.AnchorRotation{
		ObjectMeta: metav1.ObjectMeta{
			Name: o.Name, Labels: map[string]string{v1alpha1.TriggerLabel: string(o.Trigger)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "MeshTrust", Name: mt.Name, UID: mt.UID,
			}},
		},
		Spec: v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: mt.Name}},
	}
}
