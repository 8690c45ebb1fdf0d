package checker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// signedBy issues a certificate in memory; without an issuer it is a CA.
func signedBy(t *testing.T, cn string, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now(), NotAfter: time.Now().Add(900 * day),
		IsCA: issuer == nil, BasicConstraintsValid: true,
	}
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, key
}

func TestAnEngineForgetsWhatIsGone(t *testing.T) {
	ca, key := signedBy(t, "ca", nil, nil)
	leaf, _ := signedBy(t, "leaf", ca, key)
	files := []File{{Path: "/ca.crt", Certs: []*Cert{NewCert(ca)}}, {Path: "/leaf.crt", Certs: []*Cert{NewCert(leaf)}}}
	g := NewEngine()
	id := files[1].Certs[0].Fingerprint

	g.Check(Facts{Files: files}, time.Now(), DefaultPolicy())
	kept := g.known[id]
	if len(g.known) != 2 || len(kept.signatures) != 1 || kept.signatures[0].outcome != SignatureGood {
		t.Fatalf("%d certificates and signatures %v are remembered, want 2 and a good one", len(g.known), kept.signatures)
	}
	for _, p := range kept.places[:cap(kept.places)] {
		if p.file != nil {
			t.Error("the entry keeps the facts of the cycle alive")
		}
	}

	g.Check(Facts{Files: files[1:]}, time.Now(), DefaultPolicy())
	if len(g.known) != 1 || len(g.known[id].signatures) != 0 {
		t.Errorf("the CA is gone, yet %d certificates and signatures %v are remembered", len(g.known), g.known[id].signatures)
	}
	g.Check(Facts{}, time.Now(), DefaultPolicy())
	if len(g.known) != 0 {
		t.Errorf("%d certificates are remembered of none", len(g.known))
	}
}
