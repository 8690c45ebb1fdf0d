package issuance

import (
	"context"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// right is to do some things with one object, or with all of a kind when it has
// no name, in one namespace, or in all when it has none.
type right struct {
	kind
	subresource     string
	namespace, name string
	verbs           []string
}

// Missing returns the rights that a rotation of the mesh needs and this
// controller lacks; empty when it lacks none. It asks the API server with
// SelfSubjectAccessReviews, so the answer is that of every authorizer.
func (s *Store) Missing(ctx context.Context, mt *v1alpha1.MeshTrust) (Missing, error) {
	spec := mt.EffectiveSpec()
	if spec.Rotation == nil {
		return Missing{}, nil
	}
	lacking := map[string][]rbacv1.PolicyRule{}
	others, err := s.lacking(ctx, s.rights(mt.Name, spec), lacking)
	if err != nil {
		return Missing{}, err
	}
	if others { // the other Certificates that the ClusterIssuer signs can be listed
		more, err := s.otherIssuers(ctx, mt, spec)
		if err != nil {
			return Missing{}, err
		}
		if _, err := s.lacking(ctx, more, lacking); err != nil {
			return Missing{}, err
		}
	}
	return s.missing(spec.Rotation, lacking)
}

// lacking adds the rules of those rights that are not granted, by namespace, and
// reports whether Certificates can be listed.
func (s *Store) lacking(ctx context.Context, rights []right, rules map[string][]rbacv1.PolicyRule) (bool, error) {
	lists := true
	for _, r := range rights {
		var verbs []string
		for _, verb := range r.verbs {
			allowed, err := s.allowed(ctx, r, verb)
			if err != nil {
				return false, err
			}
			if !allowed {
				verbs = append(verbs, verb)
				lists = lists && (r.kind != certificateKind || verb != "list")
			}
		}
		if len(verbs) > 0 {
			rules[r.namespace] = append(rules[r.namespace], r.rule(verbs))
		}
	}
	return lists, nil
}

func (s *Store) allowed(ctx context.Context, r right, verb string) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: r.Group, Version: r.Version, Resource: r.resource, Subresource: r.subresource, Namespace: r.namespace, Name: r.name, Verb: verb,
		},
	}}
	if err := s.Client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("asking whether %s of %s is allowed: %w", verb, r.resource, err)
	}
	return review.Status.Allowed, nil
}

func (r right) rule(verbs []string) rbacv1.PolicyRule {
	rule := rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{r.resource}, Verbs: verbs}
	if r.subresource != "" {
		rule.Resources[0] += "/" + r.subresource
	}
	if r.name != "" {
		rule.ResourceNames = []string{r.name}
	}
	return rule
}

// rights are those that every rotation of a mesh needs.
func (s *Store) rights(mesh string, spec v1alpha1.MeshTrustSpec) []right {
	r := spec.Rotation
	out := []right{
		{kind: certificateKind, verbs: []string{"get", "list"}},
		{kind: crdKind, name: certificateCRD, verbs: []string{"get"}},
		{kind: clusterIssuerKind, name: r.ClusterIssuerName, verbs: []string{"get", "patch"}},
		{kind: configMapKind, namespace: s.namespace(), name: archiveName, verbs: []string{"get", "create", "patch"}},
	}
	for _, namespace := range namespacesOf(r) {
		out = append(out, right{kind: requestKind, namespace: namespace, verbs: []string{"list"}})
	}
	if ref := r.IssuerCertificateRef; ref != nil {
		out = append(out, renewals(*ref)...)
	}
	out = append(out, bundleRights(spec)...)
	if spec.Profile == v1alpha1.ProfileLinkerd { // the signing service
		out = append(out, right{kind: deploymentKind, namespace: spec.ControlPlaneNamespace, verbs: []string{"get", "patch"}})
	}
	if r.Layout == v1alpha1.LayoutInPlace {
		return append(out, inPlaceRights(mesh, r)...)
	}
	return append(out, generationRights(mesh, r)...)
}

