package rotation

import (
	"cmp"
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// older orders MeshTrusts by age, and by name where two are of one second.
func older(a, b v1alpha1.MeshTrust) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// rival returns the name of the MeshTrust among the older ones that claims the
// same pods.
func rival(older []v1alpha1.MeshTrust, mt *v1alpha1.MeshTrust) string {
	mine := mesh.FromMeshTrust(mt)
	for i := range older {
		if other := mesh.FromMeshTrust(&older[i]); other.SamePods(&mine) {
			return older[i].Name
		}
	}
	return ""
}

// contested returns the name of the older MeshTrust that has the pods.
func (r *Reconciler) contested(ctx context.Context, mt *v1alpha1.MeshTrust) (string, error) {
	all, err := r.list(ctx)
	if err != nil {
		return "", err
	}
	for i := range all {
		if all[i].UID == mt.UID {
			return rival(all[:i], mt), nil
		}
	}
	return "", nil // not in the cache yet; its event comes
}

// yields is the hold of a MeshTrust that leaves its pods to an older one.
func yields(winner string) rollout.Hold {
	return rollout.Hold{Reason: v1alpha1.Conflict, Message: "MeshTrust " + winner + " is older and claims the same pods; delete one of the two"}
}

// refuse does nothing for a MeshTrust and says why. What its conditions said
// before holds no longer, the proofs that others wait for above all; only
// whether the bundle is valid was looked at, if it was.
func (r *Reconciler) refuse(ctx context.Context, before, mt *v1alpha1.MeshTrust, why rollout.Hold) (reconcile.Result, error) {
	mt.Status.ObservedGeneration = mt.Generation
	for _, kind := range v1alpha1.MeshTrustConditions() {
		c := condition(kind, false, why.Reason, why.Message)
		switch kind {
		case v1alpha1.ConditionBundleValid:
			continue
		case v1alpha1.ConditionReady:
		default:
			c.Status = metav1.ConditionUnknown
		}
		setCondition(mt, c, r.clock.Now())
	}
	switch _, err := r.store(ctx, before, mt, true); {
	case apierrors.IsConflict(err): // whoever wrote knows better
		return reconcile.Result{RequeueAfter: time.Second}, nil
	case err != nil:
		return reconcile.Result{}, err
	}
	r.reporter.refused(before, mt)
	return reconcile.Result{RequeueAfter: time.Minute}, nil
}
