package checker

import (
	"maps"
	"slices"
	"time"
)

// Check judges facts as of now. It is deterministic and has no effects.
func Check(facts Facts, now time.Time, policy Policy) Report {
	return NewEngine().Check(facts, now, policy)
}

// Engine is Check with a memory: verifying a signature costs 50 µs, so a
// daemon keeps the outcomes for the certificates of its previous cycle. The
// memory changes the speed, never the report. An Engine is not safe for
// concurrent use.
type Engine struct {
	known map[Fingerprint]*entry
	cycle int
	rules map[RuleID]Rule
}

// NewEngine returns an Engine that remembers nothing yet.
func NewEngine() *Engine {
	return &Engine{known: map[Fingerprint]*entry{}, rules: rulesByID()}
}

// Check is the package's Check.
func (g *Engine) Check(facts Facts, now time.Time, policy Policy) Report {
	g.cycle++
	r := &run{
		facts: facts, now: now, policy: policy, rules: g.rules,
		byID: g.known, cycle: g.cycle, entries: make([]*entry, 0, len(g.known)),
		keysTold: map[FileID]bool{},
	}
	r.index()
	r.verifyAll()
	r.judge()
	report := r.report()
	g.forget(r.entries)
	return report
}

// forget keeps of this cycle's certificates what is true for ever, and nothing
// of those that are gone.
func (g *Engine) forget(current []*entry) {
	for _, e := range current {
		*e = entry{cert: e.cert, cycle: e.cycle, places: e.places[:0], signatures: e.signatures}
		clear(e.places[:cap(e.places)])
	}
	if len(current) == len(g.known) {
		return
	}
	maps.DeleteFunc(g.known, func(_ Fingerprint, e *entry) bool { return e.cycle != g.cycle })
	for _, e := range current {
		e.signatures = slices.DeleteFunc(e.signatures, func(s signature) bool { return g.known[s.ca] == nil })
	}
}

// run is one Check in progress.
type run struct {
	facts  Facts
	now    time.Time
	policy Policy
	rules  map[RuleID]Rule
	cycle  int

	entries []*entry
	// byID also holds those of the previous cycle, which nothing in facts
	// leads to.
	byID map[Fingerprint]*entry
	// bySubject holds the certificates that may sign others.
	bySubject map[string][]*entry
	// byKeyID holds the same by subject key identifier, where they have one.
	byKeyID map[string][]*entry
	// local holds the same, per directory (or Secret) and subject.
	local map[localKey][]*entry
	// trustSeen is whether any file held a CA: without one, an unknown issuer
	// says nothing.
	trustSeen bool
	// keysTold are the files that were said to hold a private key.
	keysTold map[FileID]bool

	served []Served
	// loose are findings that belong to no certificate.
	loose []Finding
}

type localKey struct{ group, subject string }

// entry is one distinct certificate.
type entry struct {
	cert   *Cert
	places []place
	issuer *entry
	// signedAny: something found was signed by it. needed: something that is
	// still valid was signed by no CA that is valid too, but by this one.
	signedAny, needed bool
	findings          []Finding

	// cycle is the last one that met it.
	cycle int
	// signatures outlive the cycle.
	signatures []signature
}

// signature is the outcome of verifying a certificate with one CA's key.
type signature struct {
	ca      Fingerprint
	outcome Signature
}

// place is where a certificate is: a file or an endpoint.
type place struct {
	file     *File
	endpoint *Endpoint
	index    int
}

func (p place) orphaned() bool { return p.file != nil && p.file.Orphan != "" }

func (p place) notCurrent() bool { return p.file != nil && p.file.OtherContext }

func (p place) path() string {
	if p.file != nil {
		return p.file.location()
	}
	return p.endpoint.Address
}

func (p place) use() *Use {
	if p.file != nil {
		return &p.file.Use
	}
	return &p.endpoint.Use
}

// location is the path, with the entry inside where there is one.
func (f *File) location() string {
	if f.Key == "" {
		return f.Path
	}
	return f.Path + "#" + f.Key
}

// counts reports whether a place takes part in the verdict.
func (r *run) counts(p place) bool { return !p.orphaned() || r.policy.IncludeOrphaned }

// inUse reports whether any place of the certificate counts.
func (r *run) inUse(e *entry) bool { return slices.ContainsFunc(e.places, r.counts) }

