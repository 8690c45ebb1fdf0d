package checker

import (
	"crypto/x509"
	"fmt"
)

const (
	minRSABits   = 2048
	minCurveBits = 224
)

// shape judges the certificate's own form.
func (r *run) shape(e *entry) {
	if !r.inUse(e) {
		return
	}
	r.strength(e)
	r.names(e)
	c := e.cert
	if c.IsCA && c.keyUsage != 0 && c.keyUsage&x509.KeyUsageCertSign == 0 {
		r.on(e, r.found(KeyUsage, r.firstUse(e).path(), fmt.Sprintf("the CA %q may not sign certificates", c.Subject.CommonName)))
	}
	for _, p := range e.places {
		if r.counts(p) && p.file != nil {
			r.role(e, p)
		}
	}
}

func (r *run) strength(e *entry) {
	c, where := e.cert, r.firstUse(e).path()
	weakRSA := c.KeyAlgorithm == x509.RSA.String() && c.KeyBits < minRSABits
	weakCurve := c.KeyAlgorithm == x509.ECDSA.String() && c.KeyBits < minCurveBits
	if weakRSA || weakCurve {
		r.on(e, r.found(WeakKey, where, fmt.Sprintf("%s key of %d bits", c.KeyAlgorithm, c.KeyBits)))
	}
	if c.hasWeakSignature() && !c.SelfSigned {
		r.on(e, r.found(WeakSig, where, "signed with "+c.SignatureAlgorithm.String()))
	}
}

// names judges whether a server certificate names its server.
func (r *run) names(e *entry) {
	c, p := e.cert, r.firstUse(e)
	if c.IsCA || len(c.DNSNames)+len(c.IPAddresses) > 0 || !isServer(c, p.use()) {
		return
	}
	if c.Subject.CommonName == "" {
		r.on(e, r.found(NoSAN, p.path(), "a server certificate that names no host"))
		return
	}
	r.on(e, r.found(LegacyCNOnly, p.path(), fmt.Sprintf("names its host %q only in the common name", c.Subject.CommonName)))
}

// isServer asks the role first: client certificates may carry serverAuth, and
// a certificate without any usage may serve.
func isServer(c *Cert, u *Use) bool {
	if u.Purpose != 0 {
		return u.Purpose&Server != 0
	}
	return len(c.extKeyUsage) > 0 && c.allows(x509.ExtKeyUsageServerAuth)
}

// role judges whether a certificate can do what its file is for.
func (r *run) role(e *entry, p place) {
	c, u := e.cert, p.use()
	if u.Purpose == CA && !c.IsCA {
		r.on(e, r.found(CAFlag, p.path(), fmt.Sprintf("%q is not a CA certificate", c.Subject.CommonName)))
	}
	if p.index > 0 || c.IsCA {
		return
	}
	var missing []string
	if u.Purpose&Server != 0 && !c.allows(x509.ExtKeyUsageServerAuth) {
		missing = append(missing, "serverAuth")
	}
	if u.Purpose&Client != 0 && !c.allows(x509.ExtKeyUsageClientAuth) {
		missing = append(missing, "clientAuth")
	}
	if len(missing) > 0 {
		r.on(e, r.found(EKUMissing, p.path(), fmt.Sprintf("a certificate for %s needs the extended key usage %s", u.Role, joinWords(missing))))
	}
}
