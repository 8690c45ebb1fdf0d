package checker

import "slices"

// report turns the run's findings into what is shown.
func (r *run) report() Report {
	report := Report{
		Certificates: make([]Certificate, 0, len(r.entries)),
		Endpoints:    append([]Served{}, r.served...),
		Findings:     append([]Finding{}, r.loose...),
		Summary: Summary{
			Findings: map[RuleID]int{}, Files: len(r.facts.Files),
			Roots: append([]Root{}, r.facts.Roots...),
		},
	}
	for _, e := range r.inOrder() {
		report.Certificates = append(report.Certificates, r.certificate(e.entry))
	}
	sortFindings(report.Findings)
	r.count(&report)
	return report
}

func (r *run) certificate(e *entry) Certificate {
	c := e.cert
	out := Certificate{
		ID: c.id, Status: e.status(), Subject: c.Subject, Issuer: c.Issuer, Serial: c.Serial,
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		ResidualSeconds: int64(c.NotAfter.Sub(r.now).Seconds()),
		IsCA:            c.IsCA, SelfSigned: c.SelfSigned,
		KeyAlgorithm: c.KeyAlgorithm, KeyBits: c.KeyBits, SignatureAlgorithm: c.SignatureAlgorithm.String(),
		DNSNames: c.DNSNames, IPAddresses: c.IPAddresses, Usages: c.Usages(),
		Locations: make([]Location, 0, len(e.places)), Findings: e.findings,
	}
	if e.issuer != nil {
		out.IssuerID = e.issuer.cert.id
	}
	for _, p := range e.places {
		out.Locations = append(out.Locations, p.location())
	}
	// Places that count come first: they are what the table shows.
	slices.SortStableFunc(out.Locations, func(a, b Location) int { return boolOrder(a.Orphaned, b.Orphaned) })
	sortFindings(out.Findings)
	return out
}

// status is the worst that was found.
func (e *entry) status() Severity {
	worst := OK
	for _, f := range e.findings {
		worst = max(worst, f.Severity)
	}
	return worst
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func (p place) location() Location {
	if p.endpoint != nil {
		return Location{Source: SourceEndpoint, Path: p.endpoint.Address, Key: p.endpoint.ServerName, Index: p.index, Profile: p.endpoint.Use.Profile, Role: p.endpoint.Use.Role}
	}
	f := p.file
	l := Location{
		Source: f.Source, Path: f.Path, Key: f.Key, Index: p.index, ResolvedPath: f.Resolved,
		Profile: f.Use.Profile, Role: f.Use.Role, Orphaned: f.Orphan != "",
	}
	if !f.Modified.IsZero() {
		modified := f.Modified.UTC()
		l.Modified = &modified
	}
	return l
}

// count fills the summary and the exit code.
func (r *run) count(report *Report) {
	s := &report.Summary
	for i := range report.Certificates {
		c := &report.Certificates[i]
		s.Certificates++
		switch {
		case !slices.ContainsFunc(c.Locations, func(l Location) bool { return !l.Orphaned }):
			s.Orphaned++
		case c.Status <= Info:
			s.OK++
		}
		seen := map[RuleID]bool{}
		for _, f := range c.Findings {
			seen[f.ID] = true
		}
		if seen[Expired] {
			s.Expired++
		}
		if seen[Expiring] {
			s.Expiring++
		}
	}
	worst := OK
	for f := range report.All() {
		s.Findings[f.ID]++
		s.Status = max(s.Status, f.Severity)
		if r.policy.fails(f) {
			worst = max(worst, f.Severity)
		}
	}
	s.ExitCode = worst.ExitCode()
}

// All visits every finding of the report, worst certificates first.
func (report *Report) All() func(yield func(Finding) bool) {
	return func(yield func(Finding) bool) {
		for i := range report.Certificates {
			for _, f := range report.Certificates[i].Findings {
				if !yield(f) {
					return
				}
			}
		}
		for i := range report.Endpoints {
			for _, f := range report.Endpoints[i].Findings {
				if !yield(f) {
					return
				}
			}
		}
		for _, f := range report.Findings {
			if !yield(f) {
				return
			}
		}
	}
}

// fails reports whether a finding turns the exit code. Unknown always does: a
// check that could not look must not pass for one that looked.
func (p Policy) fails(f Finding) bool {
	if f.Severity == Unknown {
		return true
	}
	switch p.FailOn {
	case FailOnNever:
		return false
	case FailOnExpired:
		return f.ID == Expired && f.Severity >= Critical
	case FailOnCritical:
		return f.Severity >= Critical
	default:
		return f.Severity >= Warning
	}
}