func (r *run) index() {
	r.bySubject, r.byKeyID, r.local = map[string][]*entry{}, map[string][]*entry{}, map[localKey][]*entry{}
	for i := range r.facts.Files {
		f := &r.facts.Files[i]
		for n, c := range f.Certs {
			r.add(c, place{file: f, index: n})
		}
	}
	for i := range r.facts.Endpoints {
		e := &r.facts.Endpoints[i]
		for n, c := range e.Chain {
			r.add(c, place{endpoint: e, index: n})
		}
	}
	for _, e := range r.entries {
		if e.cert.ca != nil && r.inUse(e) {
			r.bySubject[e.cert.rawSubject] = append(r.bySubject[e.cert.rawSubject], e)
			if e.cert.ski != "" {
				r.byKeyID[e.cert.ski] = append(r.byKeyID[e.cert.ski], e)
			}
		}
	}
}

func (r *run) add(c *Cert, p place) {
	e := r.byID[c.Fingerprint]
	if e == nil {
		e = &entry{}
		r.byID[c.Fingerprint] = e
	}
	if e.cycle != r.cycle {
		e.cert, e.cycle = c, r.cycle
		r.entries = append(r.entries, e)
	}
	e.places = append(e.places, p)
	if c.ca == nil || p.file == nil || !r.counts(p) {
		return
	}
	r.trustSeen = r.trustSeen || c.IsCA
	key := localKey{p.file.group(), c.rawSubject}
	if here := r.local[key]; len(here) == 0 || here[len(here)-1] != e {
		r.local[key] = append(here, e)
	}
}

// judge runs every rule. Chains come first: other rules ask who signed what.
func (r *run) judge() {
	for _, e := range r.entries {
		if r.inUse(e) {
			r.findIssuer(e)
		}
	}
	for _, e := range r.entries {
		for _, rule := range []func(*run, *entry){(*run).orphans, (*run).validity, (*run).chain, (*run).shape} {
			rule(r, e)
		}
	}
	for i := range r.facts.Files {
		r.file(&r.facts.Files[i])
	}
	for i := range r.facts.Endpoints {
		r.endpoint(&r.facts.Endpoints[i])
	}
	for i := range r.facts.Processes {
		r.process(&r.facts.Processes[i])
	}
	r.roots()
}

// found is a finding of a rule with its usual severity and remedy.
func (r *run) found(id RuleID, path, message string) Finding {
	rule := r.rules[id]
	return Finding{ID: id, Severity: rule.Severity, Message: message, Remedy: rule.Remedy, Path: path}
}

// on attaches a finding about a certificate to it, attach any, off to none.
func (r *run) on(e *entry, f Finding) {
	if r.notCurrent(e) {
		f = f.ofOtherContext()
	}
	r.attach(e, f)
}

func (r *run) attach(e *entry, f Finding) {
	if !r.policy.ignores(f) {
		e.findings = append(e.findings, f)
	}
}

func (r *run) off(f Finding) {
	if !r.policy.ignores(f) {
		r.loose = append(r.loose, f)
	}
}

// onFile attaches a finding to the file's first certificate, if it has one.
func (r *run) onFile(f *File, finding Finding) {
	if f.OtherContext {
		finding = finding.ofOtherContext()
	}
	if len(f.Certs) == 0 {
		r.off(finding)
		return
	}
	r.attach(r.byID[f.Certs[0].Fingerprint], finding)
}

// orphans gives leftovers their one finding. A certificate that is in use
// elsewhere too (the CA in the directory of an old token) is none.
func (r *run) orphans(e *entry) {
	if slices.ContainsFunc(e.places, func(p place) bool { return !p.orphaned() }) {
		return
	}
	p := e.places[0]
	r.on(e, r.found(Orphaned, p.path(), p.file.Orphan+"; "+validityText(e.cert, r.now)))
}

// roots judges what could not be looked at, and whether anything was.
func (r *run) roots() {
	for _, root := range r.facts.Roots {
		switch {
		case root.State == RootUnreadable:
			r.off(r.found(Unreadable, root.Path, "the directory cannot be read"))
		case root.State == RootMissing && root.Required != "":
			r.off(r.found(NotFound, root.Path, root.Required))
		}
	}
	for _, q := range r.facts.Requirements {
		if q.Matches == 0 {
			r.off(r.found(NothingFound, q.Pattern, "no certificate file matches --require "+q.Pattern))
		}
	}
	if !slices.ContainsFunc(r.entries, r.inUse) {
		r.off(r.found(NothingFound, "", "no certificate in use was found"))
	}
}
