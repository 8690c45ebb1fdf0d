package issuance_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/rotation/issuance"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

const manifests = "../../manifests/controller"

// cluster is a lab with real cert-manager and trust-manager. admin is the user;
// the Store acts as the controller's service account, with the rights of the
// manifests and no others.
type cluster struct {
	*testing.T
	lab   *lab.Lab
	admin client.Client
	as    client.Client // the controller
	store *issuance.Store
	mt    *v1alpha1.MeshTrust
}

// newCluster starts a lab with the rights of the components.
func newCluster(t *testing.T, rotation v1alpha1.RotationSpec, components ...string) *cluster {
	l, err := lab.Start(t.Context(), lab.Options{Nodes: -1, CertManager: true, TrustManager: true, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{T: t, lab: l, admin: clientOf(t, l.Config()), mt: &v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: "linkerd"},
		Spec:       v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, Rotation: &rotation},
	}}
	c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: reanchor-system}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: linkerd}}\n")
	files := []string{manifests + "/namespaces.yaml", manifests + "/rbac.yaml", manifests + "/linkerd-rbac.yaml"}
	for _, name := range components {
		files = append(files, manifests+"/rotation/"+name+"/rbac.yaml")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documents := string(text)
		if rotation.Layout != v1alpha1.LayoutInPlace {
			documents = c.withoutSecrets(file, documents)
		}
		c.apply(documents)
	}
	config, err := l.ConfigFor(t.Context(), "reanchor-system", "reanchor-controller")
	if err != nil {
		t.Fatal(err)
	}
	c.as = clientOf(t, config)
	c.store = &issuance.Store{Live: c.as, Client: c.as}
	return c
}

// withoutSecrets takes the right on the issuer's Secret out of linkerd-rbac.yaml,
// as that file has it for a MeshTrust that names the issuer by certificateRef.
func (c *cluster) withoutSecrets(file, documents string) string {
	c.Helper()
	if filepath.Base(file) != "linkerd-rbac.yaml" {
		return documents
	}
	c.mt.Spec.Issuer.CertificateRef = &v1alpha1.ObjectRef{Namespace: "linkerd", Name: "linkerd-identity-issuer"}
	var out []string
	for _, text := range split(documents) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			c.Fatal(err)
		}
		if rules, ok, _ := unstructured.NestedSlice(u.Object, "rules"); ok {
			kept := slices.DeleteFunc(slices.Clone(rules), func(r any) bool {
				resources, _, _ := unstructured.NestedStringSlice(r.(map[string]any), "resources")
				return slices.Contains(resources, "secrets")
			})
			if len(kept) != len(rules)-1 {
				c.Fatalf("%s has %d rules with Secrets, want one", file, len(rules)-len(kept))
			}
			u.Object["rules"] = kept
		}
		changed, err := yaml.Marshal(u.Object)
		if err != nil {
			c.Fatal(err)
		}
		out = append(out, string(changed))
	}
	return strings.Join(out, "---\n")
}

