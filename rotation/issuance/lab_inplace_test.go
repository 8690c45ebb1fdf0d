package issuance_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/rotation/issuance"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

const documentedAnchor = `
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {namespace: cert-manager, name: linkerd-trust-anchor}
spec:
  isCA: true
  commonName: root.linkerd.cluster.local
  secretName: linkerd-trust-anchor
  duration: 8760h
  privateKey: {algorithm: ECDSA, rotationPolicy: Always}
  issuerRef: {name: linkerd-trust-root-issuer, kind: Issuer}
---
apiVersion: trust.cert-manager.io/v1alpha1
kind: Bundle
metadata: {name: linkerd-identity-trust-roots}
spec:
  sources:
  - secret: {name: linkerd-trust-anchor, key: tls.crt}
  - secret: {name: linkerd-previous-anchor, key: tls.crt}
  target:
    configMap: {key: ca-bundle.crt}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: linkerd}}
`

const (
	anchorName, keptSecret, previous = "linkerd-trust-anchor", "linkerd-anchor-kept", "linkerd-previous-anchor"
)

func TestInPlaceOnALab(t *testing.T) {
	c := newCluster(t, v1alpha1.RotationSpec{Layout: v1alpha1.LayoutInPlace}, "inplace")
	c.lacksNothing()
	// The user has said what is the default anyway.
	c.apply(fmt.Sprintf(common, anchorName) + "  renewal: {policy: RenewBefore}\n---" + documentedAnchor)
	old := c.anchorIssued()
	c.copyByHand()
	if o := c.publishes(old); o.BundleFault != "" || o.Anchors[0].Unfit != "" || !o.Carrier.Set.Contains(old.Fingerprint) {
		t.Errorf("faults %q %q, carrier %v", o.BundleFault, o.Anchors[0].Unfit, shorts(o.Carrier.Set))
	}
	c.signed(old)
	t.Run("the previous anchor's Secret holds certificates and no key", func(t *testing.T) { c.on(t).rewritesCarrier(old) })
	t.Run("the anchor's key is kept", func(t *testing.T) { c.on(t).keeps(old) })
	var renewed bundle.Anchor
	t.Run("a held anchor is renewed, and the bundle is widened", func(t *testing.T) { renewed = c.on(t).renewsHeld(old) })
	t.Run("the old key signs once more, and then the new", func(t *testing.T) { c.on(t).signsWithEither(old, renewed) })
	t.Run("renewals are released", func(t *testing.T) { c.on(t).releases() })
	t.Run("the kept copy goes", func(t *testing.T) { c.on(t).dropsKept() })
	t.Run("a carrier that was deleted comes back", func(t *testing.T) { c.on(t).healsCarrier(old, renewed) })
	t.Run("no Secret but the named", func(t *testing.T) {
		c := c.on(t)
		forbidden(t, "reading another Secret", c.as.Get(t.Context(), client.ObjectKey{Namespace: "cert-manager", Name: "other"}, &corev1.Secret{}))
		forbidden(t, "listing Secrets", c.as.List(t.Context(), &corev1.SecretList{}, client.InNamespace("cert-manager")))
		forbidden(t, "creating a Secret", c.as.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "cert-manager", Name: "other"}}))
	})
}

// anchorIssued waits until the anchor is issued for good, and what was issued is
// read. There is no other.
func (c *cluster) anchorIssued() bundle.Anchor {
	c.Helper()
	want := c.settled("cert-manager", anchorName)
	o := c.reads("the anchor", func(o issuance.Objects) error {
		if len(o.Anchors) != 1 || o.Anchors[0].Issued == nil || o.Anchors[0].Issued.Fingerprint != want.Fingerprint {
			return errStill
		}
		return nil
	})
	return *o.Anchors[0].Issued
}

