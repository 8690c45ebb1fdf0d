package rotation

import (
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/published"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// at is seconds after the start of these tests, in the resolution of the API.
func at(seconds int) time.Time {
	return now.Truncate(time.Second).Add(time.Duration(seconds) * time.Second)
}

func usable(set bundle.Set, written int) published.Bundle {
	return published.Bundle{Set: set, Reason: v1alpha1.BundleUsable, WrittenAt: at(written)}
}

func anchors(t *testing.T, n int) []*bundletest.CA {
	t.Helper()
	var out []*bundletest.CA
	for range n {
		out = append(out, bundletest.NewRoot(t, "root", bundletest.From(at(-3600), 365*24*time.Hour)))
	}
	return out
}

func TestHistoryCoversOnlyWhatWasSeen(t *testing.T) {
	ca := anchors(t, 2)
	a, both := bundle.Of(ca[0].Cert), bundle.Of(ca[0].Cert, ca[1].Cert)
	type read struct {
		bundle      published.Bundle
		interrupted bool
		at          int
	}
	garbage := published.Bundle{Reason: v1alpha1.BundleInvalid, WrittenAt: at(50)}
	for name, tc := range map[string]struct {
		reads []read
		// started is when a container started that reads the object with a delay
		// of ten seconds; known says whether it can be told what it read.
		started int
		known   bool
		want    bundle.Set
	}{
		"before Reanchor came, but after the object was written": {
			[]read{{usable(a, 0), false, 500}}, 100, true, a},
		"before the object was written": {
			[]read{{usable(a, 0), false, 500}}, -100, false, bundle.Set{}},
		"under the first of two bundles, watched all the time": {
			[]read{{usable(a, 0), false, 1}, {usable(a, 0), false, 95}, {usable(both, 100), false, 101}}, 50, true, a},
		"under the second": {
			[]read{{usable(a, 0), false, 1}, {usable(a, 0), false, 95}, {usable(both, 100), false, 101}}, 120, true, both},
		"while nobody watched and the bundle changed": {
			[]read{{usable(a, 0), false, 1}, {usable(both, 1000), false, 1001}}, 500, false, bundle.Set{}},
		"while nobody watched and the bundle did not change": {
			[]read{{usable(a, 0), false, 1}, {usable(a, 0), false, 1000}}, 500, true, a},
		"while nobody watched and the object was written again with the same set": {
			[]read{{usable(a, 0), false, 1}, {usable(a, 900), false, 1000}}, 500, false, bundle.Set{}},
		"while the object held garbage": {
			[]read{{usable(a, 0), false, 1}, {garbage, false, 51}, {usable(a, 200), true, 201}}, 150, false, bundle.Set{}},
		"after the garbage was repaired": {
			[]read{{usable(a, 0), false, 1}, {garbage, false, 51}, {usable(a, 200), true, 201}}, 220, true, a},
	} {
		t.Run(name, func(t *testing.T) {
			var status v1alpha1.MeshTrustStatus
			var last read
			for _, r := range tc.reads {
				recordBundle(&status, r.bundle, r.interrupted, at(r.at))
				last = r
			}
			end := max(last.at, tc.started+1)
			history := historyOf(&status, last.bundle, at(end))
			got := history.Between(at(tc.started-10), at(tc.started))
			if (got.Knowledge == mesh.Known) != tc.known {
				t.Fatalf("known: %v (%s), want %v", got.Knowledge == mesh.Known, got.Why, tc.known)
			}
			if !got.Sure.Equal(tc.want) {
				t.Errorf("read %d anchors, want %d", got.Sure.Len(), tc.want.Len())
			}
		})
	}
}

func TestABundleThatCannotBeUsedChangesNothing(t *testing.T) {
	a := bundle.Of(anchors(t, 1)[0].Cert)
	var status v1alpha1.MeshTrustStatus
	recordBundle(&status, usable(a, 0), false, at(1))
	for _, reason := range []v1alpha1.Reason{v1alpha1.BundleNotFound, v1alpha1.BundleKeyMissing, v1alpha1.BundleEmpty, v1alpha1.BundleInvalid} {
		recordBundle(&status, published.Bundle{Reason: reason, WrittenAt: at(100)}, false, at(101))
	}
	if status.Bundle.Hash != a.Hash() || len(status.History) != 1 {
		t.Errorf("the last good bundle did not stay in force: %+v", status.Bundle)
	}
}

// The controller's clock may be minutes behind the API server's: a bundle was written
// after it was seen, at every look.
func TestABundleIsOnRecordOnceWhateverTheClocks(t *testing.T) {
	a := bundle.Of(anchors(t, 1)[0].Cert)
	var status v1alpha1.MeshTrustStatus
	for seen := 760; seen < 1300; seen += 5 {
		recordBundle(&status, usable(a, 1000), false, at(seen))
	}
	if len(status.History) != 1 || !status.History[0].FirstSeen.Time.Equal(at(760)) {
		t.Errorf("one publication is on record as %+v", status.History)
	}
}

// The webhook tells by the key that an anchor was renewed, and has no other record of
// it. Generations of an anchor share their name.
func TestTheSummaryTellsARenewalFromANewAnchor(t *testing.T) {
	ca := anchors(t, 2)
	renewed := ca[0].Renew(bundletest.From(at(0), 365*24*time.Hour))
	unparsable, err := bundle.Parse([]byte(bundletest.Unparsable(1)))
	if err != nil {
		t.Fatal(err)
	}
	var status v1alpha1.MeshTrustStatus
	recordBundle(&status, usable(bundle.Of(ca[0].Cert, ca[1].Cert, renewed.Cert).Union(unparsable), 0), false, at(1))
	keys := map[string]string{}
	for _, a := range status.Bundle.Anchors {
		keys[a.Fingerprint] = a.KeyFingerprint
	}
	key := func(ca *bundletest.CA) string { return keys[ca.Fingerprint().String()] }
	if len(key(ca[0])) != 64 || key(renewed) != key(ca[0]) || key(ca[1]) == key(ca[0]) {
		t.Errorf("the keys are %v", keys)
	}
	if k, ok := keys[unparsable.Fingerprints()[0].String()]; !ok || k != "" {
		t.Errorf("of an anchor that cannot be parsed the key is %q", k)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	ca := anchors(t, 2)
	var status v1alpha1.MeshTrustStatus
	for i := range 3 * v1alpha1.MaxHistory {
		recordBundle(&status, usable(bundle.Of(ca[i%2].Cert), 10*i), false, at(10*i+1))
	}
	if len(status.History) != v1alpha1.MaxHistory || int(status.HistoryTotal) != 3*v1alpha1.MaxHistory {
		t.Errorf("%d records of %d", len(status.History), status.HistoryTotal)
	}
	if newest := status.History[0]; newest.Hash != status.Bundle.Hash {
		t.Error("the newest record is not the bundle in force")
	}
}

func TestTwoBundlesWithinOneSecondKeepTheirOrder(t *testing.T) {
	ca := anchors(t, 2)
	var status v1alpha1.MeshTrustStatus
	recordBundle(&status, usable(bundle.Of(ca[0].Cert), 10), false, at(10))
	recordBundle(&status, usable(bundle.Of(ca[1].Cert), 10), false, at(10))
	if !status.History[0].PublishedAt.After(status.History[1].PublishedAt.Time) {
		t.Error("the order of two bundles of one second is lost")
	}
}

func issuerUnder(t *testing.T, root *bundletest.CA, life bundletest.Validity) published.Issuer {
	t.Helper()
	chain, err := bundle.ParseChain([]byte(root.Intermediate("identity", life).PEM()))
	if err != nil {
		t.Fatal(err)
	}
	return published.Issuer{Chain: chain}
}

// The anchor is renewed without carry-over, and a moment later the issuer under
// the new one. Every running pod trusts the old anchor alone and has a leaf under
// it: to roll any of them would part the mesh in two.
func TestAnIssuerWhoseAnchorIsReplacedFirstLeavesItBehindToo(t *testing.T) {
	ca := anchors(t, 2)
	old, renewed := bundle.Of(ca[0].Cert), bundle.Of(ca[1].Cert)
	life := bundletest.From(at(-60), 48*time.Hour)
	mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}
	before, after := issuerUnder(t, ca[0], life), issuerUnder(t, ca[1], life)
	var status v1alpha1.MeshTrustStatus
	look := func(second int, b bundle.Set, i published.Issuer) (needed bundle.Set) {
		recordIssuer(&status, &observation{spec: mt.EffectiveSpec(), current: b, issuer: i}, at(second))
		for _, e := range status.Issuer.Earlier {
			needed = needed.Union(setOf(e.VerifiedBy, old.Union(renewed)))
		}
		return needed
	}
	look(0, old, before)
	for n, i := range []published.Issuer{before, before, after, after} {
		needed := look(1+n, renewed, i)
		hold := rollout.Gate(rollout.GateFacts{Bundle: renewed, Issuer: i.Chain, Earlier: []bundle.Set{needed}}, at(1+n))
		if hold.Reason != v1alpha1.BundleDoesNotTrustIssuer || !strings.Contains(hold.Message, ca[0].Fingerprint().Short()) {
			t.Fatalf("look %d: %+v; want a hold that names the old anchor", n, hold)
		}
	}
	status = v1alpha1.MeshTrustStatus{}
	look(0, old, before)
	look(1, renewed, before)
	if needed := look(2, old.Union(renewed), before); !needed.Empty() {
		t.Errorf("with the old anchor back in the bundle %v is needed", needed.Fingerprints())
	}
}

// The lifetime of issuers is shortened. A replica of identity that missed it signs
// on with the longer-lived one, whatever the issuers after it.
func TestAnIssuerThatEndsBeforeItsPredecessorLeavesThatBehind(t *testing.T) {
	ca := anchors(t, 1)
	mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}
	long := bundletest.From(at(-60), 48*time.Hour)
	var status v1alpha1.MeshTrustStatus
	for n, life := range []bundletest.Validity{long, bundletest.From(at(0), time.Hour), bundletest.From(at(0), 2*time.Hour)} {
		recordIssuer(&status, &observation{spec: mt.EffectiveSpec(), current: bundle.Of(ca[0].Cert), issuer: issuerUnder(t, ca[0], life)}, at(n))
	}
	if got := status.Issuer.Earlier; len(got) != 1 || !got[0].LeavesUntil.Time.Equal(long.NotAfter.Truncate(time.Second)) {
		t.Errorf("want one earlier issuer, whose leaves may live until %s, got %+v", long.NotAfter, got)
	}
}