func clientOf(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// apply creates the objects of YAML documents, those that are there excepted, as
// a human with kubectl create does.
func (c *cluster) apply(documents string) {
	c.Helper()
	for _, text := range split(documents) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			c.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue
		}
		if err := c.admin.Create(c.Context(), u, client.FieldOwner("kubectl-create")); err != nil && !apierrors.IsAlreadyExists(err) {
			c.Fatalf("creating %s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
}

// until polls until check returns nil.
func (c *cluster) until(what string, check func() error) {
	c.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%s: not in time: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// reads reads as the controller until check is content.
func (c *cluster) reads(what string, check func(issuance.Objects) error) issuance.Objects {
	c.Helper()
	var got issuance.Objects
	c.until(what, func() (err error) {
		if got, err = c.store.Read(c.Context(), c.mt, true); err != nil {
			return err
		}
		return check(got)
	})
	return got
}

func (c *cluster) read() issuance.Objects {
	c.Helper()
	return c.reads("reading", func(issuance.Objects) error { return nil })
}

// settled waits until cert-manager has issued a Certificate for good.
func (c *cluster) settled(namespace, name string) bundle.Anchor {
	c.Helper()
	certificate, err := linkerd.Settled(c.Context(), c.admin, client.ObjectKey{Namespace: namespace, Name: name})
	if err != nil {
		c.Fatal(err)
	}
	return bundle.Of(certificate).Anchors()[0]
}

// pointed waits until cert-manager has seen where the ClusterIssuer points.
func (c *cluster) pointed() {
	c.Helper()
	if err := linkerd.Pointed(c.Context(), c.admin, "linkerd-identity-issuer"); err != nil {
		c.Fatal(err)
	}
}

// publishes waits until the bundle holds just these anchors.
func (c *cluster) publishes(anchors ...bundle.Anchor) issuance.Objects {
	c.Helper()
	want := bundle.FromAnchors(anchors...)
	return c.reads("the published bundle", func(o issuance.Objects) error {
		if !o.Bundle.Set.Equal(want) || o.Bundle.Unusable.Reason != "" {
			return fmt.Errorf("it holds %v (%v), want %v", shorts(o.Bundle.Set), o.Bundle.Unusable, shorts(want))
		}
		return nil
	})
}

func shorts(s bundle.Set) []string {
	var out []string
	for _, f := range s.Fingerprints() {
		out = append(out, f.Short())
	}
	return out
}

// does carries out an action. One that lost a race with cert-manager's own
// writes is made again on what is read then.
func (c *cluster) does(make func(issuance.Objects) lifecycle.Action) {
	c.Helper()
	c.until("an action", func() error {
		err := c.store.Do(c.Context(), c.mt, make(c.read()))
		if err != nil && !apierrors.IsConflict(err) {
			c.Fatal(err)
		}
		return err
	})
}

// refused carries out an action that must be refused as a Conflict.
func (c *cluster) refused(what string, a lifecycle.Action) {
	c.Helper()
	if err := c.store.Do(c.Context(), c.mt, a); !apierrors.IsConflict(err) {
		c.Errorf("%s: %v, want a Conflict", what, err)
	}
}

func on(verb lifecycle.Verb, cert lifecycle.Certificate, on bool) lifecycle.Action {
	return lifecycle.Action{
		Verb: verb, Object: cert.Ref, UID: cert.UID, ResourceVersion: cert.ResourceVersion, Secret: cert.SecretName, Generation: cert.Generation, On: on,
	}
}

// anchor returns the Certificate of an anchor by name.
func anchor(o issuance.Objects, name string) lifecycle.Certificate {
	for _, cert := range o.Anchors {
		if cert.Ref.Name == name {
			return cert
		}
	}
	return lifecycle.Certificate{}
}

// raw reads an object as the admin.
func (c *cluster) raw(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	c.Helper()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	if err := c.admin.Get(c.Context(), client.ObjectKey{Namespace: namespace, Name: name}, u); err != nil {
		c.Fatal(err)
	}
	return u
}

func (c *cluster) secret(name string) *corev1.Secret {
	c.Helper()
	s := &corev1.Secret{}
	if err := c.admin.Get(c.Context(), client.ObjectKey{Namespace: "cert-manager", Name: name}, s); err != nil {
		c.Fatal(err)
	}
	return s
}

// lacksNothing makes sure that the manifests grant what the code asks for.
func (c *cluster) lacksNothing() {
	c.Helper()
	missing, err := c.store.Missing(c.Context(), c.mt)
	if err != nil {
		c.Fatal(err)
	}
	if missing != (issuance.Missing{}) {
		c.Errorf("rights are missing:\n%s", missing.YAML)
	}
}

func forbidden(t *testing.T, what string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("%s: %v, want Forbidden", what, err)
	}
}

// common is what both layouts have.
const common = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {namespace: cert-manager, name: linkerd-trust-root-issuer}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: linkerd-identity-issuer}
spec: {ca: {secretName: %s}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {namespace: linkerd, name: linkerd-identity-issuer}
spec:
  isCA: true
  commonName: identity.linkerd.cluster.local
  secretName: linkerd-identity-issuer
  duration: 48h
  renewBefore: 25h
  privateKey: {algorithm: ECDSA, rotationPolicy: Always}
  issuerRef: {name: linkerd-identity-issuer, kind: ClusterIssuer}
`

// signed reads until the issuer is signed by the anchor.
func (c *cluster) signed(by bundle.Anchor) issuance.Objects {
	c.Helper()
	return c.reads("the issuer's signature", func(o issuance.Objects) error {
		issuer := o.Issuers[0]
		if issuer.Issued == nil || issuer.Issuing || !issuer.SignedBy.Contains(by.Fingerprint) {
			return fmt.Errorf("issued %v, signed by %v, want %s", issuer.Issued != nil, shorts(issuer.SignedBy), by.Fingerprint.Short())
		}
		return nil
	})
}

// keepsConditions makes sure that a renewal was asked for and that no other
// condition was lost by it.
func (c *cluster) keepsConditions(namespace, name string) {
	c.Helper()
	u := c.raw("cert-manager.io/v1", "Certificate", namespace, name)
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range conditions {
		if item.(map[string]any)["type"] == "Ready" {
			return
		}
	}
	c.Errorf("the condition Ready of %s/%s is gone: %v", namespace, name, conditions)
}

var errStill = errors.New("not yet")

// issuedAs is nil of an anchor that is held, and of which a certificate is known.
func issuedAs(name string, certificate bundle.Anchor) func(issuance.Objects) error {
	return func(o issuance.Objects) error {
		if cert := anchor(o, name); cert.Issued == nil || cert.Issued.Fingerprint != certificate.Fingerprint || !cert.HoldSeen {
			return fmt.Errorf("%s: %w", name, errStill)
		}
		return nil
	}
}

// generation creates one and waits until it is issued.
func (c *cluster) generation(n int) bundle.Anchor {
	c.Helper()
	name := fmt.Sprintf("linkerd-anchor-%d", n)
	create := lifecycle.Action{
		Verb: lifecycle.CreateAnchor, Object: v1alpha1.ObjectRef{Namespace: "cert-manager", Name: name}, Secret: name, Generation: n,
	}
	for range 2 { // one that exists is left alone
		if err := c.store.Do(c.Context(), c.mt, create); err != nil {
			c.Fatal(err)
		}
	}
	got := anchor(c.reads("generation "+name, issuedAs(name, c.settled("cert-manager", name))), name)
	if got.Generation != n || got.Labelled || !got.CanHold || !got.Held || got.Unfit != "" || got.SecretName != name {
		c.Errorf("generation %+v", got)
	}
	return *got.Issued
}

func (c *cluster) label(name string, yes bool) {
	c.Helper()
	c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.LabelAnchor, anchor(o, name), yes) })
}

const generationsBundle = `
apiVersion: trust.cert-manager.io/v1alpha1
kind: Bundle
metadata: {name: linkerd-identity-trust-roots}
spec:
  sources:
  - secret: {selector: {matchLabels: {reanchor.dev/anchor-of: linkerd}}, key: tls.crt}
  target:
    configMap: {key: ca-bundle.crt}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: linkerd}}
