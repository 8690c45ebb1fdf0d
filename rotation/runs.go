package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/anchorrotation"
	"github.com/reanchor/reanchor/rotation/inventory"
)

// runs returns the AnchorRotations of a mesh.
func (r *Reconciler) runs(ctx context.Context, mt *v1alpha1.MeshTrust) ([]v1alpha1.AnchorRotation, error) {
	if mt.Spec.Rotation == nil {
		return nil, nil
	}
	var list v1alpha1.AnchorRotationList
	if err := r.client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing AnchorRotations: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(x v1alpha1.AnchorRotation) bool { return x.Spec.MeshTrustRef.Name != mt.Name }), nil
}

// restart says which pods a rotation wants replaced that are not stale.
type restart struct {
	// unknown: those of the control plane of which it cannot be told what they
	// trust, once for each bundle.
	unknown bool
	// before: those created before that time; zero for none.
	before time.Time
}

func (o *observation) restart(now time.Time) restart {
	return restart{unknown: anchorrotation.Active(o.runs), before: anchorrotation.RestartBefore(&o.spec, o.runs, now)}
}

// wanted reports whether a rotation wants the pod replaced. One that carries the
// mark of the bundle in force has been replaced for it already.
func (s restart) wanted(p inventory.Pod, current bundle.Set) bool {
	if s.outlived(p) {
		return true
	}
	return s.unknown && p.ControlPlane && p.Class == mesh.ClassUnknown && !strings.HasPrefix(p.RestartedFor, current.Hash())
}

// outlived reports whether a pod may hold a leaf that is to go.
func (s restart) outlived(p inventory.Pod) bool {
	return !s.before.IsZero() && p.CreatedAt.Before(s.before)
}

// any reports whether a pod of the workload may be wanted.
func (s restart) any(w *inventory.Workload) bool {
	return !s.before.IsZero() || s.unknown && w.ControlPlane && w.Counts.Unknown > 0
}