// copyByHand copies the anchor's Secret whole, its key too, as the documentation
// of Linkerd has it.
func (c *cluster) copyByHand() {
	c.Helper()
	from := c.secret(anchorName)
	to := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: from.Namespace, Name: previous}, Type: from.Type, Data: from.Data}
	if err := c.admin.Create(c.Context(), to); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) rewritesCarrier(old bundle.Anchor) {
	before := c.read().Carrier
	if len(c.secret(previous).Data[corev1.TLSPrivateKeyKey]) == 0 {
		c.Fatal("the copy made by hand holds no key: nothing is shown")
	}
	other := bundle.Of(bundletest.NewRoot(c, "earlier", bundletest.From(time.Now().Add(-time.Hour), 2*time.Hour)).Cert)
	write := lifecycle.Action{Verb: lifecycle.WriteCarrier, Set: other.Union(bundle.FromAnchors(old)), ResourceVersion: before.ResourceVersion}
	if err := c.store.Do(c.Context(), c.mt, write); err != nil {
		c.Fatal(err)
	}
	c.publishes(append(other.Anchors(), old)...)
	s := c.secret(previous)
	if got, err := bundle.Parse(s.Data[corev1.TLSCertKey]); err != nil || !got.Equal(write.Set) {
		c.Errorf("it holds %v, %v", shorts(got), err)
	}
	for key, value := range s.Data {
		if key != corev1.TLSCertKey && len(value) > 0 {
			c.Errorf("it still holds %s", key)
		}
	}
	c.refused("a carrier that has changed", write)
	write.Set, write.ResourceVersion = bundle.Set{}, c.read().Carrier.ResourceVersion
	if err := c.store.Do(c.Context(), c.mt, write); err == nil || apierrors.IsConflict(err) {
		c.Errorf("emptying it: %v", err)
	}
	write.Set = bundle.FromAnchors(old)
	if err := c.store.Do(c.Context(), c.mt, write); err != nil {
		c.Fatal(err)
	}
	c.publishes(old)
}

func (c *cluster) keeps(old bundle.Anchor) {
	cert := c.read().Anchors[0]
	keep := lifecycle.Action{Verb: lifecycle.KeepAnchor, Object: cert.Ref, Secret: keptSecret, Anchor: bundle.Fingerprint{1}}
	c.refused("keeping an anchor that is not there", keep)
	if o := c.read(); o.Kept.Exists {
		c.Fatalf("something was kept: %+v", o.Kept)
	}
	keep.Anchor = old.Fingerprint
	if err := c.store.Do(c.Context(), c.mt, keep); err != nil {
		c.Fatal(err)
	}
	from, to := c.secret(anchorName), c.secret(keptSecret)
	if to.Type != from.Type || !bytes.Equal(from.Data[corev1.TLSPrivateKeyKey], to.Data[corev1.TLSPrivateKeyKey]) || len(to.Data) != len(from.Data) {
		c.Errorf("the copy has type %s and %d keys", to.Type, len(to.Data))
	}
	for key := range to.Annotations {
		if strings.Contains(key, "cert-manager") {
			c.Errorf("the copy carries cert-manager's annotation %s", key)
		}
	}
	if len(to.Labels) > 0 {
		c.Errorf("the copy carries labels %v", to.Labels)
	}
	if got := c.read().Kept; !got.Exists || got.SecretName != keptSecret || got.Anchor != old.Fingerprint {
		c.Errorf("kept is read as %+v", got)
	}
	c.refused("a copy that is there, to one who has read none", keep)
	keep.ResourceVersion = "1"
	c.refused("a copy that has changed", keep)
	keep.ResourceVersion = c.read().Kept.ResourceVersion
	if err := c.store.Do(c.Context(), c.mt, keep); err != nil {
		c.Errorf("keeping it again: %v", err)
	}
}

func (c *cluster) renewsHeld(old bundle.Anchor) bundle.Anchor {
	c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.HoldRenewal, o.Anchors[0], true) })
	c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.HoldRenewal, o.Issuers[0], true) })
	c.reads("the holds", func(o issuance.Objects) error {
		if !o.Anchors[0].HoldSeen || !o.Issuers[0].HoldSeen {
			return errStill
		}
		return nil
	})
	c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.Renew, o.Anchors[0], true) })
	c.keepsConditions("cert-manager", anchorName)
	renewed := c.anchorIssued()
	if renewed.Fingerprint == old.Fingerprint {
		c.Fatal("the anchor was not renewed")
	}
	o := c.publishes(old, renewed) // the carrier brings the old one
	if !o.Issuers[0].SignedBy.Contains(old.Fingerprint) {
		c.Errorf("the issuer is signed by %v", shorts(o.Issuers[0].SignedBy))
	}
	c.refused("keeping the old anchor, too late", lifecycle.Action{Verb: lifecycle.KeepAnchor, Object: o.Anchors[0].Ref, Secret: keptSecret, Anchor: old.Fingerprint})
	return renewed
}

