package issuance_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/rotation/issuance"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

func TestAMeshAtRestIsReadWhole(t *testing.T) {
	const anchor, issuer = "linkerd-trust-anchor", "linkerd-identity-issuer"
	for layout, labelled := range map[v1alpha1.Layout]bool{v1alpha1.LayoutGenerations: true, v1alpha1.LayoutInPlace: false} {
		t.Run(string(layout), func(t *testing.T) {
			w := newWorld(t, layout)
			want := issuance.Objects{
				Bundle: lifecycle.Bundle{Set: setOf(w.a, w.foreign)},
				Anchors: []lifecycle.Certificate{{
					Ref: v1alpha1.ObjectRef{Namespace: "cert-manager", Name: anchor}, UID: "uid-anchor", Revision: 1, SecretName: anchor,
					Labelled: labelled, Issued: anchorOf(w.a), CanHold: true, RenewalTime: now.Add(time.Hour),
				}},
				Issuers: []lifecycle.Certificate{{
					Ref: v1alpha1.ObjectRef{Namespace: "linkerd", Name: issuer}, UID: "uid-issuer", Revision: 7, SecretName: issuer,
					Issued: anchorOf(w.issuer), SignedBy: setOf(w.a), CanHold: true, RenewalTime: now.Add(time.Hour),
				}},
				Pointer: lifecycle.Pointer{Known: true, SecretName: anchor, Token: "token"},
			}
			if layout == v1alpha1.LayoutInPlace {
				want.Carrier = lifecycle.Carrier{Set: setOf(w.a)}
			}
			got := w.read()
			if diff := cmp.Diff(want, got, comparers()); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			for what, version := range map[string]string{
				"bundle": got.Bundle.ResourceVersion, "pointer": got.Pointer.ResourceVersion,
				"anchor": got.Anchors[0].ResourceVersion, "issuer": got.Issuers[0].ResourceVersion,
			} {
				if version == "" {
					t.Errorf("the %s has no resourceVersion: no write could be refused", what)
				}
			}
		})
	}
}

func TestWhatDoesNotExistIsAFact(t *testing.T) {
	for _, layout := range []v1alpha1.Layout{v1alpha1.LayoutGenerations, v1alpha1.LayoutInPlace} {
		w := newWorld(t, layout)
		clear(w.objects)
		got := w.read()
		if got.Bundle.Unusable.Reason != v1alpha1.BundleNotFound || got.Pointer.Known || got.Kept.Exists {
			t.Errorf("%s: bundle %v, pointer %v, kept %v", layout, got.Bundle, got.Pointer, got.Kept)
		}
		if len(got.Issuers) != 1 || got.Issuers[0].Issued != nil || got.Issuers[0].Ref.Name != "linkerd-identity-issuer" {
			t.Errorf("%s: issuers %v, want the mesh's own by name alone", layout, got.Issuers)
		}
		if inPlace := layout == v1alpha1.LayoutInPlace; len(got.Anchors) != map[bool]int{true: 1}[inPlace] {
			t.Errorf("%s: anchors %v", layout, got.Anchors)
		}
	}
}

func TestWithoutARotationOnlyTheBundleIsRead(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.mt.Spec.Rotation = nil
	if diff := cmp.Diff(issuance.Objects{Bundle: lifecycle.Bundle{Set: setOf(w.a, w.foreign)}}, w.read(), comparers()); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}

