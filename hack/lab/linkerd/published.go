package linkerd

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/reanchor/reanchor/hack/lab/identity"
)

// Anchors are fingerprints: hex SHA-256 of the DER, sorted.
type Anchors []string

// Has tells whether an anchor is among them.
func (a Anchors) Has(fingerprint string) bool { return slices.Contains(a, fingerprint) }

// String is short, for a test's message.
func (a Anchors) String() string {
	short := make([]string, 0, len(a))
	for _, f := range a {
		short = append(short, f[:min(8, len(f))])
	}
	return "[" + strings.Join(short, " ") + "]"
}

func anchorsOf(certificates []*x509.Certificate) Anchors {
	var out Anchors
	for _, c := range certificates {
		out = append(out, identity.Fingerprint(c.Raw))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Published are the anchors of the ConfigMap that pods get.
func (m *Mesh) Published(ctx context.Context) (Anchors, error) {
	certificates, err := m.published(ctx)
	return anchorsOf(certificates), err
}

func (m *Mesh) published(ctx context.Context) ([]*x509.Certificate, error) {
	var cm corev1.ConfigMap
	if err := m.Client.Get(ctx, m.BundleKey(), &cm); err != nil {
		return nil, fmt.Errorf("reading the published bundle: %w", err)
	}
	return parse([]byte(cm.Data[identity.BundleKey]))
}

// Anchor is the fingerprint of the anchor that cert-manager issued last under the
// anchor's name. With Generations that is the first generation.
func (m *Mesh) Anchor(ctx context.Context) (string, error) {
	certificates, err := m.certificates(ctx, m.AnchorKey())
	if err != nil {
		return "", err
	}
	return identity.Fingerprint(certificates[0].Raw), nil
}

// Foreign is the fingerprint of the other cluster's root, "" without one.
func (m *Mesh) Foreign() string {
	certificates, err := parse([]byte(m.foreign))
	if err != nil {
		return ""
	}
	return identity.Fingerprint(certificates[0].Raw)
}

// Issuer is the fingerprint of the issuer in its Secret.
func (m *Mesh) Issuer(ctx context.Context) (string, error) {
	certificates, err := m.certificates(ctx, m.IssuerKey())
	if err != nil {
		return "", err
	}
	return identity.Fingerprint(certificates[0].Raw), nil
}

// SignedBy is the published anchor that signed the issuer in its Secret; an error
// when none did.
func (m *Mesh) SignedBy(ctx context.Context) (string, error) {
	issuer, err := m.certificates(ctx, m.IssuerKey())
	if err != nil {
		return "", err
	}
	published, err := m.published(ctx)
	if err != nil {
		return "", err
	}
	for _, anchor := range published {
		if issuer[0].CheckSignatureFrom(anchor) == nil {
			return identity.Fingerprint(anchor.Raw), nil
		}
	}
	return "", fmt.Errorf("no anchor of the published bundle %s has signed the issuer", anchorsOf(published))
}