func (c *cluster) signsWithEither(old, renewed bundle.Anchor) {
	for _, step := range []struct {
		secret string
		by     bundle.Anchor
	}{{keptSecret, old}, {anchorName, renewed}} {
		c.does(func(o issuance.Objects) lifecycle.Action {
			return lifecycle.Action{Verb: lifecycle.PointIssuer, Secret: step.secret, Token: step.secret, ResourceVersion: o.Pointer.ResourceVersion}
		})
		c.pointed()
		c.settled("linkerd", "linkerd-identity-issuer")
		before := c.read().Issuers[0].Revision
		c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.Renew, o.Issuers[0], true) })
		if o := c.signed(step.by); o.Issuers[0].Revision <= before {
			c.Errorf("it was not renewed: revision %d", before)
		}
	}
}

func (c *cluster) releases() {
	c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.HoldRenewal, o.Issuers[0], false) })
	c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.HoldRenewal, o.Anchors[0], false) })
	c.reads("the release", func(o issuance.Objects) error {
		if o.Anchors[0].Held || o.Issuers[0].Held || o.Anchors[0].RenewalTime.IsZero() || o.Issuers[0].RenewalTime.IsZero() {
			return errStill
		}
		return nil
	})
	for namespace, name := range map[string]string{"linkerd": "linkerd-identity-issuer", "cert-manager": anchorName} {
		u := c.raw("cert-manager.io/v1", "Certificate", namespace, name)
		if left, found, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "renewal"); found {
			c.Errorf("spec.renewal of %s is left as %v: cert-manager's webhook refuses one without a policy, and its controller never renews it", name, left)
		}
	}
	// Somebody else wants it held as well, and goes on.
	held := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {namespace: linkerd, name: linkerd-identity-issuer}, spec: {renewal: {policy: Disabled}}}"), &held.Object); err != nil {
		c.Fatal(err)
	}
	if err := c.admin.Apply(c.Context(), client.ApplyConfigurationFromUnstructured(held), client.FieldOwner("argocd-controller")); err != nil {
		c.Fatal(err)
	}
	for _, yes := range []bool{true, false} {
		c.does(func(o issuance.Objects) lifecycle.Action { return on(lifecycle.HoldRenewal, o.Issuers[0], yes) })
		if got := c.read().Issuers[0].Held; got != yes {
			c.Errorf("held is read as %v, want %v", got, yes)
		}
	}
	u := c.raw("cert-manager.io/v1", "Certificate", "linkerd", "linkerd-identity-issuer")
	if policy, _, _ := unstructured.NestedString(u.Object, "spec", "renewal", "policy"); policy != "Disabled" {
		c.Errorf("what somebody else holds was released: %q", policy)
	}
}

func (c *cluster) dropsKept() {
	drop := lifecycle.Action{Verb: lifecycle.DropKept, Secret: keptSecret, ResourceVersion: "1"}
	c.refused("a copy that has changed", drop)
	c.does(func(o issuance.Objects) lifecycle.Action { drop.ResourceVersion = o.Kept.ResourceVersion; return drop })
	if got := c.read().Kept; got.Exists {
		c.Errorf("it is still there: %+v", got)
	}
}

