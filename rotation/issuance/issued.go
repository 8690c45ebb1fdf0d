package issuance

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// revisionAnnotation on a CertificateRequest is the revision that it is for.
const revisionAnnotation = "cert-manager.io/certificate-revision"

// certificate describes a Certificate and returns the chain that it issued last.
func (r *reading) certificate(ctx context.Context, u *unstructured.Unstructured) (lifecycle.Certificate, []*x509.Certificate, error) {
	number, _, _ := unstructured.NestedInt64(u.Object, "status", "revision")
	windows, _, _ := unstructured.NestedSlice(u.Object, "spec", "renewal", "windows")
	c := lifecycle.Certificate{
		Ref: refOf(u), UID: string(u.GetUID()), ResourceVersion: u.GetResourceVersion(), Revision: number,
		SecretName: text(u, "spec", "secretName"), Issuing: issuing(u), FailedAt: timeAt(u, "status", "lastFailureTime"),
		// cert-manager's webhook refuses Disabled beside windows.
		CanHold: r.canHold && len(windows) == 0,
		Held:    held(u), RenewalTime: timeAt(u, "status", "renewalTime"),
	}
	c.HoldSeen = c.Held && c.RenewalTime.IsZero()
	chain, err := r.chain(ctx, u, number)
	if err != nil || len(chain) == 0 {
		return c, nil, err
	}
	c.Issued = &bundle.Of(chain[0]).Anchors()[0]
	return c, chain, nil
}

// chain returns what a Certificate issued as a revision: from its request, or
// as it was seen before; nil when that is not known.
func (r *reading) chain(ctx context.Context, u *unstructured.Unstructured, number int64) ([]*x509.Certificate, error) {
	if number == 0 {
		return nil, nil
	}
	at := revision{string(u.GetUID()), number}
	requests, err := r.fulfilled(ctx, u.GetNamespace())
	if err != nil {
		return nil, err
	}
	chain := r.remembered(at)
	for _, request := range requests {
		if !isOf(request, u) || request.GetAnnotations()[revisionAnnotation] != strconv.FormatInt(number, 10) {
			continue
		}
		if read := chainOf(request); read != nil {
			chain = read
		}
	}
	if chain != nil {
		r.seen[at] = chain
	}
	return chain, nil
}

// signedBy returns the anchors that signed what a Certificate issued. Where none
// that is at hand did, cert-manager itself has named the one: the anchor was
// replaced, and its certificate lost, before anybody put it on record. It must
// have signed by itself, so that no authority above the anchor is taken for it.
func (r *reading) signedBy(ctx context.Context, u *unstructured.Unstructured, chain []*x509.Certificate) (bundle.Set, error) {
	known := lifecycle.SignedBy(chain, r.known)
	if len(chain) == 0 || !known.Empty() {
		return known, nil
	}
	requests, err := r.fulfilled(ctx, u.GetNamespace())
	if err != nil {
		return bundle.Set{}, err
	}
	var named bundle.Set
	for _, request := range requests {
		if isOf(request, u) {
			named = named.Union(authoritiesOf(request))
		}
	}
	return lifecycle.SignedBy(chain[:1], named), nil
}

// authoritiesOf are the CA certificates that a request was fulfilled with.
func authoritiesOf(request *unstructured.Unstructured) bundle.Set {
	decoded, err := base64.StdEncoding.DecodeString(text(request, "status", "ca"))
	if err != nil {
		return bundle.Set{}
	}
	return certificatesOf(string(decoded))
}

// fulfilled lists the requests of a namespace that hold a certificate, once in a
// reading.
func (r *reading) fulfilled(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	if list, ok := r.requests[namespace]; ok {
		return list, nil
	}
	var list []*unstructured.Unstructured
	err := r.each(ctx, requestKind, func(u *unstructured.Unstructured) {
		if text(u, "status", "certificate") != "" {
			list = append(list, u)
		}
	}, client.InNamespace(namespace))
	if err != nil {
		return nil, err
	}
	r.requests[namespace] = list
	return list, nil
}

