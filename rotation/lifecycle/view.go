package lifecycle

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// SignedBy returns the anchors of known whose key signed the first certificate
// of chain, whether or not they have expired since: a leaf chains to an anchor
// by its signature, and proxies ignore an anchor's own expiry. Validity is
// judged apart. Anchors that are not parsed prove nothing.
func SignedBy(chain []*x509.Certificate, known bundle.Set) bundle.Set {
	if len(chain) == 0 {
		return bundle.Set{}
	}
	var signers []bundle.Anchor
	for _, a := range known.Anchors() {
		at := chain[0].NotBefore
		for _, c := range append(chain[1:len(chain):len(chain)], a.Certificate()) {
			if c != nil && c.NotBefore.After(at) {
				at = c.NotBefore
			}
		}
		if bundle.FromAnchors(a).Verifies(chain, at) {
			signers = append(signers, a)
		}
	}
	return bundle.FromAnchors(signers...)
}

// view is what follows from the facts and is asked for again and again.
type view struct {
	// own are all anchors known to be this mesh's own.
	own bundle.Set
	// signers are the anchors that signed an issuer in use.
	signers bundle.Set
	// newest is the Certificate of the newest own anchor; nil when none is issued.
	newest *Certificate
	// pointed is what the ClusterIssuer would sign with now; nil when unknown.
	pointed *bundle.Anchor
}

func look(f *Facts) view {
	v := view{own: f.Archive.Set.Union(f.Bundle.Set.Intersect(f.Marked)), pointed: f.signsNext()}
	if !f.Policy.writesBundle() {
		v.own = v.own.Union(f.Carrier.Set)
	}
	for i := range f.Anchors {
		c := &f.Anchors[i]
		if c.Issued == nil {
			continue
		}
		v.own = v.own.Union(bundle.FromAnchors(*c.Issued))
		if supplies(f, c) && (v.newest == nil || c.Generation >= v.newest.Generation) {
			v.newest = c
		}
	}
	for i := range f.Issuers {
		v.signers = v.signers.Union(f.Issuers[i].SignedBy)
	}
	// What signed an issuer of this mesh is its own, even if every record is lost.
	v.own = v.own.Union(v.signers)
	for _, e := range f.Earlier {
		v.own = v.own.Union(e.SignedBy)
	}
	v.own = v.own.Union(f.Bundle.Set.Intersect(v.own))
	return v
}

// signsNext returns the anchor in the Secret that the pointer names; nil when
// that is not known.
func (f *Facts) signsNext() *bundle.Anchor {
	if !f.Pointer.Known {
		return nil
	}
	for i := range f.Anchors {
		if c := &f.Anchors[i]; c.SecretName == f.Pointer.SecretName {
			return c.Issued
		}
	}
	if !f.parked() {
		return nil
	}
	for _, set := range []bundle.Set{f.Archive.Set, f.Bundle.Set, f.Carrier.Set} {
		if a, ok := set.Anchor(f.Kept.Anchor); ok {
			return &a
		}
	}
	return &bundle.Anchor{Fingerprint: f.Kept.Anchor}
}

// full returns the anchors whose certificate is at hand: others cannot be
// written.
func full(s bundle.Set) bundle.Set {
	var anchors []bundle.Anchor
	for _, a := range s.Anchors() {
		if a.Certificate() != nil {
			anchors = append(anchors, a)
		}
	}
	return bundle.FromAnchors(anchors...)
}

// supplies reports whether an anchor's Certificate puts it into the bundle, or
// signs. A generation that was dropped is history.
func supplies(f *Facts, c *Certificate) bool {
	switch {
	case f.Policy.inPlace() || c.SecretName == f.Pointer.SecretName:
		return true
	case f.Policy.writesBundle():
		return c.Issued != nil && f.Bundle.Set.Contains(c.Issued.Fingerprint)
	default:
		return c.Labelled
	}
}

// issuer returns the mesh's issuer, or nil when none is known or issued.
func (f *Facts) issuer() *Certificate {
	if len(f.Issuers) == 0 || f.Issuers[0].Issued == nil {
		return nil
	}
	return &f.Issuers[0]
}