func (c *cluster) healsCarrier(old, renewed bundle.Anchor) {
	if err := c.admin.Delete(c.Context(), c.secret(previous)); err != nil {
		c.Fatal(err)
	}
	c.reads("the deletion", func(o issuance.Objects) error {
		if o.Carrier.ResourceVersion != "" {
			return errStill
		}
		return nil
	})
	write := lifecycle.Action{Verb: lifecycle.WriteCarrier, Set: bundle.FromAnchors(renewed)}
	if err := c.store.Do(c.Context(), c.mt, write); err != nil {
		c.Fatal(err)
	}
	c.publishes(renewed)
	if s := c.secret(previous); s.Type != corev1.SecretTypeOpaque || len(s.Data) != 1 || len(s.Labels) > 0 {
		c.Errorf("it has type %s, %d keys and labels %v", s.Type, len(s.Data), s.Labels)
	}
	write.Set = bundle.FromAnchors(old)
	c.refused("a carrier that is there, to one who has read none", write)
}

func TestABundleThatReanchorWritesOnALab(t *testing.T) {
	c := newCluster(t, v1alpha1.RotationSpec{BundleWriter: v1alpha1.BundleWriterReanchor}, "generations", "bundlewriter")
	c.lacksNothing()
	root := func(name string) *bundletest.CA {
		return bundletest.NewRoot(t, name, bundletest.From(time.Now().Add(-time.Hour), 3*time.Hour))
	}
	foreign, old, next := root("elsewhere"), root("old"), root("next")
	strange := bundletest.Unparsable(1)
	c.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: linkerd, name: linkerd-identity-trust-roots}\ndata: {other: kept, ca-bundle.crt: " +
		fmt.Sprintf("%q", pems(foreign, old)+strange) + "}\n")
	before := c.read()
	if before.BundleFault != "" {
		t.Errorf("one that a human created is refused: %s", before.BundleFault)
	}
	write := lifecycle.Action{Verb: lifecycle.WriteBundle, Set: before.Bundle.Set.Union(setOf(next)), ResourceVersion: before.Bundle.ResourceVersion}
	if err := c.store.Do(t.Context(), c.mt, write); err != nil {
		t.Fatal(err)
	}
	c.refused("a bundle that has changed", write)
	after := c.read()
	if !after.Bundle.Set.Equal(write.Set) || after.Bundle.Set.Len() != 4 || after.BundleFault != "" {
		t.Errorf("it holds %v, fault %q", shorts(after.Bundle.Set), after.BundleFault)
	}
	data := c.raw("v1", "ConfigMap", "linkerd", "linkerd-identity-trust-roots").Object["data"].(map[string]any)
	if data["other"] != "kept" {
		t.Errorf("another key is gone: %d keys", len(data))
	}
	narrower := lifecycle.Action{Verb: lifecycle.WriteBundle, Set: after.Bundle.Set.Minus(setOf(old)), ResourceVersion: after.Bundle.ResourceVersion}
	if err := c.store.Do(t.Context(), c.mt, narrower); err != nil {
		t.Fatal(err)
	}
	if got := c.read().Bundle.Set; !got.Equal(narrower.Set) || !got.ContainsAll(setOf(foreign)) {
		t.Errorf("it holds %v", shorts(got))
	}
	empty := lifecycle.Action{Verb: lifecycle.WriteBundle, ResourceVersion: c.read().Bundle.ResourceVersion}
	if err := c.store.Do(t.Context(), c.mt, empty); err == nil || apierrors.IsConflict(err) {
		t.Errorf("emptying it: %v", err)
	}
	c.writtenElsewhere()
}

// writtenElsewhere lets another tool apply the key.
func (c *cluster) writtenElsewhere() {
	u := c.raw("v1", "ConfigMap", "linkerd", "linkerd-identity-trust-roots")
	applied := u.DeepCopy()
	applied.SetManagedFields(nil)
	if err := c.admin.Apply(c.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("argocd-controller"), client.ForceOwnership); err != nil {
		c.Fatal(err)
	}
	if got := c.read().BundleFault; !strings.Contains(got, "argocd-controller") {
		c.Errorf("fault %q, want one that names argocd-controller", got)
	}
	if err := c.admin.Delete(c.Context(), u); err != nil {
		c.Fatal(err)
	}
	gone := lifecycle.Action{Verb: lifecycle.WriteBundle, Set: bundle.Of(bundletest.NewRoot(c, "x", bundletest.From(time.Now(), time.Hour)).Cert), ResourceVersion: u.GetResourceVersion()}
	c.refused("a bundle that is gone", gone)
}
