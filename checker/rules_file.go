package checker

import (
	"fmt"
	"slices"
	"strings"
)

// othersMayRead are the permission bits of group and others.
const othersMayRead = 0o077

// file judges one file as a whole. Leftovers have said all they have to say.
func (r *run) file(f *File) {
	if f.Orphan != "" && !r.policy.IncludeOrphaned {
		if len(f.Certs) == 0 {
			r.off(r.found(Orphaned, f.location(), f.Orphan))
		}
		return
	}
	r.faults(f)
	r.keys(f)
	r.bundle(f)
	r.requests(f)
	for _, next := range f.CRLs {
		if !next.IsZero() && r.now.After(next) {
			r.onFile(f, r.found(CRLStale, f.location(), "its revocation list should have been replaced by "+next.UTC().Format("2006-01-02 15:04:05Z")))
		}
	}
}

// faults reports what went wrong while reading.
func (r *run) faults(f *File) {
	for _, fault := range f.Faults {
		finding := r.found(fault.ID, f.location(), fault.Detail)
		if when := r.rules[fault.ID].WhenNamed; f.Named && when != OK {
			finding.Severity = when
		}
		r.onFile(f, finding)
	}
}

// notCurrent reports whether a certificate that counts is used by other
// contexts of kubeconfigs alone.
func (r *run) notCurrent(e *entry) bool {
	return r.inUse(e) && !slices.ContainsFunc(e.places, func(p place) bool { return r.counts(p) && !p.notCurrent() })
}

// ofOtherContext is a finding about what the current-context of its kubeconfig
// does not use: nothing fails before somebody switches to another.
func (f Finding) ofOtherContext() Finding {
	f.Severity = min(f.Severity, Warning)
	f.Message += "; the kubeconfig's current-context does not use it"
	return f
}

// keys compares private keys with certificates by their public halves.
func (r *run) keys(f *File) {
	if len(f.Keys) > 0 && len(f.Certs) > 0 {
		r.keyBeside(f)
	}
	r.keyMode(f)
	if f.KeyFile == nil {
		return
	}
	for _, fault := range f.KeyFile.Faults {
		r.onFile(f, r.found(fault.ID, f.KeyFile.Path, fault.Detail))
	}
	if m := f.KeyFile.Mode; m&othersMayRead != 0 {
		r.onFile(f, r.found(KeyPermissions, f.KeyFile.Path, fmt.Sprintf("mode %04o lets others than the owner read the key", m)))
	}
	if len(f.KeyFile.Keys) > 0 && len(f.Certs) > 0 && !anyPair(f.Certs, f.KeyFile.Keys) {
		r.keyMismatch(f, f.KeyFile.Path)
	}
}

// keyBeside judges a key in the certificate's own file.
func (r *run) keyBeside(f *File) {
	if !anyPair(f.Certs, f.Keys) {
		r.keyMismatch(f, "the same file")
	}
	if f.Source != SourceFile || r.told(f) {
		return
	}
	finding := r.found(PrivateKeyInBundle, f.location(), "holds a private key beside the certificate")
	switch {
	case f.Mode&othersMayRead != 0:
		finding.Severity, finding.Message = Warning, fmt.Sprintf("holds a private key and has mode %04o", f.Mode)
	case f.Use.WithKey:
		finding.Message, finding.Remedy = "holds the private key too, by design", "Nothing, as long as the file's mode stays at 0600."
	}
	r.onFile(f, finding)
}

// told reports whether the same key was found under another name: kubelet has a
// link to the file of the day.
func (r *run) told(f *File) bool {
	before := r.keysTold[f.ID]
	r.keysTold[f.ID] = f.ID != (FileID{})
	return before
}

// keyMode judges a file that holds nothing but a key.
func (r *run) keyMode(f *File) {
	if len(f.Keys) > 0 && len(f.Certs) == 0 && f.Source == SourceFile && f.Mode&othersMayRead != 0 {
		r.off(r.found(KeyPermissions, f.location(), fmt.Sprintf("mode %04o lets others than the owner read the key", f.Mode)))
	}
}

func (r *run) keyMismatch(f *File, where string) {
	finding := r.found(KeyMismatch, f.location(), "the private key in "+where+" does not belong to the certificate")
	finding.Remedy = renewal(&f.Use, finding.Remedy)
	r.onFile(f, finding)
}

func anyPair(certs []*Cert, keys []Fingerprint) bool {
	return slices.ContainsFunc(certs, func(c *Cert) bool { return slices.Contains(keys, c.SPKI) })
}

// bundle judges the members of a file against one another.
func (r *run) bundle(f *File) {
	if len(f.Certs) < 2 {
		return
	}
	seen := map[Fingerprint]bool{}
	for i, c := range f.Certs {
		if seen[c.Fingerprint] {
			r.on(r.byID[c.Fingerprint], r.found(BundleDuplicate, f.location(), fmt.Sprintf("certificate %d of the file is there already", i+1)))
		}
		seen[c.Fingerprint] = true
	}
	var unused []*entry
	cas, used := 0, 0
	for fp := range seen {
		switch e := r.byID[fp]; {
		case !e.cert.IsCA:
		case e.signedAny:
			cas, used = cas+1, used+1
		default:
			cas, unused = cas+1, append(unused, e)
		}
	}
	if cas < 2 || used == 0 {
		return
	}
	for _, e := range unused {
		r.on(e, r.found(BundleUnusedCA, f.location(), fmt.Sprintf("the CA %q signed nothing that was found", e.cert.Subject.CommonName)))
	}
}

// requests judges certificate requests.
func (r *run) requests(f *File) {
	for _, key := range f.Requests {
		if !slices.ContainsFunc(r.entries, func(e *entry) bool { return e.cert.SPKI == key }) {
			r.onFile(f, r.found(CSRPending, f.location(), "no certificate was found for the request's key"))
		} else if len(f.Certs) == 0 {
			r.onFile(f, r.found(CSROnly, f.location(), "holds a certificate request, not a certificate"))
		}
	}
}

// joinWords is "a", "a and b", "a, b and c".
func joinWords(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
