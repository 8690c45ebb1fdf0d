// Package checkertest makes certificates and whole directory trees to check:
// what kubeadm, kops, k3s and rke2 leave on a node, with the names, common
// names, lifetimes and modes of the real ones, healthy or as in the incident
// that the checker began with.
//
// It is for tests and for hack/pkitree. Keys are ECDSA P-256 whatever the real
// tool uses, because a tree of RSA keys takes a minute to make.
package checkertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/reanchor/reanchor/checker"
)

// Spec says what a certificate should look like. Without Usages it may do
// anything, without Key it gets a new one on P-256; the dates have no default.
type Spec struct {
	CN           string
	Organization []string
	NotBefore    time.Time
	NotAfter     time.Time
	DNS          []string
	IPs          []string
	Usages       []x509.ExtKeyUsage
	CA           bool
	// KeyUsage overrides the usual one.
	KeyUsage x509.KeyUsage
	// Key is used instead of a new one.
	Key crypto.Signer
	// Signature overrides the algorithm that fits the signer's key.
	Signature x509.SignatureAlgorithm
}

// Pair is a certificate with its private key.
type Pair struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Issue makes a certificate signed by parent, or self-signed if that is nil.
func Issue(spec Spec, parent *Pair) (*Pair, error) {
	key := spec.Key
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, fmt.Errorf("generating a key for %s: %w", spec.CN, err)
		}
	}
	template, err := spec.template()
	if err != nil {
		return nil, err
	}
	signer, issuer := key, template
	if parent != nil {
		signer, issuer = parent.Key, parent.Cert
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("issuing %s: %w", spec.CN, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing %s: %w", spec.CN, err)
	}
	return &Pair{Cert: cert, Key: key}, nil
}

func (s Spec) template() (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial for %s: %w", s.CN, err)
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: s.CN, Organization: s.Organization},
		NotBefore:    s.NotBefore, NotAfter: s.NotAfter,
		DNSNames: s.DNS, ExtKeyUsage: s.Usages,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		SignatureAlgorithm:    s.Signature,
	}
	for _, ip := range s.IPs {
		t.IPAddresses = append(t.IPAddresses, net.ParseIP(ip))
	}
	if s.CA {
		t.IsCA, t.KeyUsage = true, x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign
	}
	if s.KeyUsage != 0 {
		t.KeyUsage = s.KeyUsage
	}
	return t, nil
}

// CertPEM is the certificate as PEM.
func (p *Pair) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Cert.Raw})
}

// KeyPEM is the private key as PKCS#8 PEM.
func (p *Pair) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Checked is the certificate as the checker sees it.
func (p *Pair) Checked() *checker.Cert { return checker.NewCert(p.Cert) }

// Both are the usages of an etcd certificate; ServerOnly and ClientOnly those
// of the rest.
func Both() []x509.ExtKeyUsage {
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

// ServerOnly is serverAuth.
func ServerOnly() []x509.ExtKeyUsage { return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }

// ClientOnly is clientAuth.
func ClientOnly() []x509.ExtKeyUsage { return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
