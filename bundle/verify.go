package bundle

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// ErrUnverifiable says that a chain does not verify against the set.
var ErrUnverifiable = errors.New("chain does not verify against the bundle")

// ParseChain reads a certificate chain from PEM text: the certificate first,
// then the intermediates above it. Unlike an anchor, a certificate of a chain
// must be one that Go can parse: it is the subject of a proof. It fails as Parse
// does, and when the first block of a certificate is damaged or has lost its first
// line: the one behind it, maybe a root, which verifies itself, must not be taken for
// the certificate.
func ParseChain(text []byte) ([]*x509.Certificate, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("reading a chain of %d bytes: %w: at most %d bytes are read", len(text), ErrTooLarge, MaxBytes)
	}
	if before, _, _ := bytes.Cut(text, beginMark); bytes.Contains(before, endMark) {
		return nil, fmt.Errorf("reading block 0: %w: it is ended and has no beginning", ErrMalformed)
	}
	var chain []*x509.Certificate
	err := eachCertificate(text, func(der []byte) error {
		cert, err := x509.ParseCertificate(der)
		chain = append(chain, cert)
		return err
	})
	if err != nil {
		return nil, err
	}
	return chain, nil
}

// Verify proves by X.509 path validation that the first certificate of chain
// is trusted by the set at t; the rest of chain serves as intermediates. Any
// key usage is accepted: what is asked is whether the signatures and dates
// hold, for an issuer as well as for a leaf. The error wraps ErrUnverifiable
// and names no more than subjects and dates.
//
// Anchors of a set count by their dates too, as identity's verification does
// (facts: it refuses an issuer under an expired anchor). Anchors that are not
// parsed prove nothing.
func (s Set) Verify(chain []*x509.Certificate, t time.Time) error {
	if len(chain) == 0 {
		return fmt.Errorf("verifying an empty chain: %w", ErrUnverifiable)
	}
	_, err := chain[0].Verify(s.verifyOptions(chain[1:], t))
	if err != nil {
		return fmt.Errorf("verifying %q: %w: %s", chain[0].Subject, ErrUnverifiable, describe(err))
	}
	return nil
}

// Verifies reports whether Verify succeeds.
func (s Set) Verifies(chain []*x509.Certificate, t time.Time) bool {
	return s.Verify(chain, t) == nil
}

// VerifiedBy returns the anchors of the set that each, alone, verify the chain
// at t. Two anchors with the same subject and key may both do.
func (s Set) VerifiedBy(chain []*x509.Certificate, t time.Time) Set {
	return s.filter(func(a Anchor) bool { return Set{anchors: []Anchor{a}}.Verifies(chain, t) })
}

func (s Set) verifyOptions(intermediates []*x509.Certificate, t time.Time) x509.VerifyOptions {
	// Both pools are never nil: a nil root pool would mean the system's roots.
	opts := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		CurrentTime:   t,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for i := range s.anchors {
		if cert := s.anchors[i].cert; cert != nil {
			opts.Roots.AddCert(cert)
		}
	}
	for _, c := range intermediates {
		opts.Intermediates.AddCert(c)
	}
	return opts
}

// describe says why a verification failed without the certificate itself:
// the standard errors embed it.
func describe(err error) string {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("%q has expired or is not yet valid (%s to %s)", invalid.Cert.Subject,
			invalid.Cert.NotBefore.Format(time.RFC3339), invalid.Cert.NotAfter.Format(time.RFC3339))
	case errors.As(err, &unknown):
		return "it is signed by an authority that is not in the bundle"
	default:
		return err.Error()
	}
}