// namespacesOf are where the Certificates of a rotation are.
func namespacesOf(r *v1alpha1.RotationSpec) []string {
	out := []string{trustNamespace(r)}
	for _, ref := range []*v1alpha1.ObjectRef{r.IssuerCertificateRef, r.AnchorCertificateRef} {
		if ref != nil {
			out = append(out, ref.Namespace)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// renewals are the rights to trigger and to hold back those of a Certificate.
func renewals(ref v1alpha1.ObjectRef) []right {
	return []right{
		{kind: certificateKind, namespace: ref.Namespace, name: ref.Name, verbs: []string{"patch"}},
		{kind: certificateKind, subresource: "status", namespace: ref.Namespace, name: ref.Name, verbs: []string{"patch"}},
	}
}

func bundleRights(spec v1alpha1.MeshTrustSpec) []right {
	at := placeOf(spec.Bundle)
	out := []right{{kind: at.kind, namespace: at.namespace, name: at.name, verbs: []string{"get"}}}
	if spec.Rotation.BundleWriter == v1alpha1.BundleWriterReanchor {
		out[0].verbs = append(out[0].verbs, "patch")
	} else {
		out = append(out, right{kind: bundleKind, name: at.name, verbs: []string{"get"}})
	}
	return out
}

// generationRights are those of layout Generations: none on any Secret but
// Reanchor's own.
func generationRights(mesh string, r *v1alpha1.RotationSpec) []right {
	namespace := trustNamespace(r)
	out := []right{
		{kind: certificateKind, namespace: namespace, verbs: []string{"create", "patch", "delete"}},
		{kind: certificateKind, subresource: "status", namespace: namespace, verbs: []string{"patch"}},
	}
	if ref := r.AnchorCertificateRef; ref != nil && ref.Namespace != namespace {
		out = append(out, renewals(*ref)...)
	}
	if t := r.AnchorTemplate; t != nil && t.IssuerRef.Group == certManagerGroup {
		self := right{kind: issuerKind, namespace: namespace, name: t.IssuerRef.Name, verbs: []string{"get"}}
		if t.IssuerRef.Kind == clusterIssuerKind.Kind {
			self.kind, self.namespace = clusterIssuerKind, ""
		}
		out = append(out, self)
	}
	if ref, ok := carrierRef(mesh, r); ok {
		out = append(out, right{kind: secretKind, namespace: ref.Namespace, name: ref.Name, verbs: []string{"get", "create", "patch"}})
	}
	return out
}

// inPlaceRights are those of layout InPlace. The anchor's Secret is taken to have
// the name of its Certificate, as documented.
func inPlaceRights(mesh string, r *v1alpha1.RotationSpec) []right {
	out := []right{{kind: secretKind, namespace: trustNamespace(r), name: keptName(mesh), verbs: []string{"get", "create", "patch", "delete"}}}
	if ref := r.AnchorCertificateRef; ref != nil {
		out = append(out, renewals(*ref)...)
		out = append(out, right{kind: secretKind, namespace: ref.Namespace, name: ref.Name, verbs: []string{"get"}})
	}
	if ref, ok := carrierRef(mesh, r); ok {
		out = append(out, right{kind: secretKind, namespace: ref.Namespace, name: ref.Name, verbs: []string{"get", "create", "patch"}})
	}
	return out
}

// otherIssuers are the rights on what else the mesh's CA issuer signs.
func (s *Store) otherIssuers(ctx context.Context, mt *v1alpha1.MeshTrust, spec v1alpha1.MeshTrustSpec) ([]right, error) {
	r := &reading{Store: s, mt: mt, spec: spec, rotation: spec.Rotation}
	var out []right
	err := r.each(ctx, certificateKind, func(u *unstructured.Unstructured) {
		if own := spec.Rotation.IssuerCertificateRef; r.isAnchor(u) || !r.isIssuer(u) || own != nil && refOf(u) == *own {
			return
		}
		out = append(out, right{kind: requestKind, namespace: u.GetNamespace(), verbs: []string{"list"}})
		out = append(out, renewals(refOf(u))...)
	})
	return out, err
}
