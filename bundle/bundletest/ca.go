// Package bundletest issues certificate authorities, issuers and leaves for
// tests. Keys are ECDSA P-256, as Linkerd requires of an issuer, and live in
// memory only.
package bundletest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/reanchor/reanchor/bundle"
)

// CA is a certificate with its key: a root, or an intermediate under one.
type CA struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
	tb   testing.TB
}

// Validity bounds a certificate.
type Validity struct{ NotBefore, NotAfter time.Time }

// From returns the validity that begins at t and lasts d.
func From(t time.Time, d time.Duration) Validity { return Validity{t, t.Add(d)} }

// NewRoot issues a self-signed CA with a new key.
func NewRoot(tb testing.TB, name string, v Validity) *CA {
	tb.Helper()
	key := newKey(tb)
	return &CA{Cert: sign(tb, template(tb, name, v, true), nil, key), key: key, tb: tb}
}

// Renew issues the root again with the same key and subject and other dates.
func (c *CA) Renew(v Validity) *CA {
	c.tb.Helper()
	return &CA{Cert: sign(c.tb, template(c.tb, c.Cert.Subject.CommonName, v, true), nil, c.key), key: c.key, tb: c.tb}
}

// Intermediate issues an issuer below c.
func (c *CA) Intermediate(name string, v Validity) *CA {
	c.tb.Helper()
	key := newKey(c.tb)
	return &CA{Cert: sign(c.tb, template(c.tb, name, v, true), c, key), key: key, tb: c.tb}
}

// Leaf issues a workload certificate below c.
func (c *CA) Leaf(name string, v Validity) *x509.Certificate {
	c.tb.Helper()
	return sign(c.tb, template(c.tb, name, v, false), c, newKey(c.tb))
}

// Fingerprint is the fingerprint of the certificate.
func (c *CA) Fingerprint() bundle.Fingerprint { return bundle.FingerprintOf(c.Cert.Raw) }

// PEM is the certificate as text.
func (c *CA) PEM() string { return EncodePEM(c.Cert) }

// KeyPEM is the private key as text (PKCS #8), for a lab's Secret.
func (c *CA) KeyPEM() string {
	c.tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		c.tb.Fatalf("encoding a test key: %v", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// EncodePEM returns the certificates as text, in the order given.
func EncodePEM(certs ...*x509.Certificate) string {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(out)
}

// Unparsable returns a CERTIFICATE block that is sound PEM and that Go cannot
// parse; n makes distinct ones.
func Unparsable(n byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30, 0x03, 0x02, 0x01, n}}))
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("generating a test key: %v", err)
	}
	return key
}

func template(tb testing.TB, name string, v Validity, isCA bool) *x509.Certificate {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatalf("choosing a serial number: %v", err)
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             v.NotBefore,
		NotAfter:              v.NotAfter,
		BasicConstraintsValid: true,
		IsCA:                  isCA,
		KeyUsage:              x509.KeyUsageDigitalSignature,
	}
	if isCA {
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		t.DNSNames = []string{name}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return t
}

// sign issues the template for a key; without a parent it signs itself.
func sign(tb testing.TB, t *x509.Certificate, parent *CA, key *ecdsa.PrivateKey) *x509.Certificate {
	tb.Helper()
	above, signer := t, key
	if parent != nil {
		above, signer = parent.Cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, above, &key.PublicKey, signer)
	if err != nil {
		tb.Fatalf("signing a test certificate: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatalf("parsing a test certificate: %v", err)
	}
	return cert
}
