package issuance

import (
	"cmp"
	"context"
	"crypto/x509/pkix"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// anchorUnfit says why a rotation cannot do with an anchor's Certificate.
func (r *reading) anchorUnfit(u *unstructured.Unstructured) string {
	policy := text(u, "spec", "privateKey", "rotationPolicy")
	switch {
	case !isCA(u):
		return "it is no CA; set isCA: true"
	case r.rotation.Layout != v1alpha1.LayoutInPlace:
		return r.keyUnfit(u, true) // a generation is never renewed
	case policy == "Never" || policy == "" && !r.canHold:
		// The default was Never before cert-manager 1.18; the field that canHold is
		// about came with 1.21.
		return "its renewal would keep the key; set privateKey.rotationPolicy: Always"
	default:
		return r.keyUnfit(u, true)
	}
}

// issuerUnfit says why a rotation cannot do with the mesh's issuer Certificate.
func (r *reading) issuerUnfit(u *unstructured.Unstructured, c lifecycle.Certificate) string {
	switch {
	case !isCA(u):
		return "it is no CA; set isCA: true"
	case !r.signedByPointer(u):
		return fmt.Sprintf("it is signed by %s %s, not by ClusterIssuer %s; change its issuerRef or spec.rotation.clusterIssuerName",
			cmp.Or(text(u, "spec", "issuerRef", "kind"), issuerKind.Kind), text(u, "spec", "issuerRef", "name"), r.rotation.ClusterIssuerName)
	case c.Issued != nil && r.namedLikeAnAnchor(c.Issued.Subject):
		return fmt.Sprintf("it has the subject of an anchor, %q, by which verification fails; give it another commonName", c.Issued.Subject)
	default:
		return r.keyUnfit(u, false)
	}
}

func (r *reading) namedLikeAnAnchor(subject string) bool {
	for i := range r.out.Anchors {
		if a := r.out.Anchors[i].Issued; a != nil && a.Subject == subject {
			return true
		}
	}
	return false
}

func isCA(u *unstructured.Unstructured) bool {
	is, _, _ := unstructured.NestedBool(u.Object, "spec", "isCA")
	return is
}

// keyUnfit says why the mesh does not accept a key. Only Linkerd's demands are
// known (facts: an issuer ECDSA P-256, an anchor that or RSA 2048 or 4096).
func (r *reading) keyUnfit(u *unstructured.Unstructured, anchor bool) string {
	if r.spec.Profile != v1alpha1.ProfileLinkerd {
		return ""
	}
	algorithm := cmp.Or(text(u, "spec", "privateKey", "algorithm"), "RSA") // cert-manager's default
	size, _, _ := unstructured.NestedInt64(u.Object, "spec", "privateKey", "size")
	switch {
	case algorithm == "ECDSA" && slices.Contains([]int64{0, 256}, size):
		return ""
	case anchor && algorithm == "RSA" && slices.Contains([]int64{0, 2048, 4096}, size):
		return ""
	case anchor:
		return "Linkerd accepts an anchor's key of ECDSA P-256 or RSA 2048 or 4096 only; correct privateKey"
	default:
		return "Linkerd accepts an issuer's key of ECDSA P-256 only; set privateKey: {algorithm: ECDSA, size: 256}"
	}
}

// templateFault says what is wrong with the template of the next generation.
func (r *reading) templateFault(ctx context.Context) (string, error) {
	t := r.rotation.AnchorTemplate
	if r.rotation.Layout == v1alpha1.LayoutInPlace || t == nil {
		return "", nil
	}
	subject := pkix.Name{CommonName: t.CommonName, Organization: t.Organizations}.String()
	for i := range r.out.Issuers {
		if c := r.out.Issuers[i].Issued; c != nil && c.Subject == subject {
			return fmt.Sprintf("spec.rotation.anchorTemplate has the subject of the issuer, %q, by which verification fails; give it another commonName", subject), nil
		}
	}
	return r.selfSigningFault(ctx, t)
}

// selfSigningFault says why the template's issuer cannot sign roots.
func (r *reading) selfSigningFault(ctx context.Context, t *v1alpha1.AnchorTemplate) (string, error) {
	k, namespace := issuerKind, t.Namespace
	if t.IssuerRef.Kind == clusterIssuerKind.Kind {
		k, namespace = clusterIssuerKind, ""
	}
	if t.IssuerRef.Group != certManagerGroup || t.IssuerRef.Kind != k.Kind {
		return fmt.Sprintf("spec.rotation.anchorTemplate.issuerRef names a %s of %s; name a self-signing Issuer or ClusterIssuer of %s",
			t.IssuerRef.Kind, t.IssuerRef.Group, certManagerGroup), nil
	}
	name := describe(k, namespace, t.IssuerRef.Name)
	u, err := r.get(ctx, k, namespace, t.IssuerRef.Name)
	if err != nil {
		return "", err
	}
	if u == nil {
		return name + " of spec.rotation.anchorTemplate.issuerRef does not exist; create it, with spec: {selfSigned: {}}", nil
	}
	if _, ok, _ := unstructured.NestedMap(u.Object, "spec", "selfSigned"); !ok {
		return name + " of spec.rotation.anchorTemplate.issuerRef does not self-sign; name one with spec: {selfSigned: {}}", nil
	}
	if ready := condition(u, "Ready"); ready == nil || ready["status"] != "True" {
		return name + " is not Ready; see its status", nil
	}
	return "", nil
}