// secretOf returns the Secret that holds the key of an anchor now.
func (f *Facts) secretOf(fp bundle.Fingerprint) (string, bool) {
	for i := range f.Anchors {
		if c := &f.Anchors[i]; c.Issued != nil && c.Issued.Fingerprint == fp {
			return c.SecretName, true
		}
	}
	if f.Kept.Exists && f.Kept.Anchor == fp {
		return f.Kept.SecretName, true
	}
	return "", false
}

// anchorCertificate returns the Certificate that last issued an anchor.
func (f *Facts) anchorCertificate(fp bundle.Fingerprint) *Certificate {
	i := slices.IndexFunc(f.Anchors, func(c Certificate) bool { return c.Issued != nil && c.Issued.Fingerprint == fp })
	if i < 0 {
		return nil
	}
	return &f.Anchors[i]
}

// allSignedBy reports whether every issuer in use is signed by the anchor.
func (f *Facts) allSignedBy(fp bundle.Fingerprint) bool {
	for i := range f.Issuers {
		if f.Issuers[i].Issued == nil || !f.Issuers[i].SignedBy.Contains(fp) {
			return false
		}
	}
	return len(f.Issuers) > 0
}

// anySignedBy reports whether an issuer in use is signed by the anchor.
func (f *Facts) anySignedBy(fp bundle.Fingerprint) bool {
	return slices.ContainsFunc(f.Issuers, func(c Certificate) bool { return c.SignedBy.Contains(fp) })
}

// parked reports whether the pointer names the kept copy. An aborted rotation in
// place has ended there, and the newer anchor is in the bundle for nothing.
func (f *Facts) parked() bool {
	return f.Kept.Exists && f.Pointer.Known && f.Pointer.SecretName == f.Kept.SecretName
}

// ledBack reports whether it was an abort that parked the pointer: what the user
// wanted is not to be undone. A run on its way forward parks it to gain time (see
// rescue), and the pointer's token says so.
func (f *Facts) ledBack() bool {
	return f.parked() && !strings.HasSuffix(f.Pointer.Token, onward+f.Kept.Anchor.Short())
}

// verified reports whether the bundle verifies every issuer in use, now and at
// now + skew, or up to the issuer's own end where that comes first (I9).
func (f *Facts) verified(set bundle.Set, now time.Time) bool {
	for i := range f.Issuers {
		c := &f.Issuers[i]
		if c.Issued == nil || c.Issued.ExpiredAt(now) {
			return false
		}
		at := now.Add(f.Policy.Skew)
		if c.Issued.ExpiredAt(at) {
			at = c.Issued.NotAfter
		}
		if set.Intersect(c.SignedBy).ValidAt(at).Empty() {
			return false
		}
	}
	return len(f.Issuers) > 0
}

// unread says of which Certificate that the mesh depends on it is not known what
// it issued last: while the next revision is issued, or because its request is
// gone. Every rule would take it for one that issued nothing, and release what is
// held, so nothing is decided then.
func (f *Facts) unread() Hold {
	unknown := func(c Certificate) bool { return c.Issued == nil && c.Revision > 0 }
	list, at := f.Issuers, slices.IndexFunc(f.Issuers, unknown)
	if at < 0 {
		list = f.Anchors
		at = slices.IndexFunc(list, func(c Certificate) bool { return unknown(c) && f.bears(c) })
	}
	if at < 0 {
		return Hold{}
	}
	return Hold{v1alpha1.NotObserved, fmt.Sprintf(
		"what Certificate %s/%s issued last cannot be read, since its CertificateRequest is gone; it is known again when it has been renewed", list[at].Ref.Namespace, list[at].Ref.Name)}
}

// bears reports whether an anchor is a source of the bundle, or signs.
func (f *Facts) bears(c Certificate) bool {
	return f.Policy.inPlace() || c.Labelled || c.SecretName == f.Pointer.SecretName
}
