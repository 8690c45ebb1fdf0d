package anchorrotation

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// tidy keeps the finalizers as they must be, and says to the runs that wait
// what they wait for. The run in force has a finalizer from its first step on;
// one that has ended, or never began, holds nothing.
func (r *Reconciler) tidy(ctx context.Context, w *world) error {
	for i := range w.runs {
		run := &w.runs[i]
		switch {
		case run == w.run:
			if err := r.claim(ctx, run); err != nil {
				return err
			}
		case outcomeOf(run) != "" || !run.DeletionTimestamp.IsZero():
			if err := r.release(ctx, run); err != nil {
				return err
			}
		default:
			if err := r.letWait(ctx, run, "waiting for AnchorRotation "+w.run.Name+" of the same mesh to end"); err != nil {
				return err
			}
		}
	}
	return nil
}

// claim adds the finalizer and, where nobody did, the label that says what
// opened the run.
func (r *Reconciler) claim(ctx context.Context, run *v1alpha1.AnchorRotation) error {
	if !run.DeletionTimestamp.IsZero() {
		return nil
	}
	before := run.DeepCopy()
	controllerutil.AddFinalizer(run, v1alpha1.RotationFinalizer)
	if run.Labels[v1alpha1.TriggerLabel] == "" {
		if run.Labels == nil {
			run.Labels = map[string]string{}
		}
		run.Labels[v1alpha1.TriggerLabel] = string(v1alpha1.TriggerManual)
	}
	return r.patch(ctx, before, run)
}

func (r *Reconciler) release(ctx context.Context, run *v1alpha1.AnchorRotation) error {
	before := run.DeepCopy()
	controllerutil.RemoveFinalizer(run, v1alpha1.RotationFinalizer)
	return r.patch(ctx, before, run)
}

// patch writes the metadata of a run that must be as it was read.
func (r *Reconciler) patch(ctx context.Context, before, after *v1alpha1.AnchorRotation) error {
	if equality.Semantic.DeepEqual(before.ObjectMeta, after.ObjectMeta) {
		return nil
	}
	err := r.Client.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the metadata of AnchorRotation %s: %w", before.Name, err)
	}
	return nil
}

// letWait tells a run that does nothing so far why.
func (r *Reconciler) letWait(ctx context.Context, run *v1alpha1.AnchorRotation, message string) error {
	before := run.DeepCopy()
	state := lifecycle.State{Phase: v1alpha1.PhasePreflight}
	d := lifecycle.Decision{State: state, Reason: v1alpha1.AnotherRotation, Message: message, Blocked: true}
	render(run, d, r.Clock.Now())
	if equality.Semantic.DeepEqual(before.Status, run.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, run); err != nil {
		return fmt.Errorf("writing the status of AnchorRotation %s: %w", run.Name, err)
	}
	return nil
}

// orphaned lets the runs go of a MeshTrust that is gone or has no spec.rotation.
func (r *Reconciler) orphaned(ctx context.Context, w *world, mesh string) error {
	r.Reporter.forget(mesh)
	for i := range w.runs {
		run := &w.runs[i]
		var err error
		if !run.DeletionTimestamp.IsZero() || outcomeOf(run) != "" {
			err = r.release(ctx, run)
		} else {
			err = r.letWait(ctx, run, "there is no MeshTrust "+mesh+" with a spec.rotation; create it, or delete this AnchorRotation")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
