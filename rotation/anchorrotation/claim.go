package anchorrotation

import (
	"cmp"
	"context"
	"fmt"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Older orders MeshTrusts by age, and by name where two are of one second.
func Older(a, b v1alpha1.MeshTrust) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// Claimed says which of the objects that a MeshTrust rotates an older one does; ""
// for none. Two that drive one ClusterIssuer would point it to and fro, and each
// take the renewals of the other for somebody else's. So the older has it, whether
// it is at work or suspended, and the younger rotates nothing.
func Claimed(all []v1alpha1.MeshTrust, mt *v1alpha1.MeshTrust) string {
	if mt.Spec.Rotation == nil {
		return ""
	}
	mine := mt.EffectiveSpec().Rotation
	for i := range all {
		other := &all[i]
		if other.Spec.Rotation == nil || !other.DeletionTimestamp.IsZero() || Older(*other, *mt) >= 0 {
			continue
		}
		if what := shared(mine, other.EffectiveSpec().Rotation); what != "" {
			return fmt.Sprintf("MeshTrust %s is older and rotates %s too; remove spec.rotation from one of the two, or name another there", other.Name, what)
		}
	}
	return ""
}

// shared names what two specs both rotate.
func shared(a, b *v1alpha1.RotationSpec) string {
	anchor, other := a.AnchorCertificateRef, b.AnchorCertificateRef
	switch {
	case a.ClusterIssuerName != "" && a.ClusterIssuerName == b.ClusterIssuerName:
		return "ClusterIssuer " + string(a.ClusterIssuerName)
	case anchor != nil && other != nil && *anchor == *other:
		return "Certificate " + anchor.Namespace + "/" + anchor.Name
	default:
		return ""
	}
}

// claimed is Claimed by what the API server says now.
func (r *Reconciler) claimed(ctx context.Context, mt *v1alpha1.MeshTrust) (string, error) {
	var list v1alpha1.MeshTrustList
	if err := r.Live.List(ctx, &list); err != nil {
		return "", fmt.Errorf("listing MeshTrusts: %w", err)
	}
	why := Claimed(list.Items, mt)
	if why == "" {
		return "", nil
	}
	return "MeshTrust " + mt.Name + " rotates nothing: " + why, nil
}
