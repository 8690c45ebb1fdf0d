package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Request is what a proxy asks for.
type Request struct {
	// Pod is the proxy's pod.
	Pod types.UID
	// Name is the proxy's identity, a DNS name.
	Name string
	// Key is the proxy's public key.
	Key *ecdsa.PublicKey
}

// Leaf is a signed one.
type Leaf struct {
	// Certificate is the leaf itself.
	Certificate *x509.Certificate
	// Chain is what the proxy presents: the leaf and its issuer, in DER.
	Chain [][]byte
}

// Fingerprint of a certificate: the hex SHA-256 of its DER.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// files are the two that are mounted for the issuer.
type files struct{ certificate, key []byte }

func (f files) present() bool { return f.certificate != nil }

// filesOf a Secret, of either of the types that Linkerd knows.
func filesOf(data map[string][]byte) files {
	if certificate, ok := data["tls.crt"]; ok {
		return files{certificate, data["tls.key"]}
	}
	return files{data["crt.pem"], data["key.pem"]}
}

// issuer signs leaves.
type issuer struct {
	fingerprint string
	chain       []*x509.Certificate // the issuer first
	key         *ecdsa.PrivateKey
	// end is when the first of the chain expires.
	end time.Time
}

// load reads an issuer and verifies it as linkerd-identity does: at now, against
// anchors of which expired ones prove nothing.
func load(f files, anchors *x509.CertPool, now time.Time) (*issuer, error) {
	pair, err := tls.X509KeyPair(f.certificate, f.key)
	if err != nil {
		return nil, fmt.Errorf("reading the issuer: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the issuer's key is not ECDSA P-256")
	}
	i := &issuer{fingerprint: Fingerprint(pair.Certificate[0]), key: key}
	above := x509.NewCertPool()
	for n, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d of the issuer: %w", n, err)
		}
		if i.end.IsZero() || c.NotAfter.Before(i.end) {
			i.end = c.NotAfter
		}
		i.chain = append(i.chain, c)
		above.AddCert(c)
	}
	if !i.chain[0].IsCA {
		return nil, fmt.Errorf("the issuer %s is no CA", i.fingerprint)
	}
	_, err = i.chain[0].Verify(x509.VerifyOptions{Roots: anchors, Intermediates: above, CurrentTime: now})
	if err != nil {
		return nil, fmt.Errorf("verifying the issuer %s: %w", i.fingerprint, err)
	}
	return i, nil
}

// sign issues a leaf at now that lasts for lifetime, with an allowance for skewed
// clocks at both ends, but no longer than the issuer.
func (i *issuer) sign(r Request, now time.Time, o Options) (Leaf, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return Leaf{}, fmt.Errorf("choosing a serial number: %w", err)
	}
	end := now.Add(o.LeafLifetime + o.ClockSkew)
	if i.end.Before(end) {
		end = i.end
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: r.Name},
		DNSNames:     []string{r.Name},
		NotBefore:    now.Add(-o.ClockSkew),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, i.chain[0], r.Key, i.key)
	if err != nil {
		return Leaf{}, fmt.Errorf("signing a leaf for %s: %w", r.Name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Leaf{}, fmt.Errorf("reading the leaf of %s: %w", r.Name, err)
	}
	chain := [][]byte{der}
	for _, c := range i.chain {
		chain = append(chain, c.Raw)
	}
	return Leaf{Certificate: leaf, Chain: chain}, nil
}