// What a Certificate issued last.
func TestIssued(t *testing.T) {
	const issuer, certificate = "linkerd/linkerd-identity-issuer", "Certificate/linkerd/linkerd-identity-issuer"
	const request = "CertificateRequest/linkerd/linkerd-identity-issuer-7"
	issuing := []any{map[string]any{"type": "Ready", "status": "True"}, map[string]any{"type": "Issuing", "status": "True"}}
	for name, tc := range map[string]struct {
		change func(w *world)
		want   func(w *world) *bundletest.CA
	}{
		"the request of the revision in force counts": {func(w *world) {}, func(w *world) *bundletest.CA { return w.issuer }},
		"one that was signed for the next revision does not count yet": {func(w *world) {
			w.edit(certificate, "status.conditions", issuing)
			w.request(issuer, 8, w.b.Intermediate("identity.linkerd.cluster.local", bundletest.From(now, time.Hour)))
		}, func(w *world) *bundletest.CA { return w.issuer }},
		"one that nobody owns has no say": {func(w *world) {
			w.edit(request, "metadata.ownerReferences", nil)
		}, nil},
		"one of a Certificate that was there before has no say": {func(w *world) {
			w.edit(certificate, "metadata.uid", "another")
		}, nil},
		"one that is not signed yet says nothing": {func(w *world) {
			w.edit(request, "status", map[string]any{})
		}, nil},
		"what was read once is remembered while the next is issued": {func(w *world) {
			w.read()
			w.remove(request)
			w.edit(certificate, "status.conditions", issuing)
		}, func(w *world) *bundletest.CA { return w.issuer }},
		"what was remembered is that of the revision": {func(w *world) {
			w.read()
			w.remove(request)
			w.edit(certificate, "status.revision", int64(8))
		}, nil},
		"after a restart the status of the MeshTrust tells, when the dates agree": {func(w *world) {
			w.remove(request)
			w.onRecord(w.a)
		}, func(w *world) *bundletest.CA { return w.issuer }},
		"after a restart it does not, when the Secret holds another by now": {func(w *world) {
			w.remove(request)
			w.onRecord(w.a)
			w.edit(certificate, "status.notAfter", stamp(now.Add(time.Hour)))
		}, nil},
		"after a restart it does not, when nobody is on record as its signer": {func(w *world) {
			w.remove(request)
			w.onRecord()
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, v1alpha1.LayoutGenerations)
			tc.change(w)
			got := w.read().Issuers[0]
			if tc.want == nil {
				if got.Issued != nil || !got.SignedBy.Empty() {
					t.Fatalf("issued %v signed by %v, want unknown", got.Issued, got.SignedBy.Fingerprints())
				}
				return
			}
			want := tc.want(w)
			if got.Issued == nil || got.Issued.Fingerprint != want.Fingerprint() || !got.Issued.NotAfter.Equal(want.Cert.NotAfter) {
				t.Fatalf("issued %v, want %s", got.Issued, want.Fingerprint().Short())
			}
			if !got.SignedBy.Equal(setOf(w.a)) {
				t.Errorf("signed by %v, want A", got.SignedBy.Fingerprints())
			}
		})
	}
}

// onRecord puts the issuer into the MeshTrust's status.
func (w *world) onRecord(signers ...*bundletest.CA) {
	before, after := metav1.NewTime(w.issuer.Cert.NotBefore), metav1.NewTime(w.issuer.Cert.NotAfter)
	s := &v1alpha1.IssuerStatus{Fingerprint: w.issuer.Fingerprint().String(), NotBefore: &before, NotAfter: &after}
	for _, ca := range signers {
		s.VerifiedBy = append(s.VerifiedBy, ca.Fingerprint().String())
	}
	w.mt.Status.Issuer = s
}

func TestAnAnchorWithoutARequestIsRecognisedByItsDates(t *testing.T) {
	const certificate, request = "Certificate/cert-manager/linkerd-trust-anchor", "CertificateRequest/cert-manager/linkerd-trust-anchor-1"
	for name, tc := range map[string]struct {
		change func(w *world)
		want   bool
	}{
		"among those in the bundle": {func(w *world) {}, true},
		"also when the revision was not restored from a backup": {func(w *world) {
			w.edit(certificate, "status.revision", nil)
		}, true},
		"among those in the archive": {func(w *world) {
			w.publish(w.foreign)
			w.archive(w.a)
		}, true},
		"not when it is nowhere": {func(w *world) { w.publish(w.foreign) }, false},
		"not when two have the same dates": {func(w *world) {
			w.publish(w.a, bundletest.NewRoot(w, "root.linkerd.cluster.local", bundletest.Validity{NotBefore: w.a.Cert.NotBefore, NotAfter: w.a.Cert.NotAfter}))
		}, false},
		"not when another name has the dates": {func(w *world) {
			w.publish(bundletest.NewRoot(w, "root.elsewhere", bundletest.Validity{NotBefore: w.a.Cert.NotBefore, NotAfter: w.a.Cert.NotAfter}))
		}, false},
		"not when its Secret is empty": {func(w *world) {
			w.edit(certificate, "status.notBefore", nil)
			w.edit(certificate, "status.notAfter", nil)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, v1alpha1.LayoutGenerations)
			w.remove(request)
			tc.change(w)
			got := w.read().Anchors[0].Issued
			if (got != nil) != tc.want || got != nil && got.Fingerprint != w.a.Fingerprint() {
				t.Errorf("issued %v, want A: %v", got, tc.want)
			}
			if got != nil && got.Certificate() == nil {
				t.Error("it is known by summary only")
			}
		})
	}
}

