package anchorrotation

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// certificates is the resource of cert-manager's Certificates.
var certificates = schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "certificates"}

// world is everything that one look has read.
type world struct {
	// mt is nil when there is no MeshTrust with a rotation.
	mt   *v1alpha1.MeshTrust
	spec v1alpha1.MeshTrustSpec
	// runs are all of the mesh, the oldest first; run is the one in force.
	runs  []v1alpha1.AnchorRotation
	run   *v1alpha1.AnchorRotation
	facts lifecycle.Facts
	// pending says what is waited for before anything can be decided, refused why
	// the MeshTrust as a whole is left alone.
	pending, refused string
	// openAgain is when the next run may be due.
	openAgain time.Time
}

func (w *world) runUID() types.UID {
	if w.run == nil {
		return ""
	}
	return w.run.UID
}

// whole reports whether all was read that a decision needs.
func (w *world) whole() bool { return w.mt != nil && w.pending == "" && w.refused == "" }

// look reads the world. With live nothing in it comes from a cache.
func (r *Reconciler) look(ctx context.Context, name string, live bool) (*world, error) {
	started := r.Clock.Now()
	w := &world{}
	var err error
	if w.runs, err = r.runsOf(ctx, name); err != nil {
		return nil, err
	}
	w.run = oldestActive(w.runs)
	var mt v1alpha1.MeshTrust
	err = r.Live.Get(ctx, client.ObjectKey{Name: name}, &mt)
	switch {
	case apierrors.IsNotFound(err):
		return w, nil
	case err != nil:
		return nil, fmt.Errorf("reading MeshTrust %s: %w", name, err)
	case mt.Spec.Rotation == nil || !mt.DeletionTimestamp.IsZero():
		return w, nil
	}
	w.mt, w.spec = &mt, mt.EffectiveSpec()
	if w.pending, w.refused = unready(&mt); w.pending != "" || w.refused != "" {
		return w, nil
	}
	w.facts.Read = lifecycle.Read{Live: live, StartedAt: started}
	return w, r.observe(ctx, w)
}

// unready says why a MeshTrust cannot be worked with: its bundle was not recorded
// so far, or it is refused as a whole.
func unready(mt *v1alpha1.MeshTrust) (pending, refused string) {
	ready := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionReady)
	if ready != nil {
		switch v1alpha1.Reason(ready.Reason) {
		case v1alpha1.Conflict, v1alpha1.ProfileUnsupported, v1alpha1.InvalidSpec:
			return ready.Reason, "MeshTrust " + mt.Name + " is left alone: " + ready.Message
		}
	}
	switch {
	case ready == nil:
		return "MeshTrust " + mt.Name + " has no status yet", ""
	case mt.Status.Bundle == nil:
		return "no bundle of MeshTrust " + mt.Name + " is on record yet: " + ready.Message, ""
	default:
		return "", ""
	}
}

// runsOf returns the AnchorRotations of a mesh, the oldest first.
func (r *Reconciler) runsOf(ctx context.Context, mesh string) ([]v1alpha1.AnchorRotation, error) {
	var list v1alpha1.AnchorRotationList
	if err := r.Live.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing AnchorRotations: %w", err)
	}
	runs := slices.DeleteFunc(list.Items, func(x v1alpha1.AnchorRotation) bool { return x.Spec.MeshTrustRef.Name != mesh })
	slices.SortFunc(runs, func(a, b v1alpha1.AnchorRotation) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return runs, nil
}

// oldestActive returns the run in force. One that has taken note of anchors
// comes before any that has not, whatever their names: two may be of one second.
func oldestActive(runs []v1alpha1.AnchorRotation) *v1alpha1.AnchorRotation {
	var first *v1alpha1.AnchorRotation
	for i := range runs {
		switch run := &runs[i]; {
		case outcomeOf(run) != "":
		case first == nil, first.Status.FromAnchor == nil && run.Status.FromAnchor != nil:
			first = run
		}
	}
	return first
}

// outcomeOf returns how a run ended; empty while it runs.
func outcomeOf(run *v1alpha1.AnchorRotation) lifecycle.Outcome {
	switch {
	case apimeta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionComplete):
		return lifecycle.Complete
	case apimeta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionFailed):
		return lifecycle.Failed
	default:
		return ""
	}
}

// endedAt is when a run ended, of one that has.
func endedAt(run *v1alpha1.AnchorRotation) time.Time {
	for _, kind := range []string{v1alpha1.ConditionComplete, v1alpha1.ConditionFailed} {
		if c := apimeta.FindStatusCondition(run.Status.Conditions, kind); c != nil && c.Status == metav1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}
