package decode

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"sync"
	"time"

	"github.com/reanchor/reanchor/checker"
)

// Content is what one file or entry holds.
type Content struct {
	Certs    []*checker.Cert
	Keys     []checker.Fingerprint
	Requests []checker.Fingerprint
	CRLs     []time.Time
	Faults   []checker.Fault
	// KeyFaults are those that concern private keys.
	KeyFaults []checker.Fault
	// MaybeUnfinished is true when the file looks as if it was being written:
	// empty, or ending inside a block. Read again before reporting it.
	MaybeUnfinished bool
}

// Decoder decodes files, keeping each distinct certificate once. It is safe for
// concurrent use.
type Decoder struct {
	passphrase []byte

	mu    sync.Mutex
	known map[checker.Fingerprint]*checker.Cert
}

// New returns a Decoder. The passphrase may be nil.
func New(passphrase []byte) *Decoder {
	return &Decoder{passphrase: passphrase, known: map[checker.Fingerprint]*checker.Cert{}}
}

// Retain forgets every certificate that is not among those still seen.
func (d *Decoder) Retain(seen map[checker.Fingerprint]*checker.Cert) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = seen
}

// Decode reads PEM or DER. A file that holds none of what the checker looks for
// has the fault no_certificate. Nothing of data is kept: the caller may
// overwrite it.
func (d *Decoder) Decode(data []byte) Content {
	var c Content
	text := bytes.TrimSpace(data)
	switch {
	case len(text) == 0:
		c.MaybeUnfinished = true
		c.fault(checker.NoCertificate, "the file is empty")
	case bytes.Contains(data, beginMark):
		d.pem(&c, data)
	case text[0] == asn1Sequence:
		d.der(&c, data)
	default:
		c.MaybeUnfinished = bytes.HasPrefix(beginMark, text)
		c.fault(checker.NoCertificate, "the file holds neither PEM nor DER")
	}
	return c
}

const asn1Sequence = 0x30

func (c *Content) fault(id checker.RuleID, format string, args ...any) {
	c.Faults = append(c.Faults, checker.Fault{ID: id, Detail: fmt.Sprintf(format, args...)})
}

// pem decodes block by block.
func (d *Decoder) pem(c *Content, data []byte) {
	rest, n := data, 0
	for {
		b, more := nextBlock(rest)
		if !more {
			break
		}
		n++
		rest = b.rest
		if !b.closed {
			c.MaybeUnfinished = c.MaybeUnfinished || len(rest) == 0
			c.fault(checker.TruncatedPEM, "block %d begins and does not end", n)
			continue
		}
		decoded, _ := pem.Decode(b.text)
		if decoded == nil {
			c.fault(checker.BadPEM, "block %d is not valid PEM", n)
			continue
		}
		d.block(c, decoded, n)
	}
	if garbage(rest) {
		c.MaybeUnfinished = true
		c.fault(checker.TrailingGarbage, "%d bytes follow the last block", len(rest))
	}
	if len(c.Certs)+len(c.Keys)+len(c.KeyFaults)+len(c.Requests)+len(c.CRLs)+len(c.Faults) == 0 {
		c.fault(checker.NoCertificate, "none of the %d PEM blocks is a certificate", n)
	}
}

func (d *Decoder) block(c *Content, b *pem.Block, n int) {
	switch b.Type {
	case "CERTIFICATE", "X509 CERTIFICATE":
		d.certificate(c, b.Bytes, fmt.Sprintf("block %d", n))
	case "TRUSTED CERTIFICATE":
		// OpenSSL appends its own trust settings to the certificate.
		d.certificate(c, firstElement(b.Bytes), fmt.Sprintf("block %d", n))
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		if req, err := x509.ParseCertificateRequest(b.Bytes); err != nil {
			c.fault(checker.BadDER, "block %d is not a certificate request that can be parsed", n)
		} else {
			c.Requests = append(c.Requests, sha256.Sum256(req.RawSubjectPublicKeyInfo))
		}
	case "X509 CRL":
		if crl, err := x509.ParseRevocationList(b.Bytes); err != nil {
			c.fault(checker.BadDER, "block %d is not a revocation list that can be parsed", n)
		} else {
			c.CRLs = append(c.CRLs, crl.NextUpdate)
		}
	default:
		d.key(c, b, n)
	}
}

// certificate parses DER once per distinct content.
func (d *Decoder) certificate(c *Content, der []byte, where string) {
	id := checker.Fingerprint(sha256.Sum256(der))
	d.mu.Lock()
	cert := d.known[id]
	d.mu.Unlock()
	if cert == nil {
		var err error
		if cert, err = checker.ParseCert(der); err != nil {
			c.fault(checker.BadDER, "%s is %v", where, err)
			return
		}
		cert = d.keep(id, cert)
	}
	c.Certs = append(c.Certs, cert)
}

// keep stores a certificate, unless another worker was faster: then that one
// is used, so that there is one copy.
func (d *Decoder) keep(id checker.Fingerprint, c *checker.Cert) *checker.Cert {
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.known[id]; known != nil {
		return known
	}
	d.known[id] = c
	return c
}

// der reads certificates that follow one another without armour.
func (d *Decoder) der(c *Content, data []byte) {
	for n := 1; len(data) > 0; n++ {
		if data[0] != asn1Sequence {
			if garbage(data) {
				c.fault(checker.TrailingGarbage, "%d bytes follow the last certificate", len(data))
			}
			return
		}
		element := firstElement(data)
		d.certificate(c, bytes.Clone(element), fmt.Sprintf("element %d", n))
		if len(c.Certs) < n {
			return
		}
		data = data[len(element):]
	}
}

// firstElement is the first ASN.1 value of der, or der if there is none.
func firstElement(der []byte) []byte {
	var first asn1.RawValue
	rest, err := asn1.Unmarshal(der, &first)
	if err != nil {
		return der
	}
	return der[:len(der)-len(rest)]
}
