package issuance

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// policyDisabled is the value of spec.renewal.policy that stops renewals.
const policyDisabled = "Disabled"

// certificates reads the Certificates of the mesh's anchors and of everything
// that its ClusterIssuer signs.
func (r *reading) certificates(ctx context.Context) error {
	anchors, issuers, err := r.find(ctx)
	if err != nil {
		return err
	}
	r.known = r.out.Archive.Set.Union(r.out.Bundle.Set).Union(r.out.Carrier.Set)
	if r.out.Anchors, err = r.anchors(ctx, anchors); err != nil {
		return err
	}
	r.out.Issuers, err = r.issuers(ctx, issuers)
	return err
}

// isAnchor reports whether a Certificate is of one of the mesh's own anchors.
func (r *reading) isAnchor(u *unstructured.Unstructured) bool {
	if ref := r.rotation.AnchorCertificateRef; ref != nil && refOf(u) == *ref {
		return true
	}
	return r.rotation.Layout != v1alpha1.LayoutInPlace &&
		u.GetNamespace() == trustNamespace(r.rotation) && u.GetLabels()[v1alpha1.AnchorOfLabel] == r.mt.Name
}

// isIssuer reports whether the mesh's CA issuer signs a Certificate, or should.
func (r *reading) isIssuer(u *unstructured.Unstructured) bool {
	if ref := r.rotation.IssuerCertificateRef; ref != nil && refOf(u) == *ref {
		return true
	}
	return r.signedByPointer(u)
}

func (r *reading) signedByPointer(u *unstructured.Unstructured) bool {
	return text(u, "spec", "issuerRef", "name") == r.rotation.ClusterIssuerName &&
		text(u, "spec", "issuerRef", "kind") == clusterIssuerKind.Kind &&
		cmp.Or(text(u, "spec", "issuerRef", "group"), certManagerGroup) == certManagerGroup
}

// anchors describes the anchors' Certificates, in the order of their
// generations. In place there always is one, if only by name.
func (r *reading) anchors(ctx context.Context, list []*unstructured.Unstructured) ([]lifecycle.Certificate, error) {
	var out []lifecycle.Certificate
	for _, u := range list {
		c, _, err := r.certificate(ctx, u)
		if err != nil {
			return nil, err
		}
		c.Generation = r.generation(u)
		c.Labelled = text(u, "spec", "secretTemplate", "labels", v1alpha1.AnchorOfLabel) == r.mt.Name
		c.Unfit = r.anchorUnfit(u)
		if c.Issued == nil {
			c.Issued = r.byDates(u)
		}
		if c.Issued != nil {
			r.known = r.known.Union(bundle.FromAnchors(*c.Issued))
		}
		out = append(out, c)
	}
	if ref := r.rotation.AnchorCertificateRef; len(out) == 0 && ref != nil && r.rotation.Layout == v1alpha1.LayoutInPlace {
		out = append(out, lifecycle.Certificate{Ref: *ref})
	}
	slices.SortStableFunc(out, func(a, b lifecycle.Certificate) int {
		return cmp.Or(cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Ref.Name, b.Ref.Name))
	})
	return out, nil
}

// generation is the number in the name that CreateAnchor was given. Any other
// Certificate was adopted: 0.
func (r *reading) generation(u *unstructured.Unstructured) int {
	number, ok := strings.CutPrefix(u.GetName(), r.mt.Name+"-anchor-")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 1 || u.GetLabels()[v1alpha1.AnchorOfLabel] != r.mt.Name {
		return 0
	}
	return n
}

// issuers describes the Certificates that the CA issuer signs, the mesh's own
// first, which always is there, if only by name.
func (r *reading) issuers(ctx context.Context, list []*unstructured.Unstructured) ([]lifecycle.Certificate, error) {
	out := make([]lifecycle.Certificate, 1, len(list)+1)
	own := r.rotation.IssuerCertificateRef
	if own != nil {
		out[0].Ref = *own
	}
	for _, u := range list {
		c, chain, err := r.certificate(ctx, u)
		if err != nil {
			return nil, err
		}
		if c.SignedBy, err = r.signedBy(ctx, u, chain); err != nil {
			return nil, err
		}
		if own == nil || c.Ref != *own {
			if !neverIssued(u, c) {
				out = append(out, c)
			}
			continue
		}
		if c.Issued == nil {
			c.Issued, c.SignedBy = r.onRecord(u)
		}
		c.Unfit = r.issuerUnfit(u, c)
		out[0] = c
	}
	slices.SortFunc(out[1:], func(a, b lifecycle.Certificate) int {
		return cmp.Or(cmp.Compare(a.Ref.Namespace, b.Ref.Namespace), cmp.Compare(a.Ref.Name, b.Ref.Name))
	})
	return out, nil
}

// neverIssued reports whether a Certificate has issued nothing so far and is not
// about to. One that cannot be issued at all must not keep a rotation from its
// end: no leaf chains to it.
func neverIssued(u *unstructured.Unstructured, c lifecycle.Certificate) bool {
	return c.Revision == 0 && !c.Issuing && timeAt(u, "status", "notAfter").IsZero()
}

func refOf(u *unstructured.Unstructured) v1alpha1.ObjectRef {
	return v1alpha1.ObjectRef{Namespace: u.GetNamespace(), Name: u.GetName()}
}

// timeAt reads a time of the API; zero when there is none.
func timeAt(u *unstructured.Unstructured, path ...string) time.Time {
	at, err := time.Parse(time.RFC3339, text(u, path...))
	if err != nil {
		return time.Time{}
	}
	return at
}

// issuing reports whether cert-manager is at work on a Certificate.
func issuing(u *unstructured.Unstructured) bool {
	c := condition(u, "Issuing")
	return c != nil && c["status"] == "True"
}

// condition returns the condition of a type; nil when there is none.
func condition(u *unstructured.Unstructured, name string) map[string]any {
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range all {
		if c, ok := item.(map[string]any); ok && c["type"] == name {
			return c
		}
	}
	return nil
}

// renewalPolicy is the path of spec.renewal.policy in managedFields.
func renewalPolicy() []string { return []string{"f:spec", "f:renewal", "f:policy"} }

// held reports whether this controller holds back a Certificate's renewals.
func held(u *unstructured.Unstructured) bool {
	if text(u, "spec", "renewal", "policy") != policyDisabled {
		return false
	}
	for _, m := range owners(u, renewalPolicy()...) {
		if m.Manager == v1alpha1.FieldManager {
			return true
		}
	}
	return false
}
