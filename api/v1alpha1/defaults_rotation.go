package v1alpha1

import (
	"cmp"
	"time"
)

// Names of Linkerd's documented set-up with cert-manager and trust-manager.
const (
	linkerdIssuer         = "linkerd-identity-issuer"
	linkerdAnchor         = "linkerd-trust-anchor"
	linkerdPreviousAnchor = "linkerd-previous-anchor"
	linkerdRootIssuer     = "linkerd-trust-root-issuer"
	linkerdRootName       = "root.linkerd.cluster.local"
	trustNamespace        = "cert-manager"
)

func defaultRotation(spec *MeshTrustSpec, name string) {
	r := spec.Rotation
	r.Layout = cmp.Or(r.Layout, LayoutGenerations)
	r.BundleWriter = cmp.Or(r.BundleWriter, BundleWriterTrustManager)
	r.Leaves = cmp.Or(r.Leaves, LeavesExpire)
	r.MaxCarryOver = cmp.Or(r.MaxCarryOver, new(int32(1)))
	r.HistoryLimit = cmp.Or(r.HistoryLimit, new(int32(5)))
	if spec.Profile == ProfileLinkerd {
		defaultLinkerdRotation(r, spec.ControlPlaneNamespace)
	}
	if r.AnchorTemplate != nil {
		defaultAnchorTemplate(r.AnchorTemplate, name)
	}
}

func defaultLinkerdRotation(r *RotationSpec, controlPlane string) {
	r.AnchorCertificateRef = cmp.Or(r.AnchorCertificateRef, &ObjectRef{Namespace: trustNamespace, Name: linkerdAnchor})
	r.IssuerCertificateRef = cmp.Or(r.IssuerCertificateRef, &ObjectRef{Namespace: controlPlane, Name: linkerdIssuer})
	r.ClusterIssuerName = cmp.Or(r.ClusterIssuerName, linkerdIssuer)
	if r.Layout == LayoutInPlace {
		r.PreviousAnchorSecretRef = cmp.Or(r.PreviousAnchorSecretRef, &ObjectRef{Namespace: trustNamespace, Name: linkerdPreviousAnchor})
		return
	}
	r.AnchorTemplate = cmp.Or(r.AnchorTemplate, &AnchorTemplate{})
	r.AnchorTemplate.CommonName = cmp.Or(r.AnchorTemplate.CommonName, linkerdRootName)
	r.AnchorTemplate.IssuerRef = cmp.Or(r.AnchorTemplate.IssuerRef, &AnchorIssuerRef{Name: linkerdRootIssuer})
}

func defaultAnchorTemplate(t *AnchorTemplate, name string) {
	t.Namespace = cmp.Or(t.Namespace, trustNamespace)
	t.CommonName = cmp.Or(t.CommonName, name+"-anchor")
	t.Duration = cmp.Or(t.Duration, duration(8760*time.Hour))
	t.PrivateKey.Algorithm = cmp.Or(t.PrivateKey.Algorithm, KeyECDSA)
	t.PrivateKey.Size = cmp.Or(t.PrivateKey.Size, keySize(t.PrivateKey.Algorithm))
	t.IssuerRef = cmp.Or(t.IssuerRef, &AnchorIssuerRef{Name: name + "-root"})
	t.IssuerRef.Kind = cmp.Or(t.IssuerRef.Kind, "Issuer")
	t.IssuerRef.Group = cmp.Or(t.IssuerRef.Group, "cert-manager.io")
}

// keySize returns the size in bits of a key that Linkerd accepts for an
// anchor: P-256, or RSA of 2048 or 4096.
func keySize(a KeyAlgorithm) int32 {
	if a == KeyRSA {
		return 4096
	}
	return 256
}
