package rotation

import (
	"cmp"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/anchorrotation"
	"github.com/reanchor/reanchor/rotation/published"
	"github.com/reanchor/reanchor/rotation/record"
)

const (
	// seenEvery is how far behind status.history[].lastSeen may be while
	// nothing else changes: each write of it costs the cluster one.
	seenEvery = 30 * time.Second
	// unwatched is the longest time between two sights after which it is still
	// taken that nothing else was published in between, unless the object says
	// that it was written.
	unwatched = 2 * time.Minute
	// mostSubject is how many bytes of a subject are shown, which its issuer may have
	// made of any length.
	mostSubject = 256
)

// inForce reports whether the outcome of a read is a bundle that pods may have
// read: one that is expired counts, since they did.
func inForce(b published.Bundle) bool {
	return b.Reason == v1alpha1.BundleUsable || b.Reason == v1alpha1.BundleExpired
}

// interrupted reports whether what was published at the last look was no bundle
// that pods may have read; see inForce.
func interrupted(mt *v1alpha1.MeshTrust) bool {
	c := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionBundleValid)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason != string(v1alpha1.BundleExpired)
}

// recordBundle brings status.bundle and status.history up to date with what
// was read. While the published object cannot be used, both stay as they are:
// the last good bundle remains in force (design, section 4).
//
// interrupted says that the object could not be used at the last look. What was
// there then is in no record, so that a pod that started then stays Unknown.
func recordBundle(s *v1alpha1.MeshTrustStatus, b published.Bundle, interrupted bool, now time.Time) {
	newest := newestRecord(s)
	if !inForce(b) {
		if newest != nil && !interrupted {
			endRecord(newest, cmp.Or(b.WrittenAt, now))
		}
		return
	}
	hash := b.Set.Hash()
	switch {
	case newest == nil || newest.Hash != hash, interrupted, rewritten(b, newest):
		beginRecord(s, b, interrupted, now)
	case now.Sub(newest.LastSeen.Time) >= seenEvery:
		newest.LastSeen = second(now)
	}
	own := ownOf(s.Bundle)
	s.Bundle = bundleStatus(b, hash, newestRecord(s).PublishedAt)
	markOwn(s.Bundle, own)
}

// rewritten reports whether the same set was written again so long after it was last
// seen that something else may have been there in between: of that begins a new record.
// The write that the record is of is no other, however far the controller's clock is
// behind the API server's.
func rewritten(b published.Bundle, r *v1alpha1.BundleRecord) bool {
	return b.WrittenAt.After(r.PublishedAt.Time) && b.WrittenAt.After(r.LastSeen.Add(unwatched))
}

func newestRecord(s *v1alpha1.MeshTrustStatus) *v1alpha1.BundleRecord {
	if len(s.History) == 0 {
		return nil
	}
	return &s.History[0]
}

// endRecord notes that a bundle was in force until something else was written,
// if it was seen a moment before; otherwise what was in force in between is not
// known, and whoever started then stays Unknown. It may have been seen a moment
// after, too, in a cache that was late.
func endRecord(r *v1alpha1.BundleRecord, at time.Time) {
	if at.Sub(r.LastSeen.Time).Abs() < unwatched {
		r.LastSeen = second(at)
	}
}

// beginRecord adds a publication, which ends the one before unless something
// else did.
func beginRecord(s *v1alpha1.MeshTrustStatus, b published.Bundle, interrupted bool, now time.Time) {
	publishedAt := b.WrittenAt
	if publishedAt.IsZero() {
		publishedAt = now
	}
	if last := newestRecord(s); last != nil {
		if !publishedAt.After(last.PublishedAt.Time) {
			// Two bundles within one second, the resolution of the API: keep the
			// later one a second apart, so that the order stays known.
			publishedAt = last.PublishedAt.Add(time.Second)
		}
		if !interrupted {
			endRecord(last, publishedAt)
		}
	}
	fingerprints := make([]string, 0, b.Set.Len())
	for _, f := range capped(b.Set.Fingerprints(), v1alpha1.MaxAnchors) {
		fingerprints = append(fingerprints, f.String())
	}
	record := v1alpha1.BundleRecord{
		Hash: b.Set.Hash(), Fingerprints: fingerprints, FingerprintsTotal: int32(b.Set.Len()),
		PublishedAt: second(publishedAt), FirstSeen: second(now), LastSeen: second(now),
	}
	s.History = capped(slices.Insert(s.History, 0, record), v1alpha1.MaxHistory)
	s.HistoryTotal++
}

func bundleStatus(b published.Bundle, hash string, publishedAt metav1.Time) *v1alpha1.BundleStatus {
	out := &v1alpha1.BundleStatus{Hash: hash, Source: b.Source, PublishedAt: &publishedAt, AnchorCount: int32(b.Set.Len())}
	for _, a := range capped(b.Set.Anchors(), v1alpha1.MaxAnchors) {
		anchor := v1alpha1.AnchorStatus{Fingerprint: a.Fingerprint.String(), Subject: record.ClipTo(a.Subject, mostSubject)}
		if a.Key != (bundle.Fingerprint{}) {
			anchor.KeyFingerprint = a.Key.String()
		}
		if a.ValidityKnown() {
			anchor.NotBefore, anchor.NotAfter = timeRef(a.NotBefore), timeRef(a.NotAfter)
		}
		out.Anchors = append(out.Anchors, anchor)
	}
	return out
}

// ownOf returns the fingerprints of the anchors that are on record as own.
func ownOf(b *v1alpha1.BundleStatus) map[string]bool {
	own := map[string]bool{}
	if b == nil {
		return own
	}
	for i := range b.Anchors {
		own[b.Anchors[i].Fingerprint] = b.Anchors[i].Own
	}
	return own
}

