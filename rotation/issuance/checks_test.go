package issuance_test

import (
	"strings"
	"testing"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

const (
	theAnchor = "Certificate/cert-manager/linkerd-trust-anchor"
	theIssuer = "Certificate/linkerd/linkerd-identity-issuer"
	theBundle = "Bundle/linkerd-identity-trust-roots"
)

// says reports whether a fault is the one that is wanted; "" wants none.
func says(fault, want string) bool {
	if want == "" {
		return fault == ""
	}
	return strings.Contains(fault, want)
}

func TestAnchorsThatDoNotSuit(t *testing.T) {
	const generations, inPlace = v1alpha1.LayoutGenerations, v1alpha1.LayoutInPlace
	key := func(values map[string]any) func(w *world) {
		return func(w *world) { w.edit(theAnchor, "spec.privateKey", values) }
	}
	older := func(w *world) { w.remove("CustomResourceDefinition/certificates.cert-manager.io") }
	for name, tc := range map[string]struct {
		layout v1alpha1.Layout
		change func(w *world)
		want   string
	}{
		"no CA":                                                {inPlace, func(w *world) { w.edit(theAnchor, "spec.isCA", nil) }, "isCA: true"},
		"its renewal keeps the key":                            {inPlace, key(map[string]any{"algorithm": "ECDSA", "rotationPolicy": "Never"}), "rotationPolicy: Always"},
		"which does not matter to a generation":                {generations, key(map[string]any{"algorithm": "ECDSA", "rotationPolicy": "Never"}), ""},
		"nothing said is Always today":                         {inPlace, key(map[string]any{"algorithm": "ECDSA"}), ""},
		"nothing said may be Never with an older cert-manager": {inPlace, func(w *world) { key(map[string]any{"algorithm": "ECDSA"})(w); older(w) }, "rotationPolicy: Always"},
		"Always said to an older cert-manager":                 {inPlace, older, ""},
		"RSA 2048, cert-manager's default":                     {generations, key(map[string]any{}), ""},
		"RSA 4096":                                             {generations, key(map[string]any{"algorithm": "RSA", "size": int64(4096)}), ""},
		"RSA 3072":                                             {generations, key(map[string]any{"algorithm": "RSA", "size": int64(3072)}), "RSA 2048 or 4096"},
		"P-384":                                                {generations, key(map[string]any{"algorithm": "ECDSA", "size": int64(384)}), "P-256"},
		"Ed25519":                                              {generations, key(map[string]any{"algorithm": "Ed25519"}), "P-256"},
		"any key for a mesh of which nothing is known":         {generations, func(w *world) { w.generic(); key(map[string]any{"algorithm": "Ed25519"})(w) }, ""},
		"a CA nevertheless for a mesh of which nothing is known": {generations, func(w *world) { w.generic(); w.edit(theAnchor, "spec.isCA", false) }, "isCA: true"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.layout)
			tc.change(w)
			if got := w.read().Anchors[0].Unfit; !says(got, tc.want) {
				t.Errorf("unfit: %q, want %q", got, tc.want)
			}
		})
	}
}

// generic makes the mesh one of profile Generic with the same objects.
func (w *world) generic() {
	spec := w.mt.EffectiveSpec()
	spec.Profile = v1alpha1.ProfileGeneric
	w.mt.Spec = spec
}

