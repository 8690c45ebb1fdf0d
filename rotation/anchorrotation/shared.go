package anchorrotation

import (
	"context"
	"fmt"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// shared says what a rotation would replace of another MeshTrust too, as the API
// server has it now; "" for nothing. The gates ask the pods of one mesh: those of
// the other need not trust the new anchor.
func (r *Reconciler) shared(ctx context.Context, w *world) (string, error) {
	var list v1alpha1.MeshTrustList
	if err := r.Live.List(ctx, &list); err != nil {
		return "", fmt.Errorf("listing MeshTrusts: %w", err)
	}
	mine := mesh.FromMeshTrust(w.mt)
	for i := range list.Items {
		other := &list.Items[i]
		theirs := mesh.FromMeshTrust(other)
		if other.Name == w.mt.Name || theirs.SamePods(&mine) || !other.DeletionTimestamp.IsZero() {
			continue // of two with the same pods the younger does nothing anyhow
		}
		spec := other.EffectiveSpec()
		if what := common(&w.spec, &spec, w.facts.Issuers); what != "" {
			return fmt.Sprintf("%s is that of MeshTrust %s too, whose pods would not be asked whether they trust the new anchor; give each mesh its own ClusterIssuer and anchor", what, other.Name), nil
		}
	}
	return "", nil
}

// common names what a mesh's rotation would replace that is another mesh's too:
// the ClusterIssuer, an issuer that this signs, or an anchor that is renewed in
// place.
func common(mine, theirs *v1alpha1.MeshTrustSpec, issuers []lifecycle.Certificate) string {
	a, b := mine.Rotation, theirs.Rotation
	switch {
	case b == nil:
	case a.ClusterIssuerName != "" && a.ClusterIssuerName == b.ClusterIssuerName:
		return "ClusterIssuer " + string(a.ClusterIssuerName)
	case a.Layout == v1alpha1.LayoutInPlace && b.Layout == v1alpha1.LayoutInPlace && *a.AnchorCertificateRef == *b.AnchorCertificateRef: // in place both name one
		return "Certificate " + a.AnchorCertificateRef.Namespace + "/" + a.AnchorCertificateRef.Name
	}
	for i := range issuers {
		if c := &issuers[i]; looksAt(&theirs.Issuer, c) {
			return "the issuer " + c.Ref.Namespace + "/" + c.Ref.Name
		}
	}
	return ""
}

// looksAt reports whether a mesh's issuer is what a Certificate issues.
func looksAt(i *v1alpha1.IssuerSpec, c *lifecycle.Certificate) bool {
	if i.SecretRef != nil {
		return i.SecretRef.Namespace == c.Ref.Namespace && i.SecretRef.Name == c.SecretName
	}
	return i.CertificateRef != nil && *i.CertificateRef == c.Ref
}