func TestAnIssuerThatGoesLeavesItsAnchorsBehind(t *testing.T) {
	ca := anchors(t, 2)
	both := bundle.Of(ca[0].Cert, ca[1].Cert)
	life := bundletest.From(at(-60), 48*time.Hour)
	under := func(root *bundletest.CA) published.Issuer { return issuerUnder(t, root, life) }
	mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}
	o := &observation{spec: mt.EffectiveSpec(), current: both, issuer: under(ca[0])}
	var status v1alpha1.MeshTrustStatus
	recordIssuer(&status, o, at(0))
	if got := status.Issuer; len(got.VerifiedBy) != 1 || got.VerifiedBy[0] != ca[0].Fingerprint().String() || len(got.Earlier) != 0 {
		t.Fatalf("want the issuer verified by its root alone, got %+v", got)
	}
	o.issuer = under(ca[0]) // renewed under the same root: its leaves need nothing else
	recordIssuer(&status, o, at(10))
	if len(status.Issuer.Earlier) != 0 {
		t.Error("a renewal under the same anchor leaves nothing behind")
	}
	o.issuer = under(ca[1])
	recordIssuer(&status, o, at(20))
	if got := status.Issuer.Earlier; len(got) != 1 || got[0].VerifiedBy[0] != ca[0].Fingerprint().String() {
		t.Fatalf("want the old root to be needed still, got %+v", got)
	}
	if got, want := status.Issuer.Earlier[0].LeavesUntil.Time, life.NotAfter; !got.Equal(want.Truncate(time.Second)) {
		t.Errorf("needed until %s, want the end of the earlier issuer: %s", got, want)
	}
	o.issuer = published.Issuer{Reason: v1alpha1.IssuerNotFound}
	recordIssuer(&status, o, at(30))
	if status.Issuer == nil || len(status.Issuer.Earlier) != 1 {
		t.Error("an issuer that cannot be read must not wipe what is known")
	}
	o.issuer = under(ca[1])
	recordIssuer(&status, o, at(20).Add(49*time.Hour))
	if n := len(status.Issuer.Earlier); n != 0 {
		t.Errorf("%d earlier issuers are kept after their last leaf has ended", n)
	}
}