func TestIssuersThatDoNotSuit(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(w *world)
		want   string
	}{
		"one that suits": {func(w *world) {}, ""},
		"no CA":          {func(w *world) { w.edit(theIssuer, "spec.isCA", false) }, "isCA: true"},
		"signed by somebody else": {func(w *world) {
			w.edit(theIssuer, "spec.issuerRef", map[string]any{"name": "vault"})
		}, "signed by Issuer vault, not by ClusterIssuer linkerd-identity-issuer"},
		"an RSA key, cert-manager's default": {func(w *world) { w.edit(theIssuer, "spec.privateKey", nil) }, "ECDSA P-256 only"},
		"P-384":                              {func(w *world) { w.edit(theIssuer, "spec.privateKey.size", int64(384)) }, "ECDSA P-256 only"},
		"the subject of the anchor": {func(w *world) {
			w.issued("linkerd/linkerd-identity-issuer", 7, w.a.Intermediate("root.linkerd.cluster.local", bundletest.From(now, 1)))
		}, "has the subject of an anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, v1alpha1.LayoutGenerations)
			tc.change(w)
			if got := w.read().Issuers[0].Unfit; !says(got, tc.want) {
				t.Errorf("unfit: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTemplatesOfWhichNoAnchorCanBeMade(t *testing.T) {
	const self = "Issuer/cert-manager/linkerd-trust-root-issuer"
	template := func(w *world, change func(*v1alpha1.AnchorTemplate)) {
		w.mt.Spec.Rotation.AnchorTemplate = &v1alpha1.AnchorTemplate{}
		change(w.mt.Spec.Rotation.AnchorTemplate)
	}
	for name, tc := range map[string]struct {
		change func(w *world)
		want   string
	}{
		"one that suits": {func(w *world) {}, ""},
		"the subject of the issuer": {func(w *world) {
			template(w, func(t *v1alpha1.AnchorTemplate) { t.CommonName = "identity.linkerd.cluster.local" })
		}, "has the subject of the issuer"},
		"another organization is another subject": {func(w *world) {
			template(w, func(t *v1alpha1.AnchorTemplate) {
				t.CommonName, t.Organizations = "identity.linkerd.cluster.local", []string{"o"}
			})
		}, ""},
		"an issuer that is not there": {func(w *world) { w.remove(self) }, "Issuer cert-manager/linkerd-trust-root-issuer of spec.rotation.anchorTemplate.issuerRef does not exist"},
		"an issuer that does not self-sign": {func(w *world) {
			w.edit(self, "spec", map[string]any{"ca": map[string]any{"secretName": "x"}})
		}, "does not self-sign"},
		"an issuer that is not ready": {func(w *world) { w.edit(self, "status", nil) }, "is not Ready"},
		"a ClusterIssuer": {func(w *world) {
			template(w, func(t *v1alpha1.AnchorTemplate) {
				t.IssuerRef = &v1alpha1.AnchorIssuerRef{Name: "self", Kind: "ClusterIssuer"}
			})
			w.add("apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {name: self}\nspec: {selfSigned: {}}\nstatus: {conditions: [{type: Ready, status: \"True\"}]}\n")
		}, ""},
		"an issuer of another kind": {func(w *world) {
			template(w, func(t *v1alpha1.AnchorTemplate) {
				t.IssuerRef = &v1alpha1.AnchorIssuerRef{Name: "x", Kind: "AWSPCAIssuer", Group: "awspca.cert-manager.io"}
			})
		}, "name a self-signing Issuer or ClusterIssuer"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, v1alpha1.LayoutGenerations)
			tc.change(w)
			if got := w.read().TemplateFault; !says(got, tc.want) {
				t.Errorf("fault: %q, want %q", got, tc.want)
			}
		})
	}
}

func named(name, key string) map[string]any {
	return map[string]any{"secret": map[string]any{"name": name, "key": key}}
}

func selected(labels map[string]any, more map[string]any) map[string]any {
	s := map[string]any{"selector": map[string]any{"matchLabels": labels}}
	for k, v := range more {
		s[k] = v
	}
	return map[string]any{"secret": s}
}

func sources(all ...any) func(w *world) {
	return func(w *world) { w.edit(theBundle, "spec.sources", all) }
}

// Bundles that trust-manager writes.
func TestBundlesThatAreNotMadeOfTheMeshsAnchors(t *testing.T) {
	const generations, inPlace = v1alpha1.LayoutGenerations, v1alpha1.LayoutInPlace
	ours, crt := map[string]any{v1alpha1.AnchorOfLabel: "linkerd"}, map[string]any{"key": "tls.crt"}
	for name, tc := range map[string]struct {
		layout v1alpha1.Layout
		change func(w *world)
		want   string
	}{
		"the documented one":    {inPlace, func(w *world) {}, ""},
		"generations by label":  {generations, func(w *world) {}, ""},
		"there is no Bundle":    {generations, func(w *world) { w.remove(theBundle) }, "no Bundle linkerd-identity-trust-roots"},
		"it writes another key": {generations, func(w *world) { w.edit(theBundle, "spec.target.configMap.key", "ca.crt") }, "does not write ConfigMap linkerd/linkerd-identity-trust-roots, key ca-bundle.crt"},
		"it writes Secrets": {generations, func(w *world) {
			w.edit(theBundle, "spec.target", map[string]any{"secret": map[string]any{"key": "ca-bundle.crt"}})
		}, "correct its target"},
		"it leaves the namespace out": {generations, func(w *world) { w.edit(roots, "metadata.managedFields", nil) }, "namespaceSelector"},
		"a Helm chart owns the object": {generations, func(w *world) {
			w.edit(roots, "metadata.annotations", map[string]any{"meta.helm.sh/release-name": "linkerd-control-plane"})
		}, "belongs to the Helm release linkerd-control-plane"},
		"a ClusterTrustBundle is not trust-manager's": {generations, func(w *world) {
			w.mt.Spec.Bundle.ClusterTrustBundleRef = &v1alpha1.ClusterObjectRef{Name: "roots"}
			w.add("apiVersion: certificates.k8s.io/v1beta1\nkind: ClusterTrustBundle\nmetadata: {name: roots}\nspec: {trustBundle: x}\n")
		}, "bundleWriter: Reanchor"},

		"no selector":                      {generations, sources(named("other", "tls.crt")), "lacks the source secret: {selector: {matchLabels: {reanchor.dev/anchor-of: linkerd}}, key: tls.crt}"},
		"another mesh's":                   {generations, sources(selected(map[string]any{v1alpha1.AnchorOfLabel: "other"}, crt)), "lacks the source"},
		"another key":                      {generations, sources(selected(ours, map[string]any{"key": "ca.crt"})), "lacks the source"},
		"all keys, the private one too":    {generations, sources(selected(ours, map[string]any{"includeAllKeys": true})), "lacks the source"},
		"a label that the carrier has not": {generations, sources(selected(map[string]any{v1alpha1.AnchorOfLabel: "linkerd", "controller.cert-manager.io/fao": "true"}, crt)), "lacks the source"},
		"Secrets without the label":        {generations, sources(selected(ours, crt), selected(map[string]any{"controller.cert-manager.io/fao": "true"}, crt)), "selects Secrets without the label"},
		"a generation by its name":         {generations, sources(selected(ours, crt), named("linkerd-trust-anchor", "tls.crt")), "names the Secret linkerd-trust-anchor"},
		"foreign ones beside":              {generations, sources(named("other-cluster", "tls.crt"), selected(ours, crt), map[string]any{"useDefaultCAs": true}), ""},

		"in place without the previous anchor": {inPlace, sources(named("linkerd-trust-anchor", "tls.crt")), "lacks the source secret: {name: linkerd-previous-anchor, key: tls.crt}"},
		"in place without the anchor":          {inPlace, sources(named("linkerd-previous-anchor", "tls.crt")), "lacks the source secret: {name: linkerd-trust-anchor, key: tls.crt}"},
		"in place with another key":            {inPlace, sources(named("linkerd-trust-anchor", "ca.crt"), named("linkerd-previous-anchor", "tls.crt")), "linkerd-trust-anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.layout)
			tc.change(w)
			if got := w.read().BundleFault; !says(got, tc.want) {
				t.Errorf("fault: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAClusterBundleTakesTheBundlesPlace(t *testing.T) {
	const clusterBundle = `
apiVersion: trust-manager.io/v1alpha2
kind: ClusterBundle
metadata: {name: linkerd-identity-trust-roots}
spec:
  sourceRefs:
  - {kind: Secret, selector: {matchLabels: {reanchor.dev/anchor-of: linkerd}}, key: tls.crt}
  - {kind: ConfigMap, name: elsewhere, key: "*"}
  target: {configMap: {data: [{key: other}, {key: ca-bundle.crt}]}}
`
	for name, tc := range map[string]struct {
		change func(w *world)
		want   string
	}{
		"ours":           {func(w *world) {}, ""},
		"another target": {func(w *world) { w.edit("ClusterBundle/linkerd-identity-trust-roots", "spec.target", nil) }, "ClusterBundle linkerd-identity-trust-roots does not write"},
		"of ConfigMaps":  {func(w *world) { w.edit("ClusterBundle/linkerd-identity-trust-roots", "spec.sourceRefs", nil) }, "lacks the source"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, v1alpha1.LayoutGenerations)
			w.remove(theBundle)
			w.add(clusterBundle)
			tc.change(w)
			if got := w.read().BundleFault; !says(got, tc.want) {
				t.Errorf("fault: %q, want %q", got, tc.want)
			}
		})
	}
}

// Bundles that Reanchor writes.
func TestOtherWritersOfABundleThatReanchorWrites(t *testing.T) {
	by := func(manager, operation, field string) any {
		return map[string]any{
			"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
			"fieldsV1": map[string]any{"f:data": map[string]any{field: map[string]any{}}},
		}
	}
	for name, tc := range map[string]struct {
		owners []any
		want   string
	}{
		"nobody else":                      {[]any{by("reanchor", "Apply", "f:ca-bundle.crt")}, ""},
		"created by hand":                  {[]any{by("kubectl-create", "Update", "f:ca-bundle.crt")}, ""},
		"applied by kubectl":               {[]any{by("kubectl-client-side-apply", "Update", "f:ca-bundle.crt")}, "kubectl-client-side-apply"},
		"applied by kubectl on the server": {[]any{by("kubectl", "Apply", "f:ca-bundle.crt")}, "written by kubectl too"},
		"a controller that updates":        {[]any{by("linkerd-helper", "Update", "f:ca-bundle.crt")}, "linkerd-helper"},
		"trust-manager, and GitOps beside": {[]any{by("trust-manager", "Apply", "f:ca-bundle.crt"), by("argocd-controller", "Apply", "f:ca-bundle.crt")}, "argocd-controller, trust-manager"},
		"trust-manager writes another key": {[]any{by("trust-manager", "Apply", "f:other.crt")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, v1alpha1.LayoutGenerations)
			w.mt.Spec.Rotation.BundleWriter = v1alpha1.BundleWriterReanchor
			w.edit(roots, "metadata.managedFields", tc.owners)
			if got := w.read().BundleFault; !says(got, tc.want) {
				t.Errorf("fault: %q, want %q", got, tc.want)
			}
		})
	}
}