// isOf reports whether cert-manager made a request for a Certificate, as
// cert-manager itself judges: by its owner. Whoever made one by hand has no say.
func isOf(request, certificate *unstructured.Unstructured) bool {
	owner := metav1.GetControllerOf(request)
	return owner != nil && owner.UID == certificate.GetUID()
}

func chainOf(request *unstructured.Unstructured) []*x509.Certificate {
	decoded, err := base64.StdEncoding.DecodeString(text(request, "status", "certificate"))
	if err != nil {
		return nil
	}
	chain, err := bundle.ParseChain(decoded)
	if err != nil {
		return nil
	}
	return chain
}

// byDates recognises an anchor among those at hand by the dates that
// cert-manager read from its Secret; nil when none or several have them.
func (r *reading) byDates(u *unstructured.Unstructured) *bundle.Anchor {
	notBefore, notAfter := timeAt(u, "status", "notBefore"), timeAt(u, "status", "notAfter")
	name := text(u, "spec", "commonName")
	all := slices.DeleteFunc(r.known.Anchors(), func(a bundle.Anchor) bool {
		c := a.Certificate()
		return c == nil || !c.IsCA || !c.NotBefore.Equal(notBefore) || !c.NotAfter.Equal(notAfter) || name != "" && c.Subject.CommonName != name
	})
	if len(all) != 1 {
		return nil
	}
	return &all[0]
}

// onRecord is the mesh's issuer as the MeshTrust's status has it, when it is
// that which cert-manager's status describes and its signer is on record; nil
// otherwise.
func (r *reading) onRecord(u *unstructured.Unstructured) (*bundle.Anchor, bundle.Set) {
	s := r.mt.Status.Issuer
	if s == nil || !sameTime(s.NotBefore, timeAt(u, "status", "notBefore")) || !sameTime(s.NotAfter, timeAt(u, "status", "notAfter")) {
		return nil, bundle.Set{}
	}
	fingerprint, err := bundle.ParseFingerprint(s.Fingerprint)
	signers := r.knownAs(s.VerifiedBy)
	if err != nil || signers.Empty() {
		return nil, bundle.Set{}
	}
	return &bundle.Anchor{Fingerprint: fingerprint, Subject: s.Subject, NotBefore: s.NotBefore.Time, NotAfter: s.NotAfter.Time}, signers
}

// sameTime reports whether both are known and the same.
func sameTime(a *metav1.Time, b time.Time) bool { return a != nil && a.Time.Equal(b) && !b.IsZero() }

// knownAs returns the anchors at hand that have one of the fingerprints.
func (r *reading) knownAs(fingerprints []string) bundle.Set {
	var out []bundle.Anchor
	for _, text := range fingerprints {
		f, err := bundle.ParseFingerprint(text)
		if a, ok := r.known.Anchor(f); ok && err == nil {
			out = append(out, a)
		}
	}
	return bundle.FromAnchors(out...)
}

// renewalPolicyServed reports whether Certificates have the field that stops
// renewals (cert-manager 1.21).
func (s *Store) renewalPolicyServed(ctx context.Context) (bool, error) {
	u, err := s.get(ctx, crdKind, "", certificateCRD)
	if err != nil || u == nil {
		return false, err
	}
	versions, _, err := unstructured.NestedSlice(u.Object, "spec", "versions")
	if err != nil {
		return false, fmt.Errorf("reading the versions of %s: %w", certificateCRD, err)
	}
	for _, item := range versions {
		version, ok := item.(map[string]any)
		if !ok || version["name"] != certificateKind.Version {
			continue
		}
		_, found, _ := unstructured.NestedMap(version, "schema", "openAPIV3Schema", "properties", "spec", "properties", "renewal", "properties", "policy")
		return found, nil
	}
	return false, nil
}
