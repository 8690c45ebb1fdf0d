package checker

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Fingerprint is a SHA-256: of a certificate's DER, or of a public key's
// SubjectPublicKeyInfo.
type Fingerprint [sha256.Size]byte

// String is 64 hexadecimal digits.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Short is the first 16 hexadecimal digits, enough for a person to compare.
func (f Fingerprint) Short() string { return hex.EncodeToString(f[:8]) }

// Name is the part of a distinguished name that people read.
type Name struct {
	CommonName   string   `json:"cn"`
	Organization []string `json:"o,omitempty"`
}

// Cert is what the rules need of one certificate. It is a small copy:
// x509.Certificate costs about 5 KB each, and nodes may hold thousands.
// A Cert is immutable and may be shared.
type Cert struct {
	Fingerprint Fingerprint
	// SPKI identifies the public key.
	SPKI            Fingerprint
	Subject, Issuer Name
	// Serial is lower-case hexadecimal without leading zeros.
	Serial              string
	NotBefore, NotAfter time.Time
	IsCA, SelfSigned    bool
	DNSNames            []string
	// IPAddresses are in net.IP's text form.
	IPAddresses        []string
	KeyAlgorithm       string
	KeyBits            int
	SignatureAlgorithm x509.SignatureAlgorithm

	// id is Fingerprint.String(), made once: every report needs it.
	id                    string
	rawSubject, rawIssuer string
	ski, aki              string
	keyUsage              x509.KeyUsage
	extKeyUsage           []x509.ExtKeyUsage
	unknownExtKeyUsage    bool
	usages                []string
	tbs, signature        []byte
	// ca is kept whole for certificates that may sign others.
	ca *x509.Certificate
}

// ErrNotCertificate is wrapped by ParseCert when DER is not a certificate that
// Go accepts.
var ErrNotCertificate = errors.New("not a certificate")

// ParseCert parses one DER certificate. It keeps a reference to der.
func ParseCert(der []byte) (*Cert, error) {
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCertificate, err)
	}
	return NewCert(parsed), nil
}

// NewCert copies what the rules need of a parsed certificate.
func NewCert(parsed *x509.Certificate) *Cert {
	c := &Cert{
		Fingerprint:        sha256.Sum256(parsed.Raw),
		SPKI:               sha256.Sum256(parsed.RawSubjectPublicKeyInfo),
		Subject:            nameOf(&parsed.Subject),
		Issuer:             nameOf(&parsed.Issuer),
		Serial:             parsed.SerialNumber.Text(16),
		NotBefore:          parsed.NotBefore,
		NotAfter:           parsed.NotAfter,
		IsCA:               parsed.BasicConstraintsValid && parsed.IsCA,
		DNSNames:           parsed.DNSNames,
		SignatureAlgorithm: parsed.SignatureAlgorithm,
		rawSubject:         string(parsed.RawSubject),
		rawIssuer:          string(parsed.RawIssuer),
		ski:                string(parsed.SubjectKeyId),
		aki:                string(parsed.AuthorityKeyId),
		keyUsage:           parsed.KeyUsage,
		extKeyUsage:        parsed.ExtKeyUsage,
		unknownExtKeyUsage: len(parsed.UnknownExtKeyUsage) > 0,
		tbs:                parsed.RawTBSCertificate,
		signature:          parsed.Signature,
	}
	c.id, c.usages = c.Fingerprint.String(), c.usageWords()
	for _, ip := range parsed.IPAddresses {
		c.IPAddresses = append(c.IPAddresses, ip.String())
	}
	c.KeyAlgorithm, c.KeyBits = describeKey(parsed)
	// A version 1 root has no basic constraints and is a root all the same.
	if c.IsCA || c.rawSubject == c.rawIssuer {
		c.ca = parsed
	}
	c.SelfSigned = c.rawSubject == c.rawIssuer && c.SignedBy(c) != SignatureBad
	return c
}

func nameOf(n *pkix.Name) Name {
	return Name{CommonName: n.CommonName, Organization: n.Organization}
}

func describeKey(parsed *x509.Certificate) (string, int) {
	algorithm := parsed.PublicKeyAlgorithm.String()
	switch key := parsed.PublicKey.(type) {
	case *rsa.PublicKey:
		return algorithm, key.N.BitLen()
	case *ecdsa.PublicKey:
		return algorithm, key.Curve.Params().BitSize
	case ed25519.PublicKey:
		return algorithm, 8 * len(key)
	default:
		return algorithm, 0
	}
}

// Signature is the outcome of verifying one certificate with another's key.
type Signature uint8

// SignatureUnverifiable is for algorithms that Go refuses (MD5, SHA-1) or does
// not know: nothing is claimed about them here, weak_sig reports them.
const (
	SignatureUnverifiable Signature = iota
	SignatureGood
	SignatureBad
)

// SignedBy verifies c's signature with ca's public key, and nothing else: dates
// and usages have their own rules.
func (c *Cert) SignedBy(ca *Cert) Signature {
	if ca.ca == nil || c.hasWeakSignature() {
		return SignatureUnverifiable
	}
	err := ca.ca.CheckSignature(c.SignatureAlgorithm, c.tbs, c.signature)
	switch {
	case err == nil:
		return SignatureGood
	case errors.Is(err, x509.ErrUnsupportedAlgorithm):
		return SignatureUnverifiable
	default:
		return SignatureBad
	}
}

func (c *Cert) hasWeakSignature() bool {
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return true
	default:
		return false
	}
}

// allows reports whether the certificate may be used for a purpose. Without
// the extension every purpose is allowed (RFC 5280, 4.2.1.12).
func (c *Cert) allows(usage x509.ExtKeyUsage) bool {
	if len(c.extKeyUsage) == 0 && !c.unknownExtKeyUsage {
		return true
	}
	return slices.Contains(c.extKeyUsage, usage) || slices.Contains(c.extKeyUsage, x509.ExtKeyUsageAny)
}

// Usages are the words of the USAGE column: ca, server, client. They are shared.
func (c *Cert) Usages() []string { return c.usages }

func (c *Cert) usageWords() []string {
	if c.IsCA {
		return []string{"ca"}
	}
	var usages []string
	for _, u := range c.extKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			usages = append(usages, "server")
		case x509.ExtKeyUsageClientAuth:
			usages = append(usages, "client")
		case x509.ExtKeyUsageAny:
			usages = append(usages, "any")
		}
	}
	return usages
}

// lifetime is the whole validity, whatever part of it is left.
func (c *Cert) lifetime() time.Duration { return c.NotAfter.Sub(c.NotBefore) }