`

func TestGenerationsOnALab(t *testing.T) {
	c := newCluster(t, v1alpha1.RotationSpec{}, "generations")
	c.lacksNothing()
	c.apply(generationsBundle)
	if o := c.read(); o.Pointer.Known || o.Bundle.Unusable.Reason != v1alpha1.BundleNotFound || len(o.Anchors) != 0 {
		t.Errorf("of an empty cluster was read %+v", o)
	}
	c.apply(fmt.Sprintf(common, "linkerd-anchor-1"))
	first := c.generation(1)
	c.label("linkerd-anchor-1", true)
	c.publishes(first)
	c.signed(first)
	second := c.generation(2)
	if o := c.publishes(first); o.BundleFault != "" || o.TemplateFault != "" || o.Issuers[0].Unfit != "" {
		t.Errorf("faults: %q %q %q", o.BundleFault, o.TemplateFault, o.Issuers[0].Unfit)
	}
	c.label("linkerd-anchor-2", true) // widens
	c.publishes(first, second)
	t.Run("the pointer moves on what was read, and the issuer follows", func(t *testing.T) { c.on(t).switches(first, second) })
	c.label("linkerd-anchor-1", false) // narrows
	c.publishes(second)
	t.Run("an anchor that no generation brings is carried", func(t *testing.T) { c.on(t).carries(first, second) })
	t.Run("the archive", func(t *testing.T) { c.on(t).archives(first, second) })
	t.Run("a generation is deleted by its UID", func(t *testing.T) { c.on(t).deletes("linkerd-anchor-1") })
	t.Run("a request that is gone", func(t *testing.T) { c.on(t).remembers(second) })
	t.Run("natural renewals", func(t *testing.T) { c.on(t).holdsAndReleases() })
	t.Run("the signing service is restarted on the bundle that was read", func(t *testing.T) { c.on(t).restarts() })
	t.Run("no Secret but its own", func(t *testing.T) { c.on(t).readsNoKey() })
}

// on is the cluster for a subtest.
func (c *cluster) on(t *testing.T) *cluster {
	other := *c
	other.T = t
	return &other
}

func (c *cluster) switches(first, second bundle.Anchor) {
	before := c.read()
	point := lifecycle.Action{Verb: lifecycle.PointIssuer, Secret: "linkerd-anchor-2", Token: "run.to.x", ResourceVersion: before.Pointer.ResourceVersion}
	stale := point
	stale.ResourceVersion, stale.Secret = "1", "elsewhere"
	c.refused("a pointer that was never read", stale)
	c.does(func(o issuance.Objects) lifecycle.Action {
		point.ResourceVersion = o.Pointer.ResourceVersion
		return point
	})
	stale.ResourceVersion = before.Pointer.ResourceVersion
	c.refused("a pointer that has moved", stale)
	if p := c.read().Pointer; p.SecretName != "linkerd-anchor-2" || p.Token != "run.to.x" {
		c.Errorf("the pointer is %+v", p)
	}
	c.pointed()
	o := c.signed(first) // by itself nothing is issued again
	renew := func(o issuance.Objects) lifecycle.Action {
		a, signer := on(lifecycle.Renew, o.Issuers[0], true), anchor(o, "linkerd-anchor-2")
		a.Signer, a.SignerVersion = signer.Ref, signer.ResourceVersion
		return a
	}
	a := renew(o)
	a.SignerVersion = "1"
	c.refused("a renewal by an anchor that has changed", a)
	a = renew(o)
	a.ResourceVersion = "1"
	c.refused("a renewal of an issuer that has changed", a)
	a = renew(o)
	a.UID = "another"
	c.refused("a renewal of an issuer that was replaced", a)
	c.does(renew)
	c.keepsConditions("linkerd", "linkerd-identity-issuer")
	c.signed(second)
}

func (c *cluster) carries(first, second bundle.Anchor) {
	write := lifecycle.Action{Verb: lifecycle.WriteCarrier, Set: bundle.FromAnchors(first)}
	if err := c.store.Do(c.Context(), c.mt, write); err != nil {
		c.Fatal(err)
	}
	o := c.publishes(first, second)
	if !o.Carrier.Set.Equal(bundle.FromAnchors(first)) {
		c.Errorf("the carrier is read as %v", shorts(o.Carrier.Set))
	}
	if s := c.secret("linkerd-anchor-carried"); s.Type != corev1.SecretTypeOpaque || len(s.Data) != 1 || s.Labels[v1alpha1.AnchorOfLabel] != "linkerd" {
		c.Errorf("the carrier has type %s, %d keys, labels %v", s.Type, len(s.Data), s.Labels)
	}
	c.refused("a carrier that is there, to one who has read none", lifecycle.Action{Verb: lifecycle.WriteCarrier, Set: bundle.FromAnchors(second)})
	both := bundle.FromAnchors(first, second)
	c.does(func(o issuance.Objects) lifecycle.Action {
		return lifecycle.Action{Verb: lifecycle.WriteCarrier, Set: both, ResourceVersion: o.Carrier.ResourceVersion}
	})
	c.refused("a carrier that has changed", lifecycle.Action{Verb: lifecycle.WriteCarrier, Set: bundle.FromAnchors(first), ResourceVersion: o.Carrier.ResourceVersion})
	if got := c.read().Carrier.Set; !got.Equal(both) {
		c.Errorf("the carrier holds %v, want both", shorts(got))
	}
	c.does(func(o issuance.Objects) lifecycle.Action {
		return lifecycle.Action{Verb: lifecycle.WriteCarrier, Set: bundle.FromAnchors(second), ResourceVersion: o.Carrier.ResourceVersion}
	})
	c.publishes(second)
}

func (c *cluster) archives(first, second bundle.Anchor) {
	write := lifecycle.Action{Verb: lifecycle.WriteArchive, Set: bundle.FromAnchors(first)}
	if err := c.store.Do(c.Context(), c.mt, write); err != nil {
		c.Fatal(err)
	}
	c.refused("an archive that is there, to one who has read none", write)
	before := c.read().Archive
	if !before.Set.Equal(write.Set) {
		c.Fatalf("the archive holds %v", shorts(before.Set))
	}
	other := c.mt.DeepCopy() // another mesh has its key in the same object
	other.Name = "other"
	if err := c.store.Do(c.Context(), other, lifecycle.Action{Verb: lifecycle.WriteArchive, Set: bundle.FromAnchors(second), ResourceVersion: before.ResourceVersion}); err != nil {
		c.Fatal(err)
	}
	c.refused("an archive that has changed", lifecycle.Action{Verb: lifecycle.WriteArchive, ResourceVersion: before.ResourceVersion})
	both := bundle.FromAnchors(first, second)
	c.does(func(o issuance.Objects) lifecycle.Action {
		return lifecycle.Action{Verb: lifecycle.WriteArchive, Set: both, ResourceVersion: o.Archive.ResourceVersion}
	})
	if got := c.read().Archive.Set; !got.Equal(both) {
		c.Errorf("the archive holds %v, want both", shorts(got))
	}
	c.does(func(o issuance.Objects) lifecycle.Action {
		return lifecycle.Action{Verb: lifecycle.WriteArchive, ResourceVersion: o.Archive.ResourceVersion}
	})
	data, _, _ := unstructured.NestedMap(c.raw("v1", "ConfigMap", "reanchor-system", "reanchor-anchors").Object, "data")
	if _, ok := data["other.pem"]; !ok || len(data) != 1 {
		c.Errorf("the archive has %d keys, want that of the other mesh", len(data))
	}
	summary := bundle.Anchor{Fingerprint: first.Fingerprint}
	err := c.store.Do(c.Context(), c.mt, lifecycle.Action{Verb: lifecycle.WriteArchive, Set: bundle.FromAnchors(summary, second), ResourceVersion: c.read().Archive.ResourceVersion})
	if err == nil || apierrors.IsConflict(err) || !strings.Contains(err.Error(), "not at hand") {
		c.Errorf("writing an anchor that is known by summary only: %v", err)
	}
}

func (c *cluster) deletes(name string) {
	cert := anchor(c.read(), name)
	drop := on(lifecycle.DeleteAnchor, cert, false)
	drop.UID = "another"
	c.refused("deleting one that was replaced", drop)
	c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.DeleteAnchor, anchor(o, name), false) })
	c.reads("the deletion", func(o issuance.Objects) error {
		if anchor(o, name).UID != "" {
			return errStill
		}
		return nil
	})
	c.refused("deleting one that is gone", on(lifecycle.DeleteAnchor, cert, false))
}

// remembers has a renewal that cannot be signed: cert-manager deletes the request
// of the revision in force all the same.
func (c *cluster) remembers(by bundle.Anchor) {
	point := func(secret string) {
		c.does(func(o issuance.Objects) lifecycle.Action {
			return lifecycle.Action{Verb: lifecycle.PointIssuer, Secret: secret, Token: "x", ResourceVersion: o.Pointer.ResourceVersion}
		})
		c.pointed()
	}
	c.settled("linkerd", "linkerd-identity-issuer")
	before := c.signed(by).Issuers[0]
	point("nowhere")
	c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.Renew, o.Issuers[0], true) })
	c.until("the request in force to be deleted", func() error {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion("cert-manager.io/v1")
		list.SetKind("CertificateRequestList")
		if err := c.admin.List(c.Context(), list, client.InNamespace("linkerd")); err != nil {
			return err
		}
		for i := range list.Items {
			if list.Items[i].GetAnnotations()["cert-manager.io/certificate-revision"] == fmt.Sprint(before.Revision) {
				return errStill
			}
		}
		return nil
	})
	known := func(what string, want bool) {
		c.Helper()
		got := c.read().Issuers[0]
		if !got.Issuing || got.Revision != before.Revision || (got.Issued != nil) != want ||
			want && (got.Issued.Fingerprint != before.Issued.Fingerprint || !got.SignedBy.Equal(before.SignedBy)) {
			c.Errorf("%s: issuing %v, revision %d, issued %v, signed by %v", what, got.Issuing, got.Revision, got.Issued, shorts(got.SignedBy))
		}
	}
	known("one who has read it", true)
	c.store = &issuance.Store{Live: c.as, Client: c.as}
	known("one who has not", false)
	notBefore, notAfter := metav1.NewTime(before.Issued.NotBefore), metav1.NewTime(before.Issued.NotAfter)
	c.mt = c.mt.DeepCopy()
	c.mt.Status.Issuer = &v1alpha1.IssuerStatus{
		Fingerprint: before.Issued.Fingerprint.String(), NotBefore: &notBefore, NotAfter: &notAfter, VerifiedBy: []string{by.Fingerprint.String()},
	}
	known("one who finds it on record", true)
	point("linkerd-anchor-2")
	c.reads("the renewal", func(o issuance.Objects) error {
		if o.Issuers[0].Revision == before.Revision {
			return errStill
		}
		return nil
	})
}

// holdsAndReleases has the issuer renewed every few seconds. All the while it is
// known what it issued last, although cert-manager drops a revision's request
// when it makes the next; unless that is dropped before anybody could read it.
func (c *cluster) holdsAndReleases() {
	patch := []byte(`{"spec":{"duration":"60s","renewBefore":"56s"}}`)
	u := c.raw("cert-manager.io/v1", "Certificate", "linkerd", "linkerd-identity-issuer")
	if err := c.admin.Patch(c.Context(), u, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		c.Fatal(err)
	}
	start := c.read().Issuers[0].Revision
	known := map[int64]bool{}
	renewals := func(n int64) func(issuance.Objects) error {
		return func(o issuance.Objects) error {
			at := o.Issuers[0].Revision
			switch {
			case o.Issuers[0].Issued != nil && !o.Issuers[0].SignedBy.Empty():
				known[at] = true
			case known[at]:
				c.Errorf("at revision %d it is not known any more what the issuer issued", at)
			}
			if at < n || !known[at] {
				return fmt.Errorf("revision %d, known %t: %w", at, known[at], errStill)
			}
			return nil
		}
	}
	c.reads("three natural renewals", renewals(start+3))
	hold := func(yes bool) {
		c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.HoldRenewal, o.Issuers[0], yes) })
	}
	hold(true)
	hold(true) // again is no harm
	c.reads("cert-manager to see the hold", func(o issuance.Objects) error {
		if i := o.Issuers[0]; !i.HoldSeen || i.Issuing {
			return errStill
		}
		return nil
	})
	c.settled("linkerd", "linkerd-identity-issuer") // what was begun before the hold has ended
	held := c.read().Issuers[0].Revision
	// Two renewals would be due.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		if got := c.read().Issuers[0]; got.Revision != held || got.Issuing {
			c.Fatalf("it was renewed while held: revision %d, was %d", got.Revision, held)
		}
	}
	c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.Renew, o.Issuers[0], true) })
	c.reads("a renewal that was asked for, while held", renewals(held+1))
	hold(false)
	c.reads("natural renewals to go on", renewals(held+3))
	spec := c.raw("cert-manager.io/v1", "Certificate", "linkerd", "linkerd-identity-issuer")
	if _, left, _ := unstructured.NestedFieldNoCopy(spec.Object, "spec", "renewal"); left {
		c.Error("spec.renewal is left behind: cert-manager's webhook refuses one without a policy")
	}
}

const identity = `
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: linkerd, name: linkerd-identity}
spec:
  replicas: 0
  selector: {matchLabels: {app: identity}}
  template:
    metadata: {labels: {app: identity}}
    spec: {containers: [{name: identity, image: identity}]}
