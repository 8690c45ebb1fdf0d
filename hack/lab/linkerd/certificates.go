package linkerd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/local"
)

//go:embed certificates.yaml
var certificatesYAML string

// createCertificates lets cert-manager issue anchor and issuer.
func (m *Mesh) createCertificates(ctx context.Context) error {
	if err := m.apply(ctx, certificatesYAML); err != nil {
		return err
	}
	for _, key := range []client.ObjectKey{m.AnchorKey(), m.IssuerKey()} {
		err := await(ctx, "the certificate "+key.String(), func(ctx context.Context) error {
			_, err := m.certificates(ctx, key)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Mesh) generations() bool { return m.options.Layout == v1alpha1.LayoutGenerations }

// apply creates the objects of a template.
func (m *Mesh) apply(ctx context.Context, text string) error {
	parsed, err := template.New("").Parse(text)
	if err != nil {
		return fmt.Errorf("reading a template: %w", err)
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, struct {
		Names
		Times                   Times
		Generations, AnchorEnds bool
		Foreign                 string
	}{m.Names, m.options.Times, m.generations(), m.options.AnchorEnds, m.foreign})
	if err != nil {
		return fmt.Errorf("filling in a template: %w", err)
	}
	return local.Apply(ctx, m.Client, out.Bytes())
}

// newRoot makes the root of another cluster, as PEM. Nobody needs its key.
func newRoot(name string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		return "", fmt.Errorf("making a certificate: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// AnchorKey is that of the anchor's Certificate and Secret.
func (m *Mesh) AnchorKey() client.ObjectKey {
	return client.ObjectKey{Namespace: TrustNamespace, Name: m.Names.Anchor}
}

// PreviousKey is that of the previous anchor's Secret.
func (m *Mesh) PreviousKey() client.ObjectKey {
	return client.ObjectKey{Namespace: TrustNamespace, Name: m.Previous}
}

// IssuerKey is that of the issuer's Certificate and Secret.
func (m *Mesh) IssuerKey() client.ObjectKey {
	return client.ObjectKey{Namespace: m.Mesh, Name: m.Names.Issuer}
}

// BundleKey is that of the published ConfigMap.
func (m *Mesh) BundleKey() client.ObjectKey {
	return client.ObjectKey{Namespace: m.Mesh, Name: m.Bundle}
}

func (m *Mesh) secret(ctx context.Context, key client.ObjectKey) (*corev1.Secret, error) {
	var s corev1.Secret
	if err := m.Client.Get(ctx, key, &s); err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	return &s, nil
}

// certificates are those of a Secret's tls.crt, at least one.
func (m *Mesh) certificates(ctx context.Context, key client.ObjectKey) ([]*x509.Certificate, error) {
	s, err := m.secret(ctx, key)
	if err != nil {
		return nil, err
	}
	return parse(s.Data[corev1.TLSCertKey])
}

func parse(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d: %w", len(out), err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("there is no certificate")
	}
	return out, nil
}
