package checker

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// endpoint compares what is served with what is on disk.
func (r *run) endpoint(e *Endpoint) {
	s := Served{Address: e.Address, ServerName: e.ServerName, Role: e.Use.Role, State: e.State, Match: MatchUnknown}
	expected := r.expectedFiles(e)
	for _, f := range expected {
		s.ExpectedLocations = append(s.ExpectedLocations, f.location())
	}
	for i, c := range e.Chain {
		id := c.id
		if i == 0 {
			s.LeafID = id
		}
		s.ChainIDs = append(s.ChainIDs, id)
	}
	var findings []Finding
	if e.State == EndpointServing && len(e.Chain) > 0 {
		s.Match = matches(e.Chain[0], expected)
		findings = r.live(e, s.Match, expected)
	} else if f, ok := r.silent(e); ok {
		findings = []Finding{f}
	}
	for _, f := range findings {
		if !r.policy.ignores(f) {
			s.Findings = append(s.Findings, f)
		}
	}
	r.served = append(r.served, s)
}

// expectedFiles are the files in use that this endpoint loads.
func (r *run) expectedFiles(e *Endpoint) []*File {
	var files []*File
	for i := range r.facts.Files {
		f := &r.facts.Files[i]
		inUse := f.Orphan == "" || r.policy.IncludeOrphaned
		if inUse && len(f.Certs) > 0 && (e.loads(&f.Use) || matchesAny(e.ExpectPaths, f.Path)) {
			files = append(files, f)
		}
	}
	return files
}

// loads compares roles. A file or endpoint whose instance is not known may
// belong to any.
func (e *Endpoint) loads(u *Use) bool {
	if u.Profile != e.Use.Profile || !slices.Contains(e.Expect, u.Role) {
		return false
	}
	return e.Use.Instance == "" || u.Instance == "" || e.Use.Instance == u.Instance
}

func matchesAny(patterns []string, file string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, file)
		return err == nil && ok
	})
}

func matches(leaf *Cert, expected []*File) Match {
	if len(expected) == 0 {
		return MatchUnknown
	}
	for _, f := range expected {
		if f.Certs[0].Fingerprint == leaf.Fingerprint {
			return MatchYes
		}
	}
	return MatchNo
}

// live judges a served certificate. Its dates and chain are judged with those
// of all certificates.
func (r *run) live(e *Endpoint, match Match, expected []*File) []Finding {
	var findings []Finding
	leaf := e.Chain[0]
	switch {
	case match == MatchNo:
		findings = append(findings, r.mismatch(e, expected))
	case match == MatchUnknown && !r.onDisk(leaf) && (e.InMemory || len(e.Expect)+len(e.ExpectPaths) > 0):
		findings = append(findings, r.found(LiveUnmapped, e.Address, fmt.Sprintf("serves %s, which is in no file found; it %s",
			leaf.Fingerprint.Short(), validityText(leaf, r.now))))
	}
	if e.NamesAddress && !namesHost(leaf, e) {
		findings = append(findings, r.found(SANMissingEndpoint, e.Address, fmt.Sprintf("serves a certificate for %s, which is not the address dialled",
			joinWords(append(slices.Clone(leaf.DNSNames), leaf.IPAddresses...)))))
	}
	return findings
}

func (r *run) onDisk(c *Cert) bool {
	return slices.ContainsFunc(r.byID[c.Fingerprint].places, func(p place) bool { return p.file != nil && r.counts(p) })
}

func (r *run) mismatch(e *Endpoint, expected []*File) Finding {
	leaf, disk := e.Chain[0], expected[0]
	f := r.found(LiveMismatch, e.Address, fmt.Sprintf("serves %s, which %s; on disk %s holds %s, which %s",
		leaf.Fingerprint.Short(), validityText(leaf, r.now), disk.location(), disk.Certs[0].Fingerprint.Short(), validityText(disk.Certs[0], r.now)))
	if leaf.NotAfter.Sub(r.now) < r.policy.thresholds(leaf).Warning {
		f.Severity = Critical
	}
	use := e.Use
	if use.Restart == "" {
		use = disk.Use
	}
	f.Remedy = restart(&use, f.Remedy)
	return f
}

// silent judges an endpoint that served no certificate.
func (r *run) silent(e *Endpoint) (Finding, bool) {
	switch e.State {
	case EndpointNotTLS:
		return r.found(LiveNotTLS, e.Address, e.Detail), true
	case EndpointUnreachable:
		f := r.found(LiveUnreachable, e.Address, e.Detail)
		if e.MayBeElsewhere {
			f.Severity = Info
		}
		return f, true
	default:
		return Finding{}, false
	}
}

// namesHost compares the dialled host with the certificate's names, wildcards
// in the first label included.
func namesHost(leaf *Cert, e *Endpoint) bool {
	host := e.ServerName
	if host == "" {
		host = e.Address
		if i := strings.LastIndexByte(host, ':'); i >= 0 {
			host = host[:i]
		}
		host = strings.Trim(host, "[]")
	}
	if slices.Contains(leaf.IPAddresses, host) {
		return true
	}
	_, parent, _ := strings.Cut(host, ".")
	return slices.ContainsFunc(leaf.DNSNames, func(name string) bool {
		return strings.EqualFold(name, host) || (parent != "" && strings.EqualFold(name, "*."+parent))
	})
}
