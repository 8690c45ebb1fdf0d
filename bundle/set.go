// Package bundle is the trust bundle of a mesh as a set of anchors.
//
// Two texts are the same bundle when they hold the same certificates: order,
// duplicates, white space and comments do not matter. The identity of an
// anchor is the SHA-256 of its DER encoding; the identity of a Set is its Hash.
//
// Parse is strict about structure and tolerant about content. Only CERTIFICATE
// blocks count. An anchor that is PEM but that Go cannot parse is kept by
// fingerprint with validity unknown, because the proxy may well load it; text
// that holds no certificate at all is an error. Size and count are bounded,
// and an error names a block by its index, never by its bytes.
//
// The package is pure: it imports the standard library alone, reads no clock
// (time is an argument) and does no input or output. A Set is immutable and
// safe for concurrent use; the zero value is the empty set.
package bundle

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"
)

// HashVersion begins every bundle hash. A new algorithm gets a new version,
// and a difference in version alone never counts as a difference in trust.
const HashVersion = "v1:"

// Set is an immutable set of anchors, kept sorted by fingerprint.
type Set struct {
	anchors []Anchor
}

// Of returns the set of the given certificates; nil ones are left out.
func Of(certs ...*x509.Certificate) Set {
	anchors := make([]Anchor, 0, len(certs))
	for _, c := range certs {
		if c != nil {
			anchors = append(anchors, anchorFromCertificate(c))
		}
	}
	return FromAnchors(anchors...)
}

// FromAnchors returns the set of the given anchors. Of two descriptions of one
// certificate the more detailed is kept. It is how a set is restored from a
// published summary (fingerprint, subject, validity).
func FromAnchors(anchors ...Anchor) Set {
	if len(anchors) == 0 {
		return Set{}
	}
	sorted := slices.Clone(anchors)
	slices.SortFunc(sorted, compareAnchors)
	return Set{anchors: slices.CompactFunc(sorted, func(a, b Anchor) bool { return a.Fingerprint == b.Fingerprint })}
}

// Anchors returns the anchors, sorted by fingerprint. The slice is a copy.
func (s Set) Anchors() []Anchor { return slices.Clone(s.anchors) }

// Len returns the number of distinct anchors.
func (s Set) Len() int { return len(s.anchors) }

// Empty reports whether the set holds no anchor.
func (s Set) Empty() bool { return len(s.anchors) == 0 }

// Fingerprints returns the fingerprints in order.
func (s Set) Fingerprints() []Fingerprint {
	out := make([]Fingerprint, len(s.anchors))
	for i, a := range s.anchors {
		out[i] = a.Fingerprint
	}
	return out
}

// Hash returns HashVersion and the hexadecimal SHA-256 over the sorted,
// distinct fingerprints, 32 raw bytes each.
func (s Set) Hash() string {
	h := sha256.New()
	for i := range s.anchors {
		h.Write(s.anchors[i].Fingerprint[:])
	}
	return HashVersion + hex.EncodeToString(h.Sum(nil))
}

// Anchor returns the anchor with the given fingerprint.
func (s Set) Anchor(f Fingerprint) (Anchor, bool) {
	i, ok := slices.BinarySearchFunc(s.anchors, f, func(a Anchor, f Fingerprint) int { return a.Fingerprint.Compare(f) })
	if !ok {
		return Anchor{}, false
	}
	return s.anchors[i], true
}

// Contains reports whether the set holds the anchor with the fingerprint.
func (s Set) Contains(f Fingerprint) bool {
	_, ok := s.Anchor(f)
	return ok
}

// ContainsAll reports whether every anchor of o is in s.
func (s Set) ContainsAll(o Set) bool {
	for i := range o.anchors {
		if !s.Contains(o.anchors[i].Fingerprint) {
			return false
		}
	}
	return true
}

// Equal reports whether both sets hold the same anchors.
func (s Set) Equal(o Set) bool { return s.Len() == o.Len() && s.ContainsAll(o) }

// Union returns the anchors that are in s or in o.
func (s Set) Union(o Set) Set {
	return FromAnchors(append(s.Anchors(), o.anchors...)...)
}

// Minus returns the anchors of s that are not in o.
func (s Set) Minus(o Set) Set {
	return s.filter(func(a Anchor) bool { return !o.Contains(a.Fingerprint) })
}

// Intersect returns the anchors of s that are also in o.
func (s Set) Intersect(o Set) Set {
	return s.filter(func(a Anchor) bool { return o.Contains(a.Fingerprint) })
}

// ValidAt returns the anchors that are not known to be expired at t. An anchor
// of unknown validity and one that is not valid yet count as unexpired: what
// cannot be proved to be broken is left alone.
func (s Set) ValidAt(t time.Time) Set {
	return s.filter(func(a Anchor) bool { return !a.ExpiredAt(t) })
}

// ExpiredAt returns the anchors that are known to be expired at t.
func (s Set) ExpiredAt(t time.Time) Set {
	return s.filter(func(a Anchor) bool { return a.ExpiredAt(t) })
}

// NotAfter returns when the last anchor of the set expires. It is false when
// the set is empty or the validity of an anchor is unknown, since then no such
// time can be told.
func (s Set) NotAfter() (time.Time, bool) {
	var last time.Time
	for i := range s.anchors {
		if !s.anchors[i].ValidityKnown() {
			return time.Time{}, false
		}
		if s.anchors[i].NotAfter.After(last) {
			last = s.anchors[i].NotAfter
		}
	}
	return last, len(s.anchors) > 0
}

func (s Set) filter(keep func(Anchor) bool) Set {
	var out []Anchor
	for _, a := range s.anchors {
		if keep(a) {
			out = append(out, a)
		}
	}
	return Set{anchors: out}
}
