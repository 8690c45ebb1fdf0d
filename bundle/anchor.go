package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Fingerprint is the identity of an anchor: SHA-256 of its DER encoding.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns the fingerprint of a certificate in DER encoding.
func FingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// ParseFingerprint reads the form that String writes: 64 hexadecimal digits.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	if len(s) != 2*len(f) {
		return f, fmt.Errorf("reading a fingerprint of %d characters: want %d hexadecimal digits", len(s), 2*len(f))
	}
	if _, err := hex.Decode(f[:], []byte(s)); err != nil {
		return Fingerprint{}, fmt.Errorf("reading a fingerprint: %w", err)
	}
	return f, nil
}

// String returns the fingerprint as 64 lower-case hexadecimal digits.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Short returns the first 8 hexadecimal digits, enough for a person to tell
// the anchors of one mesh apart. It is never compared.
func (f Fingerprint) Short() string { return hex.EncodeToString(f[:4]) }

// Compare orders fingerprints byte by byte.
func (f Fingerprint) Compare(o Fingerprint) int { return bytes.Compare(f[:], o[:]) }

// Anchor is one root CA certificate of a Set.
//
// An anchor is known in one of three degrees: parsed from PEM (it can verify
// chains), told by a summary (identity, key and validity only), or by
// identity alone, when it is PEM that this program cannot parse. The last may be
// perfectly fine for the proxy that loads it, so its validity is unknown and
// it never counts as expired.
type Anchor struct {
	// Fingerprint is the anchor's identity.
	Fingerprint Fingerprint
	// Subject is the distinguished name (RFC 2253 order), empty when unknown.
	Subject string
	// Key is the SHA-256 of the public key (SubjectPublicKeyInfo), zero when
	// unknown.
	Key Fingerprint
	// NotBefore and NotAfter bound the validity; both zero when unknown.
	NotBefore, NotAfter time.Time

	der  []byte
	cert *x509.Certificate
}

// ValidityKnown reports whether NotBefore and NotAfter say anything.
func (a Anchor) ValidityKnown() bool { return !a.NotAfter.IsZero() }

// ExpiredAt reports whether the anchor is known to have expired at t. An
// anchor is valid up to and including NotAfter (RFC 5280, 4.1.2.5).
func (a Anchor) ExpiredAt(t time.Time) bool { return a.ValidityKnown() && t.After(a.NotAfter) }

// Certificate returns the parsed certificate, or nil when the anchor is known
// by summary or identity only. Callers must not modify it.
func (a Anchor) Certificate() *x509.Certificate { return a.cert }

// SameKeyAndName reports whether o is a renewal of a that keeps the subject
// and the public key, so that each verifies what the other signed. It is false
// when either is not parsed: what is not known proves nothing.
func (a Anchor) SameKeyAndName(o Anchor) bool {
	return a.cert != nil && o.cert != nil &&
		bytes.Equal(a.cert.RawSubject, o.cert.RawSubject) &&
		bytes.Equal(a.cert.RawSubjectPublicKeyInfo, o.cert.RawSubjectPublicKeyInfo)
}

// MayBeRenewalOf reports whether it cannot be ruled out that one of the two is a
// renewal of the other that keeps subject and public key. Unlike SameKeyAndName it
// can be told of summaries too, and is true where no more is known than that
// the subjects are the same: what is not known refutes nothing.
func (a Anchor) MayBeRenewalOf(o Anchor) bool {
	var unknown Fingerprint
	return sameSubject(a.Subject, o.Subject) && (a.Key == o.Key || a.Key == unknown || o.Key == unknown)
}

// sameSubject reports whether two subjects may be the same. One that ends in three
// dots may have been cut, as long ones are in a summary, and an empty one may be
// unknown: then only the key tells.
func sameSubject(a, b string) bool {
	const cut = "..."
	return a == b || a == "" || b == "" || strings.HasSuffix(a, cut) || strings.HasSuffix(b, cut)
}

// anchorFromDER parses one certificate; one that Go cannot parse is kept by
// its fingerprint.
func anchorFromDER(der []byte) Anchor {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Anchor{Fingerprint: FingerprintOf(der), der: bytes.Clone(der)}
	}
	return anchorFromCertificate(cert)
}

func anchorFromCertificate(cert *x509.Certificate) Anchor {
	return Anchor{
		Fingerprint: FingerprintOf(cert.Raw),
		Subject:     cert.Subject.String(),
		Key:         FingerprintOf(cert.RawSubjectPublicKeyInfo),
		NotBefore:   cert.NotBefore,
		NotAfter:    cert.NotAfter,
		der:         cert.Raw,
		cert:        cert,
	}
}

// detail ranks how much an anchor knows, so that a union keeps the better of
// two descriptions of the same certificate.
func (a Anchor) detail() int {
	switch {
	case a.cert != nil:
		return 3
	case a.der != nil:
		return 2
	case a.ValidityKnown():
		return 1
	default:
		return 0
	}
}

func compareAnchors(a, b Anchor) int {
	return cmp.Or(a.Fingerprint.Compare(b.Fingerprint), cmp.Compare(b.detail(), a.detail()))
}
