package webhook

import (
	"fmt"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// maxName bounds what of a certificate's subject is quoted: whoever wrote the
// pod wrote the subject too.
const maxName = 200

// The two ways out of every denial, on the same line.
const (
	waysOut = "; publish a valid bundle and let the pod be created again" + orOptOut
	// The published bundle is right where a pod does not trust the issuer in use:
	// what wrote it into the pod is behind.
	injectorBehind = "; its injector still writes an earlier bundle: its owner tries again by itself, and if that lasts, restart the injector" + orOptOut
	orOptOut       = ", or opt out: annotate the namespace with " + v1alpha1.OptOutAnnotation + "=" + v1alpha1.OptOutAdmission
)

// expired names the anchor that expired last, since that is the one whose end
// ended the trust.
func (s *subject) expired() string {
	anchors := s.trust.Maybe.Anchors()
	last := anchors[0]
	for _, a := range anchors[1:] {
		if a.NotAfter.After(last.NotAfter) {
			last = a
		}
	}
	what := fmt.Sprintf("the pod's only trust anchor, %s, expired", describe(last))
	if len(anchors) > 1 {
		what = fmt.Sprintf("all %d trust anchors of the pod have expired, the last, %s,", len(anchors), describe(last))
	}
	return fmt.Sprintf("mesh %q: %s at %s%s", s.Name, what, last.NotAfter.UTC().Format(time.RFC3339), waysOut)
}

func (s *subject) noCertificate() string {
	return fmt.Sprintf("mesh %q: the pod's trust bundle holds no certificate at all%s", s.Name, waysOut)
}

func (s *subject) issuerNotTrusted() string {
	signer := s.signers.Anchors()[0]
	return fmt.Sprintf("mesh %q: the pod does not trust the anchor of the issuer in use, %s, which expires at %s%s",
		s.Name, describe(signer), expiry(signer), injectorBehind)
}

func (s *subject) unknown() string {
	return fmt.Sprintf("mesh %q: cannot tell what the pod trusts: %s", s.Name, s.trust.Why)
}

func (s *subject) undated() string {
	for _, a := range s.trust.Maybe.Anchors() {
		if !a.ValidityKnown() {
			return fmt.Sprintf("mesh %q: cannot tell when the trust anchor %s expires", s.Name, describe(a))
		}
	}
	return ""
}

// describe names an anchor by subject and the beginning of its fingerprint.
// The subject is quoted, so that it stays on the line.
func describe(a bundle.Anchor) string {
	if a.Subject == "" {
		return "sha256:" + a.Fingerprint.Short()
	}
	return fmt.Sprintf("%.*q (sha256:%s)", maxName, a.Subject, a.Fingerprint.Short())
}

func expiry(a bundle.Anchor) string {
	if !a.ValidityKnown() {
		return "an unknown time"
	}
	return a.NotAfter.UTC().Format(time.RFC3339)
}
