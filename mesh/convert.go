package mesh

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// FromMeshTrust returns the mesh that the object describes, with the defaults
// of its profile.
func FromMeshTrust(mt *v1alpha1.MeshTrust) Mesh {
	spec := mt.EffectiveSpec()
	m := Mesh{
		Name:      mt.Name,
		Profile:   Profile(spec.Profile),
		Namespace: spec.ControlPlaneNamespace,
		EnvDelay:  spec.Bundle.Propagation.Environment.Duration,
		FileDelay: spec.Bundle.Propagation.File.Duration,
		ClockSkew: spec.Admission.ClockSkew.Duration,
	}
	namespace := m.readBundle(spec.Bundle)
	switch {
	case m.Profile == Generic:
		m.readGeneric(spec.Generic)
		m.Namespace = namespace
	case namespace != "" && namespace != m.Namespace:
		// The published object is not in the control plane's namespace, so no
		// pod there can refer to it. An object's name holds no slash: nothing
		// equals this reference.
		m.Bundle.Name = namespace + "/" + m.Bundle.Name
	}
	return m
}

// readBundle sets the reference to the published object and returns its
// namespace, "" for a cluster-scoped one.
func (m *Mesh) readBundle(b v1alpha1.BundleSpec) (namespace string) {
	switch {
	case b.ConfigMapRef != nil:
		m.Bundle = Reference{Object{ConfigMap, b.ConfigMapRef.Name}, b.ConfigMapRef.Key}
		return b.ConfigMapRef.Namespace
	case b.SecretRef != nil:
		m.Bundle = Reference{Object{Secret, b.SecretRef.Name}, b.SecretRef.Key}
		return b.SecretRef.Namespace
	case b.ClusterTrustBundleRef != nil:
		m.Bundle = Reference{Object: Object{ClusterTrustBundle, b.ClusterTrustBundleRef.Name}}
	}
	return ""
}

func (m *Mesh) readGeneric(g *v1alpha1.GenericSpec) {
	if g == nil {
		return
	}
	m.Containers = slices.Clone(g.Containers)
	m.Literal = g.LiteralEnvVar
	m.Reloads = g.Reload == v1alpha1.ReloadHot
}

// PublishedSet restores the published bundle from the summary in status. It is
// false when there is none yet, or when the list of anchors was cut.
func PublishedSet(b *v1alpha1.BundleStatus) (bundle.Set, bool) {
	if b == nil || int(b.AnchorCount) > len(b.Anchors) {
		return bundle.Set{}, false
	}
	anchors := make([]bundle.Anchor, 0, len(b.Anchors))
	for _, a := range b.Anchors {
		f, err := bundle.ParseFingerprint(a.Fingerprint)
		if err != nil {
			return bundle.Set{}, false
		}
		// Controllers before keyFingerprint did not write it: the key is unknown then.
		key, _ := bundle.ParseFingerprint(a.KeyFingerprint)
		anchors = append(anchors, bundle.Anchor{
			Fingerprint: f, Subject: a.Subject, Key: key, NotBefore: timeOf(a.NotBefore), NotAfter: timeOf(a.NotAfter),
		})
	}
	return bundle.FromAnchors(anchors...), len(anchors) > 0
}

// HistoryOf restores the history of the published bundle from status, so that
// whoever has only the MeshTrust can tell what a reference gave. Anchors that
// the published bundle still holds are known with subject and validity, older
// ones by fingerprint.
//
// A record whose fingerprints were cut, or cannot be read, is left out and
// leaves a gap: what started then is Unknown.
func HistoryOf(status *v1alpha1.MeshTrustStatus) History {
	records := slices.Clone(status.History)
	slices.SortStableFunc(records, func(a, b v1alpha1.BundleRecord) int { return a.PublishedAt.Compare(b.PublishedAt.Time) })
	current, _ := PublishedSet(status.Bundle)
	history := make(History, 0, len(records))
	for _, r := range records {
		set, ok := recordedSet(r, current)
		if !ok {
			history.endBy(r.PublishedAt.Time)
			continue
		}
		history = append(history, Publication{Set: set, PublishedAt: r.PublishedAt.Time, LastSeen: r.LastSeen.Time})
	}
	return history
}

// recordedSet restores one bundle of the history; details holds what is known
// of anchors that are still published.
func recordedSet(r v1alpha1.BundleRecord, details bundle.Set) (bundle.Set, bool) {
	if len(r.Fingerprints) == 0 || int(r.FingerprintsTotal) > len(r.Fingerprints) {
		return bundle.Set{}, false
	}
	anchors := make([]bundle.Anchor, 0, len(r.Fingerprints))
	for _, text := range r.Fingerprints {
		f, err := bundle.ParseFingerprint(text)
		if err != nil {
			return bundle.Set{}, false
		}
		anchor, ok := details.Anchor(f)
		if !ok {
			anchor = bundle.Anchor{Fingerprint: f}
		}
		anchors = append(anchors, anchor)
	}
	return bundle.FromAnchors(anchors...), true
}

// endBy makes sure that the last publication does not reach past t, when one
// that is not on record began.
func (h History) endBy(t time.Time) {
	if n := len(h); n > 0 && h[n-1].LastSeen.After(t) {
		h[n-1].LastSeen = t
	}
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
