package checker

import (
	"fmt"
	"path"
	"slices"
	"sync"
	"time"
)

// group is what "beside" means for a file: its directory, or its Secret. A
// kubeconfig's CA verifies the server, not the client certificate next to it,
// so its entries are groups of their own.
func (f *File) group() string {
	switch f.Source {
	case SourceFile:
		return path.Dir(f.Path)
	case SourceKubeconfig:
		return f.location()
	default:
		return string(f.Source) + ":" + f.Path
	}
}

// verify is SignedBy, remembered.
func (e *entry) verify(ca *Cert) Signature {
	if known, ok := e.verified(ca); ok {
		return known
	}
	outcome := e.cert.SignedBy(ca)
	e.signatures = append(e.signatures, signature{ca.Fingerprint, outcome})
	return outcome
}

// verified is what is remembered. A certificate has one CA with its issuer's
// name, rarely two, so the list is short.
func (e *entry) verified(ca *Cert) (Signature, bool) {
	for i := range e.signatures {
		if s := &e.signatures[i]; s.ca == ca.Fingerprint {
			return s.outcome, true
		}
	}
	return SignatureUnverifiable, false
}

// verifiers is how many signatures are verified at the same time. That is most
// of the work of a first check, and its order does not matter.
const verifiers = 4

// verifyAll fills the memory with what findIssuer will ask for.
func (r *run) verifyAll() {
	work := r.unverified()
	var wg sync.WaitGroup
	for first := range min(verifiers, len(work)) {
		wg.Go(func() {
			for i := first; i < len(work); i += verifiers {
				work[i].outcome = work[i].entry.cert.SignedBy(work[i].ca)
			}
		})
	}
	wg.Wait()
	for _, w := range work {
		w.entry.signatures = append(w.entry.signatures, signature{w.ca.Fingerprint, w.outcome})
	}
}

// unverified are the signatures that no check before verified.
func (r *run) unverified() []signatureWork {
	var work []signatureWork
	for _, e := range r.entries {
		if e.cert.SelfSigned || !r.inUse(e) {
			continue
		}
		for _, ca := range r.bySubject[e.cert.rawIssuer] {
			if ca == e || !keyIDsAgree(e.cert, ca.cert) {
				continue
			}
			if _, ok := e.verified(ca.cert); !ok {
				work = append(work, signatureWork{entry: e, ca: ca.cert})
			}
		}
	}
	return work
}

type signatureWork struct {
	entry   *entry
	ca      *Cert
	outcome Signature
}

// findIssuer looks for the CA that signed e among all that were found. Of
// several with the same key (a renewed CA) the one that lives longest counts,
// because that is the one that keeps the leaf alive.
func (r *run) findIssuer(e *entry) {
	if e.cert.SelfSigned {
		return
	}
	anyValid := false
	for _, ca := range r.bySubject[e.cert.rawIssuer] {
		if !r.signed(ca, e) {
			continue
		}
		ca.signedAny = true
		anyValid = anyValid || r.validNow(ca.cert)
		if e.issuer == nil || ca.cert.NotAfter.After(e.issuer.cert.NotAfter) {
			e.issuer = ca
		}
	}
	if e.issuer != nil && !anyValid && r.validNow(e.cert) {
		e.issuer.needed = true
	}
}

func (r *run) signed(ca, e *entry) bool {
	return ca != e && keyIDsAgree(e.cert, ca.cert) && e.verify(ca.cert) == SignatureGood
}

// keyIDsAgree is false only when both identifiers are there and differ.
func keyIDsAgree(c, ca *Cert) bool {
	return c.aki == "" || ca.ski == "" || c.aki == ca.ski
}

// sameEnd is by how much a leaf may outlive its CA before that is a finding.
// The key stores of kops until 1.18 give the CA and then its leaves ten years
// each, a minute apart (pkg/pki), so without it every leaf of a healthy node
// would be a warning for ten years, with nothing to be done. Nothing is missed:
// both end within the hour, and each has its own expiring and expired.
const sameEnd = time.Hour

// chain judges who signed the certificate.
func (r *run) chain(e *entry) {
	if e.cert.SelfSigned || e.cert.hasWeakSignature() || !r.inUse(e) {
		return
	}
	if bad, ok := r.badNeighbour(e); ok {
		r.on(e, bad)
		return
	}
	if e.issuer == nil {
		r.unknownIssuer(e)
		return
	}
	ca := e.issuer.cert
	if e.cert.IsCA || e.cert.NotAfter.Sub(ca.NotAfter) <= sameEnd || !r.validNow(e.cert) {
		return
	}
	p := r.firstUse(e)
	f := r.found(CAExpiresBeforeLeaf, p.path(), fmt.Sprintf("its CA %q %s, earlier than the certificate itself",
		ca.Subject.CommonName, validityText(ca, r.now)))
	if ca.NotAfter.Sub(r.now) < r.policy.thresholds(ca).Critical {
		f.Severity = Critical
	}
	r.on(e, f)
}

// badNeighbour finds a place where the CA beside the certificate has its
// issuer's name and did not sign it.
func (r *run) badNeighbour(e *entry) (Finding, bool) {
	for _, p := range e.places {
		if p.file == nil || !r.counts(p) {
			continue
		}
		beside := r.local[localKey{p.file.group(), e.cert.rawIssuer}]
		if len(beside) == 0 || !r.allBad(e, beside) {
			continue
		}
		message := fmt.Sprintf("not signed by the CA %q in %s", beside[0].cert.Subject.CommonName, r.firstUse(beside[0]).path())
		if e.issuer != nil {
			message += fmt.Sprintf("; the CA that signed it is in %s", r.firstUse(e.issuer).path())
		}
		f := r.found(ChainBadSignature, p.path(), message)
		f.Remedy = renewal(p.use(), f.Remedy)
		return f, true
	}
	return Finding{}, false
}

func (r *run) allBad(e *entry, cas []*entry) bool {
	return !slices.ContainsFunc(cas, func(ca *entry) bool {
		return ca == e || e.verify(ca.cert) != SignatureBad
	})
}

// unknownIssuer reports a leaf without a CA. If the CA exists whose key the leaf
// names, under whatever name, and did not sign it, that is worse than unknown.
func (r *run) unknownIssuer(e *entry) {
	p, c := r.firstUse(e), e.cert
	for _, ca := range r.byKeyID[c.aki] {
		if ca != e && e.verify(ca.cert) == SignatureBad {
			r.on(e, r.found(ChainBadSignature, p.path(), fmt.Sprintf("claims to be signed by the key of the CA %q in %s, and is not",
				ca.cert.Subject.CommonName, r.firstUse(ca).path())))
			return
		}
	}
	if c.IsCA {
		return
	}
	f := r.found(ChainUnknownIssuer, p.path(), fmt.Sprintf("none of the CAs found signed it; its issuer is %q", c.Issuer.CommonName))
	if !r.trustSeen {
		f.Severity, f.Message = Info, fmt.Sprintf("no CA was in scope to verify it with; its issuer is %q", c.Issuer.CommonName)
	}
	r.on(e, f)
}