func (w *world) archive(cas ...*bundletest.CA) {
	w.add("apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: reanchor-system, name: reanchor-anchors}\ndata: {}\n")
	w.edit("ConfigMap/reanchor-system/reanchor-anchors", "data", map[string]any{"linkerd.pem": pems(cas...), "other.pem": w.foreign.PEM()})
}

func TestTheArchiveOfOtherMeshesIsNotOurs(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.archive(w.a, w.b)
	if got := w.read().Archive; !got.Set.Equal(setOf(w.a, w.b)) || got.ResourceVersion == "" {
		t.Errorf("archive %v", got.Set.Fingerprints())
	}
}

func TestAnIssuerMayBeSignedByAnAnchorThatOnlyTheArchiveKnows(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.issued("cert-manager/linkerd-trust-anchor", 2, w.b)
	w.publish(w.b)
	if got := w.read().Issuers[0].SignedBy; !got.Empty() {
		t.Fatalf("signed by %v, although A is nowhere", got.Fingerprints())
	}
	w.archive(w.a)
	if got := w.read().Issuers[0].SignedBy; !got.Equal(setOf(w.a)) {
		t.Errorf("signed by %v, want A", got.Fingerprints())
	}
}

// The anchor was replaced, in the bundle too, before anybody put it on record:
// cert-manager has noted who signed the issuer. Another authority that it names is
// believed only if it signed.
func TestAnIssuerMayBeSignedByAnAnchorThatOnlyItsRequestNames(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.issued("cert-manager/linkerd-trust-anchor", 2, w.b)
	w.publish(w.b)
	request := w.objects["CertificateRequest/linkerd/linkerd-identity-issuer-7"]
	for ca, want := range map[*bundletest.CA]bundle.Set{w.b: {}, w.a: setOf(w.a)} {
		if err := unstructured.SetNestedField(request.Object, encoded(ca.PEM()), "status", "ca"); err != nil {
			t.Fatal(err)
		}
		if got := w.read().Issuers[0].SignedBy; !got.Equal(want) {
			t.Errorf("signed by %v, want %v", got.Fingerprints(), want.Fingerprints())
		}
	}
	w.archive(w.a)
	if err := unstructured.SetNestedField(request.Object, "no base64", "status", "ca"); err != nil {
		t.Fatal(err)
	}
	if got := w.read().Issuers[0].SignedBy; !got.Equal(setOf(w.a)) {
		t.Errorf("signed by %v, want A as archived", got.Fingerprints())
	}
}

func TestGenerationsAreTheMeshsOwnLabelledCertificates(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	for _, c := range []struct{ namespace, name, of string }{
		{"cert-manager", "linkerd-anchor-10", "linkerd"}, {"cert-manager", "linkerd-anchor-2", "linkerd"},
		{"cert-manager", "linkerd-anchor-3", "other"}, {"shop", "linkerd-anchor-4", "linkerd"},
		{"cert-manager", "linkerd-anchor-5", ""}, {"cert-manager", "adopted", "linkerd"},
	} {
		w.add("apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {namespace: " + c.namespace + ", name: " + c.name +
			", labels: {reanchor.dev/anchor-of: \"" + c.of + "\"}}\nspec: {isCA: true, secretName: " + c.name + "}\n")
	}
	type generation struct {
		Name   string
		Number int
	}
	var got []generation
	for _, c := range w.read().Anchors {
		got = append(got, generation{c.Ref.Name, c.Generation})
	}
	want := []generation{{"adopted", 0}, {"linkerd-trust-anchor", 0}, {"linkerd-anchor-2", 2}, {"linkerd-anchor-10", 10}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("generations (-want +got):\n%s", diff)
	}
}

func TestOtherCertificatesOfTheClusterIssuerCountAsIssuers(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	for _, name := range []string{"z", "a", "n"} {
		w.add("apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {namespace: aaa, name: " + name + ", uid: uid-" + name +
			"}\nspec: {secretName: x, issuerRef: {name: linkerd-identity-issuer, kind: ClusterIssuer, group: cert-manager.io}}\n")
	}
	// An Issuer of the same name is another, and so is one of another group.
	for name, issuer := range map[string]string{"b": "{name: linkerd-identity-issuer, kind: Issuer}", "c": "{name: linkerd-identity-issuer, kind: ClusterIssuer, group: example.com}"} {
		w.add("apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {namespace: aaa, name: " + name + "}\nspec: {secretName: x, issuerRef: " + issuer + "}\nstatus: {revision: 1}\n")
	}
	w.edit("Certificate/aaa/z", "status", map[string]any{"notAfter": stamp(now)}) // restored from a backup
	w.issued("aaa/a", 3, w.a.Intermediate("a", bundletest.From(now.Add(-time.Hour), time.Hour)))
	got := w.read().Issuers
	var names []string
	for _, c := range got {
		names = append(names, c.Ref.Namespace+"/"+c.Ref.Name)
	}
	if diff := cmp.Diff([]string{"linkerd/linkerd-identity-issuer", "aaa/a", "aaa/z"}, names); diff != "" {
		t.Fatalf("issuers (-want +got):\n%s", diff)
	}
	if !got[1].SignedBy.Equal(setOf(w.a)) || got[2].Issued != nil {
		t.Errorf("a is signed by %v, z issued %v", got[1].SignedBy.Fingerprints(), got[2].Issued)
	}
	if got[1].Unfit != "" {
		t.Errorf("unfit: %s; only the mesh's own issuer is judged", got[1].Unfit)
	}
}

