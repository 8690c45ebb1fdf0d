package proxies

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/reanchor/reanchor/hack/lab/identity"
)

// Reason is why a handshake failed.
type Reason string

// The reasons. Linkerd's proxies say `certificate expired` for Expired and
// `BadSignature` for BadSignature.
const (
	// Expired: a certificate of the chain is outside of its validity.
	Expired Reason = "Expired"
	// UnknownAuthority: no anchor has the name of the chain's issuer.
	UnknownAuthority Reason = "UnknownAuthority"
	// BadSignature: an anchor has that name, and another key.
	BadSignature Reason = "BadSignature"
	// NoLeaf: one of the two had no certificate to present.
	NoLeaf Reason = "NoLeaf"
	// Other is what none of these says.
	Other Reason = "Other"
)

// refusal is how one proxy turns down another's chain.
type refusal struct {
	reason Reason
	err    error
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %v", r.reason, r.err) }
func (r *refusal) Unwrap() error { return r.err }

// trust is the anchors of one process.
type trust struct {
	anchors      []*x509.Certificate
	pool         *x509.CertPool
	fingerprints []string
}

// parseTrust reads anchors and forgets when they expire, since Linkerd's
// verifier does not look. What Go cannot parse is left out. Without any the
// process would not start.
func parseTrust(text string) (*trust, error) {
	t := &trust{pool: x509.NewCertPool()}
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		anchor, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		anchor.NotBefore, anchor.NotAfter = time.Time{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
		t.pool.AddCert(anchor)
		t.anchors = append(t.anchors, anchor)
		t.fingerprints = append(t.fingerprints, identity.Fingerprint(anchor.Raw))
	}
	if len(t.anchors) == 0 {
		return nil, errors.New("the bundle holds no certificate")
	}
	return t, nil
}

// expectation is what a chain has to show: a name, unless it is empty, and a use.
type expectation struct {
	name  string
	usage x509.ExtKeyUsage
	now   time.Time
}

// verify returns nil for a chain, leaf first, that meets the expectation.
func (t *trust) verify(chain []*x509.Certificate, want expectation) *refusal {
	if len(chain) == 0 {
		return &refusal{NoLeaf, errors.New("no certificate was presented")}
	}
	above := x509.NewCertPool()
	for _, c := range chain[1:] {
		above.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: t.pool, Intermediates: above, CurrentTime: want.now, DNSName: want.name, KeyUsages: []x509.ExtKeyUsage{want.usage},
	})
	if err == nil {
		return nil
	}
	return &refusal{t.reason(err, chain, want.now), err}
}

func (t *trust) reason(err error, chain []*x509.Certificate, now time.Time) Reason {
	for _, c := range chain {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return Expired
		}
	}
	if unknown := new(x509.UnknownAuthorityError); !errors.As(err, unknown) {
		return Other
	}
	top := chain[len(chain)-1]
	for _, a := range t.anchors {
		if bytes.Equal(a.RawSubject, top.RawIssuer) {
			return BadSignature
		}
	}
	return UnknownAuthority
}