`

func (c *cluster) restarts() {
	c.apply(identity)
	rolled := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: linkerd, name: linkerd-identity}, spec: {template: {metadata: {annotations: {reanchor.dev/restarted-for: x}}}}}"), &rolled.Object); err != nil {
		c.Fatal(err)
	}
	// The roller applies to the same template.
	if err := c.as.Apply(c.Context(), client.ApplyConfigurationFromUnstructured(rolled), client.FieldOwner(v1alpha1.FieldManager)); err != nil {
		c.Fatal(err)
	}
	restart := func(o issuance.Objects) lifecycle.Action {
		return lifecycle.Action{
			Verb: lifecycle.RestartIdentity, Workload: v1alpha1.WorkloadRef{Namespace: "linkerd", Kind: "Deployment", Name: "linkerd-identity"}, Token: "run.to.y",
			ResourceVersion: c.raw("apps/v1", "Deployment", "linkerd", "linkerd-identity").GetResourceVersion(), BundleVersion: o.Bundle.ResourceVersion,
		}
	}
	a := restart(c.read())
	a.BundleVersion = "1"
	c.refused("a restart on another bundle", a)
	a = restart(c.read())
	a.ResourceVersion = "1"
	c.refused("a restart of what has changed", a)
	c.does(restart)
	got, _, _ := unstructured.NestedStringMap(c.raw("apps/v1", "Deployment", "linkerd", "linkerd-identity").Object, "spec", "template", "metadata", "annotations")
	if got[v1alpha1.RestartedForIssuerAnnotation] != "run.to.y" || got[v1alpha1.RestartedForAnnotation] != "x" {
		c.Errorf("the template carries %v", got)
	}
}

// readsNoKey tries, with the controller's rights, what a thief would.
func (c *cluster) readsNoKey() {
	key := client.ObjectKey{Namespace: "cert-manager", Name: "linkerd-anchor-2"}
	if err := c.admin.Get(c.Context(), key, &corev1.Secret{}); err != nil {
		c.Fatal(err)
	}
	forbidden(c.T, "reading the anchor's Secret", c.as.Get(c.Context(), key, &corev1.Secret{}))
	for _, namespace := range []string{"cert-manager", "linkerd"} {
		forbidden(c.T, "listing Secrets", c.as.List(c.Context(), &corev1.SecretList{}, client.InNamespace(namespace)))
	}
	key = client.ObjectKey{Namespace: "linkerd", Name: "linkerd-identity-issuer"}
	if err := c.admin.Get(c.Context(), key, &corev1.Secret{}); err != nil {
		c.Fatal(err)
	}
	forbidden(c.T, "reading the issuer's Secret", c.as.Get(c.Context(), key, &corev1.Secret{}))
	stolen := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "cert-manager", Name: "stolen"}}
	forbidden(c.T, "creating a Secret", c.as.Create(c.Context(), stolen))
	mt := c.mt.DeepCopy()
	mt.Spec.Rotation.Layout = v1alpha1.LayoutInPlace
	missing, err := c.store.Missing(c.Context(), mt)
	if err != nil {
		c.Fatal(err)
	}
	for _, want := range []string{"kind: Role\n", "namespace: cert-manager", "- linkerd-trust-anchor", "- linkerd-anchor-kept", "- linkerd-previous-anchor", "- secrets"} {
		if !strings.Contains(missing.YAML, want) {
			c.Errorf("what is missing for layout InPlace lacks %q:\n%s", want, missing.YAML)
		}
	}
	if strings.Contains(missing.YAML, "ClusterRole") {
		c.Errorf("what is missing for layout InPlace names what is granted:\n%s", missing.YAML)
	}
}
