package anchorrotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/record"
)

// tidy keeps the finalizers as they must be, and says to the runs that wait
// what they wait for. The run in force has a finalizer from its first step on;
// one that has ended, or never began, holds nothing, unless it is a witness: where
// such a one cannot be written to, the run in force goes on all the same.
func (r *Reconciler) tidy(ctx context.Context, w *world) error {
	var failed error
	for i := range w.runs {
		run := &w.runs[i]
		err := r.tidyRun(ctx, w, run)
		switch {
		case err == nil:
		case run == w.run || w.run == nil:
			failed = errors.Join(failed, err)
		case !apierrors.IsConflict(err): // after one it is looked at again anyhow
			log.FromContext(ctx).Error(err, "a run that is not in force cannot be put in order", "anchorRotation", run.Name)
		}
	}
	return failed
}

func (r *Reconciler) tidyRun(ctx context.Context, w *world, run *v1alpha1.AnchorRotation) error {
	ended := outcomeOf(run) != ""
	switch {
	case run == w.run && w.spec.Suspend, ended && witness(w.mt, run):
		return nil
	case run == w.run:
		return r.claim(ctx, run)
	case ended || !run.DeletionTimestamp.IsZero():
		return r.release(ctx, run)
	default:
		return r.say(ctx, run, v1alpha1.AnotherRotation, "waiting for AnchorRotation "+w.run.Name+" of the same mesh to end")
	}
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

// say tells a run that nothing can be decided on why. What it has stored stays.
func (r *Reconciler) say(ctx context.Context, run *v1alpha1.AnchorRotation, reason v1alpha1.Reason, message string) error {
	before := run.DeepCopy()
	run.Status.ObservedGeneration = run.Generation
	phase := v1alpha1.PhasePreflight
	if n := len(run.Status.Steps); n > 0 {
		phase = run.Status.Steps[n-1].Phase
	}
	now := r.Clock.Now()
	setCondition(run, condition(v1alpha1.ConditionProgressing, true, string(phase), message), now)
	setCondition(run, condition(v1alpha1.ConditionBlocked, true, string(reason), message), now)
	if equality.Semantic.DeepEqual(before.Status, run.Status) {
		return nil
	}
	if err := record.UpdateStatus(ctx, r.Client, run); err != nil {
		return fmt.Errorf("writing the status of AnchorRotation %s: %w", run.Name, err)
	}
	r.Reporter.changed(before, run)
	return nil
}

// refuse tells the run of a MeshTrust that is left alone why.
func (r *Reconciler) refuse(ctx context.Context, w *world) (reconcile.Result, error) {
	if w.run != nil {
		if err := r.say(ctx, w.run, v1alpha1.InvalidSpec, w.refused); err != nil {
			return again(err)
		}
		r.Reporter.waits(w.mt.Name, w.run, v1alpha1.InvalidSpec)
	}
	return reconcile.Result{RequeueAfter: restEvery}, nil
}

// await waits for what a decision needs, and says so to the run when that takes
// long.
func (r *Reconciler) await(ctx context.Context, w *world) (reconcile.Result, error) {
	if r.pacer.waited(w.mt.Name, r.Clock.Now()) >= patience && w.run != nil {
		if err := r.say(ctx, w.run, v1alpha1.NotObserved, w.pending); err != nil {
			return again(err)
		}
		r.Reporter.waits(w.mt.Name, w.run, v1alpha1.NotObserved)
	}
	return reconcile.Result{RequeueAfter: soon}, nil
}

// forbidden says which rights the controller lacks to look at a mesh's
// certificates: on its run or, without one, on the MeshTrust.
func (r *Reconciler) forbidden(ctx context.Context, w *world, cause error) (reconcile.Result, error) {
	message, err := r.missing(ctx, w.mt)
	if err != nil {
		return reconcile.Result{}, err
	}
	message = cmp.Or(message, cause.Error())
	if w.run == nil {
		r.Reporter.forbidden(w.mt, message)
		return reconcile.Result{RequeueAfter: restEvery}, nil
	}
	if err := r.say(ctx, w.run, v1alpha1.PermissionMissing, message); err != nil {
		return again(err)
	}
	r.Reporter.waits(w.mt.Name, w.run, v1alpha1.PermissionMissing)
	return reconcile.Result{RequeueAfter: lookEvery}, nil
}

// missing says which rights the controller lacks for a rotation; "" for none. A
// status has no room for the YAML that grants them: it is logged, once.
func (r *Reconciler) missing(ctx context.Context, mt *v1alpha1.MeshTrust) (string, error) {
	missing, known := r.lacking.get(mt.Name, r.Clock.Now())
	if !known {
		var err error
		if missing, err = r.Store.Missing(ctx, mt); err != nil {
			return "", fmt.Errorf("asking for the rights that a rotation needs: %w", err)
		}
	}
	if !known && missing.Advice != "" {
		r.lacking.set(mt.Name, missing, r.Clock.Now())
	}
	if r.Reporter.lacks(mt.Name, missing.YAML) {
		log.FromContext(ctx).Info("rights are missing for a rotation", "meshTrust", mt.Name, "rights", missing.YAML)
	}
	return missing.Advice, nil
}

// leftMidway says what becomes of a run that nobody can lead on. Nothing is let
// go by itself: in place the ClusterIssuer may sign with the new anchor already,
// and which pods trust that is not known without the MeshTrust.
const leftMidway = "; what it holds back stays held back, and an issuer that does not renew itself expires: " +
	"restore the MeshTrust; or, once every pod trusts the anchor in the Secret that the ClusterIssuer names, which signs next, " +
	"remove spec.renewal.policy from the Certificates of anchor and issuer"

// orphaned lets the runs go of a MeshTrust that is gone or has no spec.rotation.
func (r *Reconciler) orphaned(ctx context.Context, w *world, mesh string) error {
	r.pacer.forget(mesh)
	r.lacking.forget(mesh)
	why := "there is no MeshTrust " + mesh + " with a spec.rotation; create it, or delete this AnchorRotation"
	if run := oldestActive(w.runs); run != nil && run.DeletionTimestamp.IsZero() {
		r.Reporter.waits(mesh, run, v1alpha1.InvalidSpec)
	} else {
		r.Reporter.forget(mesh)
	}
	for i := range w.runs {
		if err := r.orphan(ctx, &w.runs[i], why); err != nil {
			return err
		}
	}
	return nil
}

// orphan lets one run go, or says why it waits.
func (r *Reconciler) orphan(ctx context.Context, run *v1alpha1.AnchorRotation, why string) error {
	ended, deleted := outcomeOf(run) != "", !run.DeletionTimestamp.IsZero()
	if !ended && run.Status.FromAnchor != nil {
		why += leftMidway
		if deleted {
			r.Reporter.abandoned(run, why)
		}
	}
	if ended || deleted {
		return r.release(ctx, run)
	}
	return r.say(ctx, run, v1alpha1.InvalidSpec, why)
}
