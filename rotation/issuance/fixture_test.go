package issuance_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/rotation/issuance"
)

var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

// world is the objects of a mesh called linkerd, in the documented names: its
// anchor A signed the issuer; a foreign anchor is published too.
type world struct {
	testing.TB
	mt      *v1alpha1.MeshTrust
	objects map[string]*unstructured.Unstructured
	client  client.Client // set by the first read
	store   *issuance.Store

	a, b, foreign, issuer *bundletest.CA
}

func newWorld(tb testing.TB, layout v1alpha1.Layout) *world {
	w := &world{TB: tb, objects: map[string]*unstructured.Unstructured{}}
	w.a = bundletest.NewRoot(tb, "root.linkerd.cluster.local", bundletest.From(now.Add(-2000*time.Hour), 8760*time.Hour))
	w.b = bundletest.NewRoot(tb, "root.linkerd.cluster.local", bundletest.From(now.Add(-time.Hour), 8760*time.Hour))
	w.foreign = bundletest.NewRoot(tb, "root.elsewhere", bundletest.From(now.Add(-time.Hour), 8760*time.Hour))
	w.issuer = w.a.Intermediate("identity.linkerd.cluster.local", bundletest.From(now.Add(-time.Hour), 48*time.Hour))
	w.mt = &v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: "linkerd"},
		Spec:       v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, Rotation: &v1alpha1.RotationSpec{Layout: layout}},
	}
	w.add(documented)
	w.publish(w.a, w.foreign)
	w.issued("cert-manager/linkerd-trust-anchor", 1, w.a)
	w.issued("linkerd/linkerd-identity-issuer", 7, w.issuer)
	if layout == v1alpha1.LayoutInPlace {
		w.edit("Bundle/linkerd-identity-trust-roots", "spec.sources", []any{
			map[string]any{"secret": map[string]any{"name": "linkerd-trust-anchor", "key": "tls.crt"}},
			map[string]any{"secret": map[string]any{"name": "linkerd-previous-anchor", "key": "tls.crt"}},
		})
		w.add(secret("linkerd-previous-anchor", w.a.PEM()))
	} else {
		w.edit("Certificate/cert-manager/linkerd-trust-anchor", "spec.secretTemplate.labels", map[string]any{v1alpha1.AnchorOfLabel: "linkerd"})
	}
	return w
}

