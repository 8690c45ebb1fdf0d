package anchorrotation

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

func TestWhatARotationWouldReplaceOfAnotherMeshIsSaid(t *testing.T) {
	ref := func(namespace, name string) *v1alpha1.ObjectRef {
		return &v1alpha1.ObjectRef{Namespace: namespace, Name: name}
	}
	linkerd := func(name string, change func(*v1alpha1.MeshTrustSpec)) *v1alpha1.MeshTrust {
		mt := &v1alpha1.MeshTrust{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, ControlPlaneNamespace: name, Rotation: &v1alpha1.RotationSpec{}},
		}
		change(&mt.Spec)
		return mt
	}
	own := func(s *v1alpha1.MeshTrustSpec) {
		s.Rotation.ClusterIssuerName, s.Rotation.IssuerCertificateRef = "blue", ref("blue", "own")
	}
	for name, c := range map[string]struct {
		other   *v1alpha1.MeshTrust
		inPlace bool
		says    string // "" for nothing
	}{
		"the ClusterIssuer, named by default":                                         {linkerd("blue", func(*v1alpha1.MeshTrustSpec) {}), false, "ClusterIssuer linkerd-identity-issuer is that of MeshTrust blue too"},
		"nothing, where each has its own, though both name one generation by default": {linkerd("blue", own), false, ""},
		"an anchor that both renew in place": {linkerd("blue", func(s *v1alpha1.MeshTrustSpec) {
			own(s)
			s.Rotation.Layout = v1alpha1.LayoutInPlace
		}), true, "Certificate cert-manager/linkerd-trust-anchor is"},
		"an issuer that the ClusterIssuer signs, of one that merely rolls": {linkerd("blue", func(s *v1alpha1.MeshTrustSpec) {
			s.Rotation, s.Issuer.CertificateRef = nil, ref("blue", "linkerd-identity-issuer")
		}), false, "the issuer blue/linkerd-identity-issuer is"},
		"the same by its Secret": {linkerd("blue", func(s *v1alpha1.MeshTrustSpec) {
			s.Rotation, s.Issuer.SecretRef = nil, &v1alpha1.KeyRef{Namespace: "blue", Name: "issuer-tls"}
		}), false, "the issuer blue/linkerd-identity-issuer is"},
		"nothing of one that looks at other issuers": {linkerd("blue", func(s *v1alpha1.MeshTrustSpec) { s.Rotation = nil }), false, ""},
		"nothing of one with the same control plane, which does nothing": {linkerd("again", func(s *v1alpha1.MeshTrustSpec) {
			s.ControlPlaneNamespace = "linkerd"
		}), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := stage(t, interceptor.Funcs{})
			if c.inPlace {
				w.mt.Spec.Rotation.Layout = v1alpha1.LayoutInPlace
				w.spec = w.mt.EffectiveSpec()
			}
			w.facts.Issuers = []lifecycle.Certificate{
				{Ref: *ref("linkerd", "linkerd-identity-issuer"), SecretName: "linkerd-identity-issuer"},
				{Ref: *ref("blue", "linkerd-identity-issuer"), SecretName: "issuer-tls"},
			}
			if err := r.Client.Create(t.Context(), c.other); err != nil {
				t.Fatal(err)
			}
			got, err := r.shared(t.Context(), w)
			if err != nil || !strings.Contains(got, c.says) || (got == "") != (c.says == "") {
				t.Errorf("got %q (%v), want %q in it", got, err, c.says)
			}
		})
	}
}
