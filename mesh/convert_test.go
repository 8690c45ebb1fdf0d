package mesh_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
)

func TestAMeshIsReadFromAMeshTrust(t *testing.T) {
	const env, file, skew = 10 * time.Second, 150 * time.Second, 5 * time.Minute
	for name, tc := range map[string]struct {
		spec v1alpha1.MeshTrustSpec
		want mesh.Mesh
	}{
		"a Linkerd mesh needs nothing but its profile": {
			v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd},
			mesh.Mesh{
				Profile: mesh.Linkerd, Namespace: "linkerd", EnvDelay: env, FileDelay: file, ClockSkew: skew,
				Bundle: mesh.Reference{Object: mesh.Object{Kind: mesh.ConfigMap, Name: "linkerd-identity-trust-roots"}, Key: "ca-bundle.crt"},
			},
		},
		"a bundle outside the control plane's namespace is what no pod refers to": {
			v1alpha1.MeshTrustSpec{
				Profile: v1alpha1.ProfileLinkerd, ControlPlaneNamespace: "linkerd",
				Bundle: v1alpha1.BundleSpec{ConfigMapRef: &v1alpha1.KeyRef{Namespace: "pki", Name: "roots"}},
			},
			mesh.Mesh{
				Profile: mesh.Linkerd, Namespace: "linkerd", EnvDelay: env, FileDelay: file, ClockSkew: skew,
				Bundle: mesh.Reference{Object: mesh.Object{Kind: mesh.ConfigMap, Name: "pki/roots"}, Key: "ca-bundle.crt"},
			},
		},
		"a Generic mesh with a Secret and its own names": {
			v1alpha1.MeshTrustSpec{
				Profile: v1alpha1.ProfileGeneric,
				Bundle: v1alpha1.BundleSpec{
					SecretRef:   &v1alpha1.KeyRef{Namespace: "erlang", Name: "dist-ca", Key: "ca.pem"},
					Propagation: v1alpha1.PropagationSpec{File: &metav1.Duration{Duration: time.Minute}},
				},
				Issuer:    v1alpha1.IssuerSpec{None: true},
				Generic:   &v1alpha1.GenericSpec{Containers: []string{"beam"}, LiteralEnvVar: "CA", Reload: v1alpha1.ReloadHot},
				Admission: v1alpha1.AdmissionSpec{ClockSkew: &metav1.Duration{Duration: time.Second}},
			},
			mesh.Mesh{
				Profile: mesh.Generic, Namespace: "erlang", EnvDelay: env, FileDelay: time.Minute, ClockSkew: time.Second,
				Bundle:  mesh.Reference{Object: mesh.Object{Kind: mesh.Secret, Name: "dist-ca"}, Key: "ca.pem"},
				Literal: "CA", Containers: []string{"beam"}, Reloads: true,
			},
		},
		"a Generic mesh's members are where its bundle is, whatever the control plane": {
			v1alpha1.MeshTrustSpec{
				Profile: v1alpha1.ProfileGeneric, ControlPlaneNamespace: "elsewhere",
				Bundle: v1alpha1.BundleSpec{ConfigMapRef: &v1alpha1.KeyRef{Namespace: "app", Name: "roots"}},
			},
			mesh.Mesh{
				Profile: mesh.Generic, Namespace: "app", EnvDelay: env, FileDelay: file, ClockSkew: skew,
				Bundle: mesh.Reference{Object: mesh.Object{Kind: mesh.ConfigMap, Name: "roots"}, Key: "ca.crt"},
			},
		},
		"a ClusterTrustBundle has no namespace": {
			v1alpha1.MeshTrustSpec{
				Profile: v1alpha1.ProfileGeneric,
				Bundle:  v1alpha1.BundleSpec{ClusterTrustBundleRef: &v1alpha1.ClusterObjectRef{Name: "roots"}},
			},
			mesh.Mesh{
				Profile: mesh.Generic, EnvDelay: env, FileDelay: file, ClockSkew: skew,
				Bundle: mesh.Reference{Object: mesh.Object{Kind: mesh.ClusterTrustBundle, Name: "roots"}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.want.Name = "main"
			got := mesh.FromMeshTrust(&v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: tc.spec})
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// summary describes anchors as status does.
func summary(cas ...*bundletest.CA) *v1alpha1.BundleStatus {
	s := &v1alpha1.BundleStatus{AnchorCount: int32(len(cas))}
	for _, ca := range cas {
		s.Anchors = append(s.Anchors, v1alpha1.AnchorStatus{
			Fingerprint: ca.Fingerprint().String(), Subject: ca.Cert.Subject.String(), KeyFingerprint: bundle.Of(ca.Cert).Anchors()[0].Key.String(),
			NotBefore: &metav1.Time{Time: ca.Cert.NotBefore}, NotAfter: &metav1.Time{Time: ca.Cert.NotAfter},
		})
	}
	return s
}

func record(from, to time.Time, cas ...*bundletest.CA) v1alpha1.BundleRecord {
	r := v1alpha1.BundleRecord{PublishedAt: metav1.NewTime(from), LastSeen: metav1.NewTime(to), FingerprintsTotal: int32(len(cas))}
	for _, ca := range cas {
		r.Fingerprints = append(r.Fingerprints, ca.Fingerprint().String())
	}
	return r
}

func TestThePublishedSetIsRestoredFromStatus(t *testing.T) {
	a := bundletest.NewRoot(t, "a", bundletest.From(now, time.Hour))
	got, ok := mesh.PublishedSet(summary(a))
	if !ok || got.Hash() != bundle.Of(a.Cert).Hash() {
		t.Fatalf("restored %d anchors, %v", got.Len(), ok)
	}
	if anchor := got.Anchors()[0]; anchor.Subject != "CN=a" || !anchor.ExpiredAt(now.Add(2*time.Hour)) {
		t.Errorf("the anchor lost its subject or its end: %+v", anchor)
	}
	if anchor := got.Anchors()[0]; anchor.Key != bundle.Of(a.Cert).Anchors()[0].Key {
		t.Error("the anchor lost its key")
	}
	keyless := summary(a)
	keyless.Anchors[0].KeyFingerprint = ""
	if got, ok := mesh.PublishedSet(keyless); !ok || got.Anchors()[0].Key != (bundle.Fingerprint{}) {
		t.Error("a summary without keys is one, of anchors whose keys are not known")
	}
	cut, bad := summary(a), summary(a)
	cut.AnchorCount = 65
	bad.Anchors[0].Fingerprint = "abc"
	for name, status := range map[string]*v1alpha1.BundleStatus{"none": nil, "cut": cut, "unreadable": bad, "empty": {}} {
		if _, ok := mesh.PublishedSet(status); ok {
			t.Errorf("a summary that is %s counts as known", name)
		}
	}
}

func TestTheHistoryIsRestoredFromStatus(t *testing.T) {
	a := bundletest.NewRoot(t, "a", bundletest.From(now, time.Hour))
	b := bundletest.NewRoot(t, "b", bundletest.From(now, time.Hour))
	hour := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
	status := v1alpha1.MeshTrustStatus{
		Bundle:  summary(b),
		History: []v1alpha1.BundleRecord{record(hour(2), hour(4), b), record(hour(0), hour(2), a, b)},
	}
	cut := *status.DeepCopy()
	cut.History[0].FingerprintsTotal = 65
	cut.History[1].LastSeen = metav1.NewTime(hour(3))
	for name, tc := range map[string]struct {
		status v1alpha1.MeshTrustStatus
		at     time.Time
		want   mesh.Trust
	}{
		"the first bundle":                        {status, hour(1), mesh.Trust{Knowledge: mesh.Known, Sure: bundle.Of(a.Cert, b.Cert)}},
		"the second bundle":                       {status, hour(3), mesh.Trust{Knowledge: mesh.Known, Sure: bundle.Of(b.Cert)}},
		"after the last one was seen":             {status, hour(5), mesh.Trust{}},
		"while one whose list was cut was there":  {cut, hour(3), mesh.Trust{}},
		"before one whose list was cut was there": {cut, hour(1), mesh.Trust{Knowledge: mesh.Known, Sure: bundle.Of(a.Cert, b.Cert)}},
		"at the moment it came":                   {cut, hour(2).Add(time.Second), mesh.Trust{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := mesh.HistoryOf(&tc.status).Between(tc.at, tc.at)
			if got.Knowledge != tc.want.Knowledge || !got.Sure.Equal(tc.want.Sure) {
				t.Errorf("got knowledge %d of %d anchors, want %d of %d", got.Knowledge, got.Sure.Len(), tc.want.Knowledge, tc.want.Sure.Len())
			}
		})
	}
	newest := mesh.HistoryOf(&status)[1].Set.Anchors()[0]
	if newest.Subject != "CN=b" || !newest.ValidityKnown() {
		t.Error("an anchor that is still published is known with subject and validity")
	}
	if len(status.History) != 2 || !status.History[0].PublishedAt.Time.Equal(hour(2)) {
		t.Error("the status was reordered")
	}
}
