package issuance

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// overviewLasts is how long it is taken as it was seen what only a look at all
// Certificates of the cluster tells. There may be thousands, of which a mesh has
// a few; whoever decides a gate reads all.
const overviewLasts = 5 * time.Minute

// overview is what a look at the whole cluster found for one mesh.
type overview struct {
	at time.Time
	// generation is that of the MeshTrust: its names decide what is looked for.
	generation int64
	// others are the Certificates that the mesh's CA issuer signs besides the
	// mesh's own.
	others []v1alpha1.ObjectRef
	// canHold says that Certificates have the field spec.renewal.policy.
	canHold bool
}

// recent returns the last overview, if it may still be used.
func (r *reading) recent() (overview, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.overviews[r.mt.Name]
	age := r.clock().Since(o.at)
	return o, ok && !r.whole && o.generation == r.mt.Generation && age >= 0 && age < overviewLasts
}

// find returns the Certificates of the mesh's anchors, and those of everything
// that its ClusterIssuer signs.
func (r *reading) find(ctx context.Context) (anchors, issuers []*unstructured.Unstructured, err error) {
	last, ok := r.recent()
	if ok {
		r.canHold = last.canHold
		return r.findKnown(ctx, last.others)
	}
	at := r.clock().Now()
	if r.canHold, err = r.renewalPolicyServed(ctx); err != nil {
		return nil, nil, err
	}
	err = r.each(ctx, certificateKind, func(u *unstructured.Unstructured) {
		switch {
		case r.isAnchor(u):
			anchors = append(anchors, u)
		case r.isIssuer(u):
			issuers = append(issuers, u)
		}
	})
	if err == nil {
		r.keepOverview(overview{at: at, generation: r.mt.Generation, canHold: r.canHold}, issuers)
	}
	return anchors, issuers, err
}

func (r *reading) keepOverview(o overview, issuers []*unstructured.Unstructured) {
	for _, u := range issuers {
		if own := r.rotation.IssuerCertificateRef; own == nil || refOf(u) != *own {
			o.others = append(o.others, refOf(u))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.overviews == nil {
		r.overviews = map[string]overview{}
	}
	r.overviews[r.mt.Name] = o
}

// findKnown asks for the Certificates that are known by name or label.
func (r *reading) findKnown(ctx context.Context, others []v1alpha1.ObjectRef) (anchors, issuers []*unstructured.Unstructured, err error) {
	if r.rotation.Layout != v1alpha1.LayoutInPlace {
		err = r.each(ctx, certificateKind, func(u *unstructured.Unstructured) { anchors = append(anchors, u) },
			client.InNamespace(trustNamespace(r.rotation)), client.MatchingLabels{v1alpha1.AnchorOfLabel: r.mt.Name})
		if err != nil {
			return nil, nil, err
		}
	}
	if ref := r.rotation.AnchorCertificateRef; ref != nil {
		anchors = slices.DeleteFunc(anchors, func(u *unstructured.Unstructured) bool { return refOf(u) == *ref })
		if anchors, err = r.getCertificate(ctx, *ref, anchors); err != nil {
			return nil, nil, err
		}
	}
	if own := r.rotation.IssuerCertificateRef; own != nil {
		others = slices.Insert(slices.Clone(others), 0, *own)
	}
	for _, ref := range others {
		if issuers, err = r.getCertificate(ctx, ref, issuers); err != nil {
			return nil, nil, err
		}
	}
	return anchors, slices.DeleteFunc(issuers, func(u *unstructured.Unstructured) bool { return !r.isIssuer(u) }), nil
}

// getCertificate adds a Certificate, if it exists.
func (r *reading) getCertificate(ctx context.Context, ref v1alpha1.ObjectRef, to []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	u, err := r.get(ctx, certificateKind, ref.Namespace, ref.Name)
	if err != nil || u == nil {
		return to, err
	}
	return append(to, u), nil
}