// markOwn marks own anchors.
func markOwn(b *v1alpha1.BundleStatus, own map[string]bool) {
	for i := range b.Anchors {
		b.Anchors[i].Own = b.Anchors[i].Own || own[b.Anchors[i].Fingerprint]
	}
}

// historyOf returns the history as the profiles use it. The bundle in force is
// in force at this moment, and its certificates are at hand.
func historyOf(s *v1alpha1.MeshTrustStatus, b published.Bundle, now time.Time) mesh.History {
	history := mesh.HistoryOf(s)
	for i := range history {
		history[i].Set = b.Set.Intersect(history[i].Set).Union(history[i].Set)
	}
	if n := len(history); n > 0 && inForce(b) && history[n-1].LastSeen.Before(now) {
		history[n-1].LastSeen = now
	}
	return history
}

// recordIssuer brings status.issuer up to date. An issuer that goes leaves its
// anchors behind until the last leaf it may have signed has ended; so does one
// that stays while its anchors go from the bundle. Its successor under the new
// anchors verifies, and would else hide that every leaf still needs the old.
func recordIssuer(s *v1alpha1.MeshTrustStatus, o *observation, now time.Time) {
	i := o.issuer
	switch {
	case i.None:
		s.Issuer = nil
		return
	case len(i.Chain) == 0:
		return // not read: the last one stays on record
	}
	cert := i.Chain[0]
	verifiedBy := o.current.VerifiedBy(i.Chain, now).Fingerprints()
	next := &v1alpha1.IssuerStatus{
		Fingerprint: bundle.FingerprintOf(cert.Raw).String(), Subject: record.ClipTo(cert.Subject.String(), mostSubject), Source: i.Source,
		NotBefore: timeRef(cert.NotBefore), NotAfter: timeRef(cert.NotAfter),
		VerifiedByTotal: int32(len(verifiedBy)), Since: timeRef(now), SignedSince: timeRef(now),
	}
	for _, f := range capped(verifiedBy, v1alpha1.MaxAnchors) {
		next.VerifiedBy = append(next.VerifiedBy, f.String())
	}
	if s.Issuer != nil {
		succeed(next, s.Issuer, leafLifetime(&o.spec), now)
	}
	next.Earlier = slices.DeleteFunc(anchorrotation.LiveIssuers(next.Earlier, o.runs), func(e v1alpha1.EarlierIssuer) bool {
		return now.After(e.LeavesUntil.Time) || e.Fingerprint == next.Fingerprint && len(next.VerifiedBy) > 0
	})
	next.EarlierTotal = int32(len(next.Earlier))
	next.Earlier = capped(next.Earlier, v1alpha1.MaxEarlierIssuers)
	s.Issuer = next
}

// succeed takes over what the last record knows, and adds the issuer of that to
// the earlier ones when leaves may need anchors that the next does not, or need
// them for longer.
func succeed(next, last *v1alpha1.IssuerStatus, leafLifetime time.Duration, now time.Time) {
	next.Earlier = last.Earlier
	same, asBefore := last.Fingerprint == next.Fingerprint, slices.Equal(last.VerifiedBy, next.VerifiedBy)
	if same {
		next.Since = cmp.Or(last.Since, next.Since)
	}
	if asBefore {
		next.SignedSince = cmp.Or(last.SignedSince, last.Since, next.SignedSince)
	}
	replaced := !same && (!asBefore || outlives(last, next))
	deserted := !asBefore && len(next.VerifiedBy) == 0
	if len(last.VerifiedBy) > 0 && (replaced || deserted) {
		next.Earlier = withEarlier(last, leafLifetime, now)
	}
}

// outlives reports whether an issuer ends after the one that replaced it, as when
// the lifetime of issuers was shortened. No other record tells of it then.
func outlives(last, next *v1alpha1.IssuerStatus) bool {
	return last.NotAfter != nil && next.NotAfter != nil && last.NotAfter.After(next.NotAfter.Time)
}

// withEarlier adds the issuer to those whose leaves may live on. A leaf never
// outlives its issuer, and until that ends an identity replica whose watch of
// the file has died may go on signing with it (facts, "Identity"): so its end is
// what counts, and a leaf's lifetime only where the end is not known.
func withEarlier(last *v1alpha1.IssuerStatus, leafLifetime time.Duration, now time.Time) []v1alpha1.EarlierIssuer {
	until := now.Add(leafLifetime)
	if last.NotAfter != nil {
		until = last.NotAfter.Time
	}
	kept := slices.DeleteFunc(slices.Clone(last.Earlier), func(e v1alpha1.EarlierIssuer) bool { return e.Fingerprint == last.Fingerprint })
	return slices.Insert(kept, 0, v1alpha1.EarlierIssuer{
		Fingerprint: last.Fingerprint, VerifiedBy: last.VerifiedBy, VerifiedByTotal: last.VerifiedByTotal,
		ReplacedAt: timeRef(now), LeavesUntil: second(until),
	})
}

// setOf restores a set from fingerprints; what the published bundle holds of
// it is known in full.
func setOf(fingerprints []string, details bundle.Set) bundle.Set {
	var anchors []bundle.Anchor
	for _, text := range fingerprints {
		f, err := bundle.ParseFingerprint(text)
		if err != nil {
			continue
		}
		a, ok := details.Anchor(f)
		if !ok {
			a = bundle.Anchor{Fingerprint: f}
		}
		anchors = append(anchors, a)
	}
	return bundle.FromAnchors(anchors...)
}

func timeRef(t time.Time) *metav1.Time {
	at := second(t)
	return &at
}
