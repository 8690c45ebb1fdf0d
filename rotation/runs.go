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

// turnBackWithin is how long it is waited for an issuer to be turned back that
// somebody else has switched. A run does it within seconds; where none can, to roll
// is what mends the mesh.
const turnBackWithin = 30 * time.Second

// switchedEarly reports whether somebody else has just switched the issuer: the run
// has not decided to, and the anchor in use does not verify it any more. The signing
// services that run skip an issuer of which they lack the anchor. One that starts
// with the wider bundle would take it up, and sign leaves that no other pod trusts.
func switchedEarly(runs []v1alpha1.AnchorRotation, issuer *v1alpha1.IssuerStatus, now time.Time) bool {
	inUse := anchorrotation.InUseBefore(runs)
	if inUse == "" || issuer == nil || issuer.SignedSince == nil {
		return false
	}
	return !slices.Contains(issuer.VerifiedBy, inUse) && now.Before(issuer.SignedSince.Add(turnBackWithin))
}
