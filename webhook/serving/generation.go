package serving

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// backdate is how far clocks of API servers may be behind.
const backdate = time.Hour

// Generation is a serving certificate with the CA that signed it.
type Generation struct {
	// CA and Cert are certificates, Key the private key of Cert, all in PEM.
	CA, Cert, Key []byte
}

// Issue makes a generation for the host names that is valid from now, and a
// while back, for the lifetime.
func Issue(names []string, now time.Time, lifetime time.Duration) (Generation, error) {
	ca, caKey, err := issueCA(now, lifetime)
	if err != nil {
		return Generation{}, fmt.Errorf("issuing a serving CA: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Generation{}, fmt.Errorf("generating a serving key: %w", err)
	}
	leaf, err := template(now, lifetime)
	if err != nil {
		return Generation{}, err
	}
	leaf.Subject = pkix.Name{CommonName: names[0]}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return Generation{}, fmt.Errorf("signing the serving certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Generation{}, fmt.Errorf("encoding the serving key: %w", err)
	}
	return Generation{CA: certificatePEM(ca.Raw), Cert: certificatePEM(der), Key: encode("PRIVATE KEY", keyDER)}, nil
}

// issueCA issues a CA under a name of its own, so that a verifier that has
// several never tries the wrong one.
func issueCA(now time.Time, lifetime time.Duration) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	ca, err := template(now, lifetime)
	if err != nil {
		return nil, nil, err
	}
	ca.Subject = pkix.Name{CommonName: "reanchor-webhook-ca-" + ca.SerialNumber.Text(36)}
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero = true, true, true
	ca.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	ca, err = x509.ParseCertificate(der)
	return ca, key, err
}

func template(now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	return &x509.Certificate{SerialNumber: serial, NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime)}, nil
}

const certificateType = "CERTIFICATE"

func certificatePEM(der []byte) []byte { return encode(certificateType, der) }

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Empty reports whether there is no generation.
func (g Generation) Empty() bool { return len(g.Cert) == 0 }

// Equal reports whether both are the same certificate.
func (g Generation) Equal(o Generation) bool { return bytes.Equal(g.Cert, o.Cert) }

// Certificate returns the pair as a TLS server presents it.
func (g Generation) Certificate() (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(g.Cert, g.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the serving certificate: %w", err)
	}
	return &pair, nil
}

// names are the host names and addresses it is for.
func (g Generation) names() []string {
	pair, err := g.Certificate()
	if err != nil {
		return nil
	}
	names := slices.Clone(pair.Leaf.DNSNames)
	for _, ip := range pair.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// NotAfter is when the first of leaf and CA expires; the zero time when they
// cannot be read.
func (g Generation) NotAfter() time.Time {
	pair, err := g.Certificate()
	if err != nil {
		return time.Time{}
	}
	end := pair.Leaf.NotAfter
	if cas := certificates(g.CA); len(cas) > 0 && cas[0].NotAfter.Before(end) {
		end = cas[0].NotAfter
	}
	return end
}

// Check says why the generation cannot serve the names at the time, nil if it
// can: the key fits, the leaf verifies against the CA, and is for every name.
func (g Generation) Check(names []string, now time.Time) error {
	return g.verify(g.CA, names, now)
}

// verify is Check against other roots than the generation's own CA.
func (g Generation) verify(roots []byte, names []string, now time.Time) error {
	if g.Empty() {
		return errors.New("there is no serving certificate")
	}
	pair, err := g.Certificate()
	if err != nil {
		return err
	}
	pool, intermediates := x509.NewCertPool(), x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return errors.New("the caBundle holds no certificate")
	}
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(c)
		}
	}
	options := x509.VerifyOptions{Roots: pool, Intermediates: intermediates, CurrentTime: now}
	if _, err := pair.Leaf.Verify(options); err != nil {
		return fmt.Errorf("the serving certificate does not verify: %w", err)
	}
	for _, name := range names {
		if err := pair.Leaf.VerifyHostname(name); err != nil {
			return fmt.Errorf("the serving certificate is for other names: %w", err)
		}
	}
	return nil
}

// certificates parses those of a PEM text that can be; a damaged one hides no other.
func certificates(text []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == certificateType {
			out = append(out, cert)
		}
	}
}
