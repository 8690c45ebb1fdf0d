package rollout

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// GateFacts is what invariant I9 is decided on.
type GateFacts struct {
	// Bundle is the published bundle.
	Bundle bundle.Set
	// NoIssuer says that the mesh has no issuer that could be checked.
	NoIssuer bool
	// Issuer is the chain of the issuer in use; empty when it cannot be read.
	Issuer []*x509.Certificate
	// Earlier holds, for each issuer whose leaves may still live, the anchors
	// that verify it: one of them is needed.
	Earlier []bundle.Set
	// Skew is the allowed difference of clocks.
	Skew time.Duration
}

// Gate decides invariant I9: no pod is rolled towards a bundle that does not
// verify the issuer in use, now and at now + skew, or that lacks an unexpired
// anchor that a live leaf may chain to. Rolling then would kill the mesh's
// identity service, which refuses to start, and with it all issuance (seen on a
// real mesh). What cannot be told holds (I8).
func Gate(f GateFacts, now time.Time) Hold {
	if f.Bundle.ValidAt(now.Add(f.Skew)).Empty() {
		return Hold{v1alpha1.BundleExpired, "the bundle holds no anchor that is valid; put one into it"}
	}
	if hold := lacksNeeded(f, now); hold.Reason != "" || f.NoIssuer {
		return hold
	}
	if len(f.Issuer) == 0 {
		return Hold{v1alpha1.IssuerUnknown, "the issuer in use cannot be read, so that it is not known whether the bundle verifies it"}
	}
	if end := f.Issuer[0].NotAfter; now.After(end) {
		return Hold{v1alpha1.IssuerExpired, fmt.Sprintf("the issuer %q expired at %s; renew it", f.Issuer[0].Subject, end.UTC().Format(time.RFC3339))}
	}
	at := now.Add(f.Skew)
	if end := f.Issuer[0].NotAfter; at.After(end) {
		// A short-lived issuer near its end is judged by its anchor: its own
		// renewal is due and says nothing about the bundle.
		at = end
	}
	for _, t := range []time.Time{now, at} {
		if err := f.Bundle.Verify(f.Issuer, t); err != nil {
			return Hold{v1alpha1.BundleDoesNotTrustIssuer, fmt.Sprintf("%v; put the anchor that signed the issuer back into the bundle%s", err, another(f))}
		}
	}
	return Hold{}
}

// another is the second way out, where one before the issuer is known to have
// been signed under the bundle: then the issuer was switched to a wrong one.
// Otherwise the bundle was, and live leaves need what it lost: an issuer renewed
// under what is left would be one that no running pod trusts.
func another(f GateFacts) string {
	if len(f.Earlier) == 0 {
		return ""
	}
	return ", or renew the issuer under an anchor of the bundle"
}

func lacksNeeded(f GateFacts, now time.Time) Hold {
	for _, anchors := range f.Earlier {
		unexpired := anchors.ValidAt(now)
		if unexpired.Empty() || !f.Bundle.Intersect(unexpired).Empty() || anyRenewed(validFor(f, now), unexpired) {
			continue
		}
		return Hold{v1alpha1.BundleDoesNotTrustIssuer, fmt.Sprintf(
			"live leaves may chain to the anchor %s, which is not in the bundle; put it back until they have ended", named(unexpired.Anchors()[0]))}
	}
	return Hold{}
}

// named names an anchor, by its fingerprint alone where its certificate is not at
// hand.
func named(a bundle.Anchor) string {
	if a.Subject == "" {
		return a.Fingerprint.Short()
	}
	return fmt.Sprintf("%s (%s)", a.Fingerprint.Short(), a.Subject)
}

// validFor returns the anchors of the bundle that verify something now and
// until now + skew: those whose validity is known to span that time.
func validFor(f GateFacts, now time.Time) bundle.Set {
	var valid []bundle.Anchor
	for _, a := range f.Bundle.Anchors() {
		if a.ValidityKnown() && !a.NotBefore.After(now) && !a.ExpiredAt(now.Add(f.Skew)) {
			valid = append(valid, a)
		}
	}
	return bundle.FromAnchors(valid...)
}

func anyRenewed(s, anchors bundle.Set) bool {
	for _, a := range anchors.Anchors() {
		if renewed(s, a) {
			return true
		}
	}
	return false
}

// renewed reports whether the set holds an anchor with the same key and
// subject, which verifies the same leaves.
func renewed(s bundle.Set, a bundle.Anchor) bool {
	for _, b := range s.Anchors() {
		if a.SameKeyAndName(b) {
			return true
		}
	}
	return false
}
