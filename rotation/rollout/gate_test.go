package rollout_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/rotation/rollout"
)

func TestNothingIsRolledTowardsABundleThatFailsTheIssuer(t *testing.T) {
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	long := bundletest.From(now.Add(-time.Hour), 1000*time.Hour)
	root, other := bundletest.NewRoot(t, "root", long), bundletest.NewRoot(t, "other", long)
	renewed := root.Renew(bundletest.From(now.Add(-time.Minute), 2000*time.Hour))
	lapsed := root.Renew(bundletest.From(now.Add(-2*time.Hour), time.Hour))
	future := root.Renew(bundletest.From(now.Add(time.Hour), time.Hour))
	ending := bundletest.NewRoot(t, "ending", bundletest.From(now.Add(-time.Hour), time.Hour+time.Minute))
	issuer := root.Intermediate("issuer", long)
	shortIssuer := root.Intermediate("issuer", bundletest.From(now.Add(-time.Hour), time.Hour+time.Minute))
	endedIssuer := root.Intermediate("issuer", bundletest.From(now.Add(-2*time.Hour), time.Hour))
	chain := func(c *bundletest.CA) []*x509.Certificate { return []*x509.Certificate{c.Cert} }
	set := func(cas ...*bundletest.CA) bundle.Set {
		var s bundle.Set
		for _, c := range cas {
			s = s.Union(bundle.Of(c.Cert))
		}
		return s
	}

	for name, c := range map[string]struct {
		facts rollout.GateFacts
		want  v1alpha1.Reason
	}{
		"the bundle verifies the issuer":                                    {rollout.GateFacts{Bundle: set(root, other), Issuer: chain(issuer)}, ""},
		"the anchor was replaced without a carry-over":                      {rollout.GateFacts{Bundle: set(other), Issuer: chain(issuer)}, v1alpha1.BundleDoesNotTrustIssuer},
		"a renewal with the same key verifies the issuer":                   {rollout.GateFacts{Bundle: set(renewed), Issuer: chain(issuer)}, ""},
		"the issuer cannot be read":                                         {rollout.GateFacts{Bundle: set(root)}, v1alpha1.IssuerUnknown},
		"the mesh has no issuer":                                            {rollout.GateFacts{Bundle: set(root), NoIssuer: true}, ""},
		"the issuer has expired":                                            {rollout.GateFacts{Bundle: set(root), Issuer: chain(endedIssuer)}, v1alpha1.IssuerExpired},
		"the issuer ends within the skew, which says nothing on the bundle": {rollout.GateFacts{Bundle: set(root), Issuer: chain(shortIssuer)}, ""},
		"the anchor ends within the skew":                                   {rollout.GateFacts{Bundle: set(ending, other), Issuer: chain(ending.Intermediate("issuer", long))}, v1alpha1.BundleDoesNotTrustIssuer},
		"the bundle is empty":                                               {rollout.GateFacts{NoIssuer: true}, v1alpha1.BundleExpired},
		"every anchor of the bundle has expired":                            {rollout.GateFacts{Bundle: set(lapsed), NoIssuer: true}, v1alpha1.BundleExpired},
		"leaves of an earlier issuer chain to an anchor of the bundle":      {rollout.GateFacts{Bundle: set(root, other), Issuer: chain(issuer), Earlier: []bundle.Set{set(other)}}, ""},
		"leaves of an earlier issuer chain to an anchor that was dropped":   {rollout.GateFacts{Bundle: set(root), Issuer: chain(issuer), Earlier: []bundle.Set{set(other)}}, v1alpha1.BundleDoesNotTrustIssuer},
		"that holds without an issuer as well":                              {rollout.GateFacts{Bundle: set(root), NoIssuer: true, Earlier: []bundle.Set{set(other)}}, v1alpha1.BundleDoesNotTrustIssuer},
		"one of several anchors of an earlier issuer is enough":             {rollout.GateFacts{Bundle: set(root), Issuer: chain(issuer), Earlier: []bundle.Set{set(other, root)}}, ""},
		"every earlier issuer needs one":                                    {rollout.GateFacts{Bundle: set(root), Issuer: chain(issuer), Earlier: []bundle.Set{set(root), set(other)}}, v1alpha1.BundleDoesNotTrustIssuer},
		"an earlier anchor that has expired is not needed":                  {rollout.GateFacts{Bundle: set(other), Issuer: chain(other.Intermediate("issuer", long)), Earlier: []bundle.Set{set(lapsed)}}, ""},
		"a renewal serves an earlier issuer":                                {rollout.GateFacts{Bundle: set(renewed), NoIssuer: true, Earlier: []bundle.Set{set(root)}}, ""},
		"a renewal that has expired serves nobody":                          {rollout.GateFacts{Bundle: set(lapsed, other), NoIssuer: true, Earlier: []bundle.Set{set(root)}}, v1alpha1.BundleDoesNotTrustIssuer},
		"a renewal that is not valid yet serves nobody":                     {rollout.GateFacts{Bundle: set(future, other), NoIssuer: true, Earlier: []bundle.Set{set(root)}}, v1alpha1.BundleDoesNotTrustIssuer},
	} {
		t.Run(name, func(t *testing.T) {
			c.facts.Skew = 5 * time.Minute
			got := rollout.Gate(c.facts, now)
			if got.Reason != c.want {
				t.Errorf("got %q (%s), want %q", got.Reason, got.Message, c.want)
			}
			if strings.Contains(got.Message, "BEGIN") {
				t.Errorf("the message holds a PEM body: %s", got.Message)
			}
		})
	}
}

// An issuer that is renewed under the only anchor left would be one that no
// running pod trusts; so that is advised only where a wrong issuer came instead
// of one under the bundle.
func TestTheWaysOutOfAnIssuerThatIsNotTrusted(t *testing.T) {
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	long := bundletest.From(now.Add(-time.Hour), 1000*time.Hour)
	root, other := bundletest.NewRoot(t, "root", long), bundletest.NewRoot(t, "other", long)
	facts := rollout.GateFacts{Bundle: bundle.Of(root.Cert), Issuer: []*x509.Certificate{other.Intermediate("issuer", long).Cert}}
	for earlier, want := range map[*bundletest.CA]bool{nil: false, root: true} {
		if earlier != nil {
			facts.Earlier = []bundle.Set{bundle.Of(earlier.Cert)}
		}
		got := rollout.Gate(facts, now).Message
		if !strings.Contains(got, "put the anchor that signed the issuer back") || strings.Contains(got, "or renew the issuer") != want {
			t.Errorf("with an issuer before under the bundle %t, the message is: %s", want, got)
		}
		facts.Earlier = nil
	}
}