// documented is Linkerd's documented set-up; what is issued is added to it.
const documented = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  versions:
  - name: v1
    schema: {openAPIV3Schema: {properties: {spec: {properties: {renewal: {properties: {policy: {type: string}}}}}}}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {namespace: cert-manager, name: linkerd-trust-anchor, uid: uid-anchor}
spec:
  isCA: true
  commonName: root.linkerd.cluster.local
  secretName: linkerd-trust-anchor
  privateKey: {algorithm: ECDSA, rotationPolicy: Always}
  issuerRef: {name: linkerd-trust-root-issuer, kind: Issuer}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {namespace: linkerd, name: linkerd-identity-issuer, uid: uid-issuer}
spec:
  isCA: true
  commonName: identity.linkerd.cluster.local
  secretName: linkerd-identity-issuer
  privateKey: {algorithm: ECDSA, size: 256}
  issuerRef: {name: linkerd-identity-issuer, kind: ClusterIssuer}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {namespace: shop, name: elsewhere, uid: uid-elsewhere}
spec: {secretName: elsewhere, issuerRef: {name: letsencrypt, kind: ClusterIssuer}}
---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: linkerd-identity-issuer, annotations: {reanchor.dev/pointed-by: token}}
spec: {ca: {secretName: linkerd-trust-anchor}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {namespace: cert-manager, name: linkerd-trust-root-issuer}
spec: {selfSigned: {}}
status: {conditions: [{type: Ready, status: "True"}]}
---
apiVersion: trust.cert-manager.io/v1alpha1
kind: Bundle
metadata: {name: linkerd-identity-trust-roots}
spec:
  sources:
  - secret: {selector: {matchLabels: {reanchor.dev/anchor-of: linkerd}}, key: tls.crt}
  - inLine: foreign anchors
  target: {configMap: {key: ca-bundle.crt}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  namespace: linkerd
  name: linkerd-identity-trust-roots
  managedFields:
  - {manager: trust-manager, operation: Apply, apiVersion: v1, fieldsType: FieldsV1, fieldsV1: {"f:data": {"f:ca-bundle.crt": {}}}}
data: {}
`

const roots = "ConfigMap/linkerd/linkerd-identity-trust-roots"

func keyOf(u *unstructured.Unstructured) string {
	if u.GetNamespace() == "" {
		return u.GetKind() + "/" + u.GetName()
	}
	return u.GetKind() + "/" + u.GetNamespace() + "/" + u.GetName()
}

// add puts the objects of YAML documents into the world.
func (w *world) add(documents string) {
	w.Helper()
	for _, text := range split(documents) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			w.Fatal(err)
		}
		w.objects[keyOf(u)] = u
	}
}

// edit sets a field, given with dots; nil removes it.
func (w *world) edit(object, field string, value any) {
	w.Helper()
	u := w.objects[object]
	if u == nil {
		w.Fatalf("there is no %s", object)
	}
	if value == nil {
		unstructured.RemoveNestedField(u.Object, path(field)...)
		return
	}
	if err := unstructured.SetNestedField(u.Object, value, path(field)...); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(object string) { delete(w.objects, object) }

func (w *world) publish(cas ...*bundletest.CA) {
	w.Helper()
	w.edit(roots, "data", map[string]any{"ca-bundle.crt": pems(cas...)})
}

// issued lets a Certificate have issued a certificate as a revision.
func (w *world) issued(certificate string, revision int64, ca *bundletest.CA) {
	w.Helper()
	object := "Certificate/" + certificate
	w.edit(object, "status", map[string]any{
		"revision": revision, "notBefore": stamp(ca.Cert.NotBefore), "notAfter": stamp(ca.Cert.NotAfter), "renewalTime": stamp(now.Add(time.Hour)),
	})
	w.request(certificate, revision, ca)
}

// request adds the fulfilled request of a revision.
func (w *world) request(certificate string, revision int64, ca *bundletest.CA) {
	w.Helper()
	u := w.objects["Certificate/"+certificate]
	w.add(fmt.Sprintf(`
apiVersion: cert-manager.io/v1
kind: CertificateRequest
metadata:
  namespace: %s
  name: %s-%d
  annotations: {cert-manager.io/certificate-revision: "%d"}
  ownerReferences: [{apiVersion: cert-manager.io/v1, kind: Certificate, name: %s, uid: %s, controller: true}]
status: {certificate: %s}
`, u.GetNamespace(), u.GetName(), revision, revision, u.GetName(), u.GetUID(), encoded(ca.PEM())))
}

// start makes a client of the objects as they are now. The Store stays the same.
func (w *world) start() {
	w.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		w.Fatal(err)
	}
	for _, gvk := range []schema.GroupVersionKind{
		{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"},
		{Group: "cert-manager.io", Version: "v1", Kind: "CertificateRequest"},
		{Group: "cert-manager.io", Version: "v1", Kind: "ClusterIssuer"},
		{Group: "cert-manager.io", Version: "v1", Kind: "Issuer"},
		{Group: "trust.cert-manager.io", Version: "v1alpha1", Kind: "Bundle"},
		{Group: "trust-manager.io", Version: "v1alpha2", Kind: "ClusterBundle"},
		{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
	} {
		scheme.AddKnownTypeWithName(gvk, &unstructured.Unstructured{})
		scheme.AddKnownTypeWithName(gvk.GroupVersion().WithKind(gvk.Kind+"List"), &unstructured.UnstructuredList{})
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, u := range w.objects {
		builder = builder.WithObjects(u.DeepCopy())
	}
	w.client = builder.WithReturnManagedFields().Build()
	if w.store == nil {
		w.store = &issuance.Store{}
	}
	w.store.Live, w.store.Client = w.client, w.client
}

func (w *world) read() issuance.Objects {
	w.Helper()
	w.start()
	o, err := w.store.Read(w.Context(), w.mt, true)
	if err != nil {
		w.Fatal(err)
	}
	return o
}

func secret(name, pem string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {namespace: cert-manager, name: %s}
data: {tls.crt: %s}
`, name, encoded(pem))
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// get reads an object of cert-manager as it is after a write.
func (w *world) get(kind, namespace, name string) *unstructured.Unstructured {
	w.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: kind})
	if err := w.client.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, u); err != nil {
		w.Fatal(err)
	}
	return u
}

func pems(cas ...*bundletest.CA) string {
	text := ""
	for _, ca := range cas {
		text += ca.PEM()
	}
	return text
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func setOf(cas ...*bundletest.CA) bundle.Set {
	var s bundle.Set
	for _, ca := range cas {
		s = s.Union(bundle.Of(ca.Cert))
	}
	return s
}

func anchorOf(ca *bundletest.CA) *bundle.Anchor { return &bundle.Of(ca.Cert).Anchors()[0] }

// comparers judge sets and anchors by their fingerprints.
func comparers() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b bundle.Set) bool { return a.Equal(b) }),
		cmp.Comparer(func(a, b bundle.Anchor) bool { return a.Fingerprint == b.Fingerprint }),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ResourceVersion" }, cmp.Ignore()),
	}
}

// split parts YAML documents.
func split(documents string) []string {
	return slices.DeleteFunc(strings.Split(documents, "\n---\n"), func(text string) bool { return strings.TrimSpace(text) == "" })
}

func path(field string) []string { return strings.Split(field, ".") }
