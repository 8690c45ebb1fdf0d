package rotation

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/rotation/published"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// A pipeline of the documented durations: an issuer lives 48 hours and is renewed
// every 23.
func TestAPipelineMayNarrowWhenTheLastIssuerUnderTheOldAnchorHasEnded(t *testing.T) {
	ca := anchors(t, 3)
	from, to, foreign := ca[0], ca[1], ca[2]
	mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}
	mt.CreationTimestamp = metav1.NewTime(at(0))
	hour := func(n int) time.Time { return at(n * 3600) }
	var chain published.Issuer
	look := func(set bundle.Set, now time.Time) bool {
		recordBundle(&mt.Status, published.Bundle{Set: set, Reason: v1alpha1.BundleUsable, WrittenAt: now}, false, now)
		o := &observation{spec: mt.EffectiveSpec(), current: set, issuer: chain}
		recordIssuer(&mt.Status, o, now)
		return narrowCondition(mt, o, now).Status == metav1.ConditionTrue
	}
	renew := func(by *bundletest.CA, now time.Time) {
		t.Helper()
		parsed, err := bundle.ParseChain([]byte(by.Intermediate("identity", bundletest.From(now, 48*time.Hour)).PEM()))
		if err != nil {
			t.Fatal(err)
		}
		chain = published.Issuer{Chain: parsed}
	}
	expect := func(want bool, set bundle.Set, now time.Time, when string) {
		t.Helper()
		if got := look(set, now); got != want {
			t.Errorf("%s: it is said to be %t", when, got)
		}
	}
	old, both, done := bundle.Of(from.Cert), bundle.Of(from.Cert, to.Cert), bundle.Of(to.Cert)

	renew(from, hour(0))
	expect(false, old, hour(0), "what signed before the MeshTrust is not known")
	renew(from, hour(23))
	expect(false, old, hour(23), "nor after the first renewal")
	renew(from, hour(46))
	expect(true, old, hour(49), "every issuer of the last 48 hours is known")
	expect(false, both, hour(60), "an anchor was added, and nothing switched yet")
	renew(from, hour(69))
	expect(false, both, hour(69), "a renewal under the old anchor is no switch")
	renew(to, hour(70))
	expect(false, both, hour(70), "an issuer under the old anchor lives")
	renew(to, hour(93))
	expect(false, both, hour(116), "it lives on until 48 hours after its renewal")
	renew(to, hour(116))
	expect(true, both, hour(118), "it has ended")
	expect(true, done, hour(119), "the old anchor is dropped")
	expect(false, bundle.Of(to.Cert, foreign.Cert), hour(120), "another anchor was added, which may be the next")
}

// An injector that answered just before the fence may have its pod created after
// it, with the bundle before.
func TestAPipelineSwitchesWhenNoInjectionIsUnderWay(t *testing.T) {
	spec := (&v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}).EffectiveSpec()
	for name, c := range map[string]struct {
		fencedAt, now int // seconds after the bundle was seen
		known, want   bool
	}{
		"there is no fence yet":                           {0, 3600, false, false},
		"the fence was that of an earlier bundle":         {-60, 3600, false, false},
		"it has just been reached":                        {100, 130, true, false},
		"a minute has passed, and not the skew of clocks": {100, 300, true, false},
		"both have":                    {100, 461, true, true},
		"every injector started later": {0, 3600, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := &observation{spec: spec, bundle: published.Bundle{Reason: v1alpha1.BundleUsable}}
			o.facts.Fence = rollout.FenceEvidence{Needed: true, Known: c.known}
			o.facts.Bundle.SeenAt = at(0)
			if c.fencedAt != 0 {
				o.facts.State.FencedAt = at(c.fencedAt)
			}
			if got := switchCondition(o, at(c.now)); (got.Status == metav1.ConditionTrue) != c.want {
				t.Errorf("it is said to be %s: %s", got.Status, got.Message)
			}
		})
	}
}

// What signed leaves before the MeshTrust is not known: it may have lived longer
// than the present issuer does. So a leaf's usual day is waited for at least.
func TestAPipelineOfShortLivedIssuersWaitsForTheLeavesOfUnknownOnes(t *testing.T) {
	ca := anchors(t, 1)[0]
	mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}
	mt.CreationTimestamp = metav1.NewTime(at(0))
	set, minute := bundle.Of(ca.Cert), func(n int) time.Time { return at(n * 60) }
	for n, want := range map[int]bool{1: false, 26: false, 24*60 + 4: false, 24*60 + 6: true} { // and the skew of 5
		o := &observation{spec: mt.EffectiveSpec(), current: set, issuer: issuerUnder(t, ca, bundletest.From(minute(n), 20*time.Minute))}
		status := v1alpha1.MeshTrustStatus{}
		recordBundle(&status, usable(set, 0), false, minute(0))
		recordIssuer(&status, o, minute(n))
		mt.Status = status
		if got := narrowCondition(mt, o, minute(n)); (got.Status == metav1.ConditionTrue) != want {
			t.Errorf("%d minutes after the MeshTrust it is said: %s", n, got.Message)
		}
	}
}
