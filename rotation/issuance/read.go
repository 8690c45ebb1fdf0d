package issuance

import (
	"context"
	"crypto/x509"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// reading is one Read in the making.
type reading struct {
	*Store
	mt   *v1alpha1.MeshTrust
	spec v1alpha1.MeshTrustSpec
	// rotation is spec.rotation with its defaults.
	rotation *v1alpha1.RotationSpec
	// canHold says that Certificates have the field spec.renewal.policy.
	canHold bool
	// whole says that nothing may be taken from an earlier look.
	whole bool
	// known are all anchors that are at hand, to recognise what a Certificate
	// issued and what signed it.
	known bundle.Set
	// requests are the fulfilled requests, by namespace.
	requests map[string][]*unstructured.Unstructured
	// seen is what this reading saw issued.
	seen map[revision][]*x509.Certificate
	out  Objects
}

// Read reads everything about a mesh's certificates. What does not exist is
// told by the facts; an error is worth a retry, or is Forbidden (see Missing).
// Without spec.rotation only the bundle is read.
//
// A read that is not whole may take it from an earlier look which Certificates of
// the cluster the mesh's CA issuer signs besides the mesh's own; see overview. It
// reads these, as all else, anew. A gate wants a whole one.
func (s *Store) Read(ctx context.Context, mt *v1alpha1.MeshTrust, whole bool) (Objects, error) {
	r := &reading{
		Store: s, mt: mt, whole: whole, spec: mt.EffectiveSpec(),
		requests: map[string][]*unstructured.Unstructured{}, seen: map[revision][]*x509.Certificate{},
	}
	r.rotation = r.spec.Rotation
	publishedAs, b, err := r.bundle(ctx)
	if err != nil {
		return Objects{}, err
	}
	r.out.Bundle = b
	if r.rotation == nil {
		r.out.Bundle.Set = r.bundleInForce()
		return r.out, nil
	}
	if err := r.own(ctx); err != nil {
		return Objects{}, err
	}
	r.out.Bundle.Set = r.bundleInForce()
	if err := r.certificates(ctx); err != nil {
		return Objects{}, err
	}
	if r.out.BundleFault, err = r.bundleFault(ctx, publishedAs); err != nil {
		return Objects{}, err
	}
	if r.out.TemplateFault, err = r.templateFault(ctx); err != nil {
		return Objects{}, err
	}
	r.remember()
	return r.out, nil
}

// bundleInForce is the published bundle, or the last good one.
func (r *reading) bundleInForce() bundle.Set {
	if r.out.Bundle.Unusable.Reason == "" {
		return r.out.Bundle.Set
	}
	return r.lastGood(r.out.Archive.Set.Union(r.out.Carrier.Set))
}

// own reads the objects that Reanchor keeps, and the pointer.
func (r *reading) own(ctx context.Context) (err error) {
	if r.out.Archive, err = r.archive(ctx); err != nil {
		return err
	}
	if r.out.Carrier, err = r.carrier(ctx); err != nil {
		return err
	}
	if r.out.Kept, err = r.kept(ctx); err != nil {
		return err
	}
	r.out.Pointer, err = r.pointer(ctx)
	return err
}

func (r *reading) archive(ctx context.Context) (lifecycle.Carrier, error) {
	u, err := r.get(ctx, configMapKind, r.namespace(), archiveName)
	if err != nil || u == nil {
		return lifecycle.Carrier{}, err
	}
	value, _, _ := unstructured.NestedString(u.Object, "data", archiveKey(r.mt.Name))
	return lifecycle.Carrier{Set: certificatesOf(value), ResourceVersion: u.GetResourceVersion()}, nil
}

// carrierRef names the Secret for anchors that no other source brings; false
// where Reanchor writes the bundle itself and needs none.
func carrierRef(mesh string, r *v1alpha1.RotationSpec) (v1alpha1.ObjectRef, bool) {
	switch {
	case r.BundleWriter == v1alpha1.BundleWriterReanchor:
		return v1alpha1.ObjectRef{}, false
	case r.Layout != v1alpha1.LayoutInPlace:
		return v1alpha1.ObjectRef{Namespace: trustNamespace(r), Name: carriedName(mesh)}, true
	case r.PreviousAnchorSecretRef != nil:
		return *r.PreviousAnchorSecretRef, true
	default:
		return v1alpha1.ObjectRef{}, false
	}
}

// trustNamespace is where the anchors' Secrets are.
func trustNamespace(r *v1alpha1.RotationSpec) string {
	switch {
	case r.Layout != v1alpha1.LayoutInPlace && r.AnchorTemplate != nil:
		return r.AnchorTemplate.Namespace
	case r.AnchorCertificateRef != nil:
		return r.AnchorCertificateRef.Namespace
	default:
		return ""
	}
}

func (r *reading) carrier(ctx context.Context) (lifecycle.Carrier, error) {
	ref, ok := carrierRef(r.mt.Name, r.rotation)
	if !ok {
		return lifecycle.Carrier{}, nil
	}
	u, err := r.get(ctx, secretKind, ref.Namespace, ref.Name)
	if err != nil || u == nil {
		return lifecycle.Carrier{}, err
	}
	return lifecycle.Carrier{Set: certificatesOf(secretText(u, certificateKey)), ResourceVersion: u.GetResourceVersion()}, nil
}

// kept reads the metadata of the kept copy: its key is none of our business.
func (r *reading) kept(ctx context.Context) (lifecycle.Kept, error) {
	if r.rotation.Layout != v1alpha1.LayoutInPlace {
		return lifecycle.Kept{}, nil
	}
	m, err := r.getMetadata(ctx, secretKind, trustNamespace(r.rotation), keptName(r.mt.Name))
	if err != nil || m == nil {
		return lifecycle.Kept{}, err
	}
	// An annotation that cannot be read tells of no anchor.
	anchor, _ := bundle.ParseFingerprint(m.Annotations[v1alpha1.KeptAnchorAnnotation])
	return lifecycle.Kept{Exists: true, SecretName: m.Name, Anchor: anchor, ResourceVersion: m.ResourceVersion}, nil
}

func (r *reading) pointer(ctx context.Context) (lifecycle.Pointer, error) {
	u, err := r.get(ctx, clusterIssuerKind, "", r.rotation.ClusterIssuerName)
	if err != nil || u == nil {
		return lifecycle.Pointer{}, err
	}
	secret := text(u, "spec", "ca", "secretName")
	if secret == "" { // not a CA issuer
		return lifecycle.Pointer{}, nil
	}
	return lifecycle.Pointer{
		Known: true, SecretName: secret, Token: u.GetAnnotations()[v1alpha1.PointedByAnnotation], ResourceVersion: u.GetResourceVersion(),
	}, nil
}

// certificatesOf parses what Reanchor, or a human before it, put aside. Text
// that cannot be read holds nothing, and is written anew.
func certificatesOf(value string) bundle.Set {
	set, err := bundle.Parse([]byte(value))
	if err != nil {
		return bundle.Set{}
	}
	return set
}

// remember keeps what was seen issued, for the time when its request is gone.
func (r *reading) remember() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Store.seen == nil {
		r.Store.seen = map[string]map[revision][]*x509.Certificate{}
	}
	r.Store.seen[r.mt.Name] = r.seen
}

// remembered returns what an earlier reading saw; nil when none did.
func (r *reading) remembered(at revision) []*x509.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Store.seen[r.mt.Name][at]
}