func TestHeldRenewals(t *testing.T) {
	const anchor = "Certificate/cert-manager/linkerd-trust-anchor"
	owned := func(manager, operation string) []any {
		return []any{map[string]any{
			"manager": manager, "operation": operation, "apiVersion": "cert-manager.io/v1", "fieldsType": "FieldsV1",
			"fieldsV1": map[string]any{"f:spec": map[string]any{"f:renewal": map[string]any{"f:policy": map[string]any{}}}},
		}}
	}
	disabled := map[string]any{"policy": "Disabled"}
	type holds struct{ Can, Held, Seen bool }
	for name, tc := range map[string]struct {
		change func(w *world)
		want   holds
	}{
		"nobody holds it": {func(w *world) {}, holds{Can: true}},
		"an older cert-manager cannot": {func(w *world) {
			w.edit("CustomResourceDefinition/certificates.cert-manager.io", "spec.versions", []any{map[string]any{"name": "v1"}})
		}, holds{}},
		"a Certificate with windows cannot be held, since cert-manager refuses both": {func(w *world) {
			w.edit(anchor, "spec.renewal", map[string]any{"policy": "RenewBefore", "windows": []any{map[string]any{"cron": "0 1 * * *"}}})
		}, holds{}},
		"held, and cert-manager has not seen it": {func(w *world) {
			w.edit(anchor, "spec.renewal", disabled)
			w.edit(anchor, "metadata.managedFields", owned("reanchor", "Apply"))
		}, holds{Can: true, Held: true}},
		"held and seen": {func(w *world) {
			w.edit(anchor, "spec.renewal", disabled)
			w.edit(anchor, "metadata.managedFields", owned("reanchor", "Apply"))
			w.edit(anchor, "status.renewalTime", nil)
		}, holds{true, true, true}},
		"created that way": {func(w *world) {
			w.edit(anchor, "spec.renewal", disabled)
			w.edit(anchor, "metadata.managedFields", owned("reanchor", "Update"))
			w.edit(anchor, "status.renewalTime", nil)
		}, holds{true, true, true}},
		"somebody else holds it": {func(w *world) {
			w.edit(anchor, "spec.renewal", disabled)
			w.edit(anchor, "metadata.managedFields", owned("kubectl", "Apply"))
			w.edit(anchor, "status.renewalTime", nil)
		}, holds{Can: true}},
		"somebody else has turned it on again": {func(w *world) {
			w.edit(anchor, "spec.renewal", map[string]any{"policy": "RenewBefore"})
			w.edit(anchor, "metadata.managedFields", owned("reanchor", "Apply"))
		}, holds{Can: true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, v1alpha1.LayoutInPlace)
			tc.change(w)
			c := w.read().Anchors[0]
			if diff := cmp.Diff(tc.want, holds{c.CanHold, c.Held, c.HoldSeen}); diff != "" {
				t.Errorf("holds (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIssuanceInFlightAndFailed(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.edit("Certificate/linkerd/linkerd-identity-issuer", "status.conditions", []any{map[string]any{"type": "Issuing", "status": "False"}})
	w.edit("Certificate/linkerd/linkerd-identity-issuer", "status.lastFailureTime", stamp(now))
	w.edit("Certificate/cert-manager/linkerd-trust-anchor", "status.conditions", []any{map[string]any{"type": "Issuing", "status": "True"}})
	got := w.read()
	if c := got.Issuers[0]; c.Issuing || !c.FailedAt.Equal(now) {
		t.Errorf("issuer: issuing %v, failed at %s", c.Issuing, c.FailedAt)
	}
	if c := got.Anchors[0]; !c.Issuing || !c.FailedAt.IsZero() {
		t.Errorf("anchor: issuing %v, failed at %s", c.Issuing, c.FailedAt)
	}
}

func TestTheKeptCopyIsToldByItsMetadata(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutInPlace)
	w.add("apiVersion: v1\nkind: Secret\nmetadata: {namespace: cert-manager, name: linkerd-anchor-kept, annotations: {reanchor.dev/kept-anchor: " +
		w.a.Fingerprint().String() + "}}\n")
	want := lifecycle.Kept{Exists: true, SecretName: "linkerd-anchor-kept", Anchor: w.a.Fingerprint()}
	got := w.read().Kept
	if got.ResourceVersion == "" {
		t.Error("it has no resourceVersion")
	}
	if diff := cmp.Diff(want, got, comparers()); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	w.edit("Secret/cert-manager/linkerd-anchor-kept", "metadata.annotations", nil)
	if got := w.read().Kept; !got.Exists || got.Anchor != (bundle.Fingerprint{}) {
		t.Errorf("a copy of nobody knows what is read as %v", got)
	}
}

func TestThePointerIsACAIssuer(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.edit("ClusterIssuer/linkerd-identity-issuer", "spec", map[string]any{"vault": map[string]any{"server": "x"}})
	if got := w.read().Pointer; got.Known {
		t.Errorf("an issuer of another type is read as %v", got)
	}
}

func TestTheCarrierOfGenerationsIsReanchorsOwn(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.add(secret("linkerd-anchor-carried", w.b.PEM()))
	if got := w.read().Carrier; !got.Set.Equal(setOf(w.b)) || got.ResourceVersion == "" {
		t.Errorf("carrier %v", got)
	}
	w.mt.Spec.Rotation.BundleWriter = v1alpha1.BundleWriterReanchor
	if got := w.read().Carrier; !got.Set.Empty() || got.ResourceVersion != "" {
		t.Errorf("the carrier of a bundle that Reanchor writes is %v, want none", got)
	}
}

func TestABundleThatCannotBeUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(w *world)
		want   v1alpha1.Reason
	}{
		"the object is gone":      {func(w *world) { w.remove(roots) }, v1alpha1.BundleNotFound},
		"the key is gone":         {func(w *world) { w.edit(roots, "data", map[string]any{"other": "x"}) }, v1alpha1.BundleKeyMissing},
		"it holds no certificate": {func(w *world) { w.edit(roots, "data", map[string]any{"ca-bundle.crt": "soon"}) }, v1alpha1.BundleEmpty},
		"it is cut off": {func(w *world) {
			w.edit(roots, "data", map[string]any{"ca-bundle.crt": w.a.PEM()[:100]})
		}, v1alpha1.BundleInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, v1alpha1.LayoutGenerations)
			w.archive(w.a)
			w.mt.Status.Bundle = &v1alpha1.BundleStatus{AnchorCount: 2, Anchors: []v1alpha1.AnchorStatus{
				{Fingerprint: w.a.Fingerprint().String()}, {Fingerprint: w.foreign.Fingerprint().String()},
			}}
			tc.change(w)
			got := w.read().Bundle
			if got.Unusable.Reason != tc.want || got.Unusable.Message == "" {
				t.Errorf("unusable: %v, want %s", got.Unusable, tc.want)
			}
			if !got.Set.Equal(setOf(w.a, w.foreign)) {
				t.Fatalf("the last good bundle is %v", got.Set.Fingerprints())
			}
			if a, _ := got.Set.Anchor(w.a.Fingerprint()); a.Certificate() == nil {
				t.Error("the own anchor is known by summary only, although the archive has it")
			}
		})
	}
	w := newWorld(t, v1alpha1.LayoutGenerations)
	expired := bundletest.NewRoot(t, "old", bundletest.From(now.Add(-2*time.Hour), time.Hour))
	w.publish(expired)
	if got := w.read().Bundle; got.Unusable.Reason != "" || !got.Set.Equal(setOf(expired)) {
		t.Errorf("a bundle of which every anchor has expired is read as %v", got)
	}
}

// An error of the API, a missing right included, is no fact.
func TestAReadThatFailsIsAnError(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.start()
	const reads = 10
	for n := range reads + 1 {
		failing := &failingReader{Reader: w.client, left: n}
		w.store.Live = failing
		_, err := w.store.Read(t.Context(), w.mt, true)
		if !failing.failed {
			if n != reads {
				t.Fatalf("there were %d reads, want %d", n, reads)
			}
			continue
		}
		if err == nil {
			t.Errorf("read %d failed and is taken for a fact: %s", n, failing.what)
		}
	}
}
